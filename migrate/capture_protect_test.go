package migrate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// In either order of Protect and CaptureByTrigger the app's login leaves entries
// of its tenant, which that tenant can read.
func TestCaptureAndProtect(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"Protect first", "Protect second"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, order == "Protect second")
			for _, report := range d.protectDesk(t).Reported {
				if strings.Contains(report.Object, "courtroll_capture") {
					t.Errorf("our own function is reported: %+v", report)
				}
			}
			d.capture(t)
			if again := d.capture(t); len(again.Changed)+len(again.Drifted) > 0 {
				t.Errorf("got %+v the second time", again)
			}
			if again := d.protectDesk(t); len(again.Changed)+len(again.Drifted) > 0 {
				t.Errorf("Protect after it: %+v", again)
			}
			got, err := as(t, d.app, "a", append(append([]string{`CREATE TEMP TABLE pg_attribute (attrelid oid, attname text, attnum int, attisdropped boolean)`}, traps...),
				`INSERT INTO public.folders (tenant_id, name) VALUES ('a', 'x')`, `UPDATE public.folders SET name = 'y'`,
				`INSERT INTO public.terms (text) VALUES ('w')`, `DELETE FROM public.folders`,
				`SELECT concat_ws(' ', current_setting('courtroll.definer', true), action, tenant_id) FROM public.audit_logs ORDER BY created_at, id`)...)
			want := []string{" create a", " update a", " create a", " delete a"}
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v %s", err, diff)
			}
			if got, err := as(t, d.app, "b", `SELECT action FROM public.audit_logs`); len(got) > 0 || err != nil {
				t.Errorf("another tenant reads %v, %v", got, err)
			}
			d.brief(t)
			if _, err := as(t, d.app, "", `INSERT INTO public.terms (text) VALUES ('of nobody')`); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"create terms -"}, d.brief(t)); diff != "" {
				t.Error(diff)
			}
			// Through the plugin, too, and once.
			app := d.gorm(t)
			if err := app.Create(&Folder{Name: "z"}).Error; err != nil {
				t.Fatal(err)
			}
			if err := app.Model(&Folder{}).Where("1 = 1").Update("name", "q").Error; err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"create folders 2", "update folders 2"}, d.brief(t)); diff != "" {
				t.Error(diff)
			}
			if _, err := d.migrator().Unprotect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if _, err := as(t, d.app, "a", `DELETE FROM folders`); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{"delete folders 2"}, d.brief(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The app's login cannot make an entry of another tenant's by what triggers have.
func TestCaptureIsNoWayToForge(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	d.protectDesk(t)
	d.exec(t, `GRANT EXECUTE ON FUNCTION courtroll_capture_folders() TO PUBLIC, `+d.AppRole)
	d.capture(t)
	copied := `CREATE TEMP TABLE folders (id bigint, tenant_id text, name text)`
	for _, statements := range [][]string{
		{`SELECT set_config('courtroll.definer', 'on', true)`, `INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('b', 'create', 'folders')`},
		{`SELECT set_config('courtroll.definer', 'on', true)`, `INSERT INTO audit_logs (action, resource_type) VALUES ('create', 'folders')`},
		{copied, `CREATE TRIGGER forge AFTER INSERT ON pg_temp.folders REFERENCING NEW TABLE AS courtroll_new FOR EACH STATEMENT EXECUTE FUNCTION public.courtroll_capture_folders()`},
		{copied, `CREATE TRIGGER forge AFTER DELETE ON pg_temp.folders REFERENCING OLD TABLE AS courtroll_old FOR EACH STATEMENT EXECUTE FUNCTION public.courtroll_capture_folders()`},
		{`ALTER FUNCTION courtroll_capture_folders() OWNER TO ` + d.AppRole},
		{`ALTER TABLE folders DISABLE TRIGGER courtroll_capture_insert`},
		{`SET session_replication_role = replica`},
	} {
		if got, err := as(t, d.app, "a", statements...); code(err) != denied {
			t.Errorf("%s: got %v, %v", statements[len(statements)-1], got, err)
		}
	}
}

// What an older release made of the policy lets no entry of a tenant's in. Both
// Protect and CaptureByTrigger bring it to this release.
func TestCaptureBringsThePolicyUpToDate(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"Protect", "CaptureByTrigger"} {
		t.Run(by, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, true)
			d.protectDesk(t)
			want := d.policies(t)
			d.super.sql.SetMaxOpenConns(1)
			d.super.exec(t, `SET search_path = pg_catalog`, `ALTER POLICY courtroll_definer ON public.audit_logs
				WITH CHECK (tenant_id IS NULL AND (SELECT nullif(current_setting('courtroll.definer', true), '')) = 'on')`,
				`DO $$ BEGIN EXECUTE (SELECT format('COMMENT ON POLICY courtroll_definer ON public.audit_logs IS %L', 'courtroll ' || json_build_object('made', 'older', 'state',
					encode(substr(sha256(convert_to(json_build_array(p.polcmd, p.polpermissive, ARRAY(SELECT o.rolname::text FROM unnest(p.polroles) m (oid) JOIN pg_roles o ON o.oid = m.oid),
					pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))::text, 'UTF8')), 1, 8), 'hex')))
					FROM pg_policy p WHERE polname = 'courtroll_definer' AND polrelid = 'public.audit_logs'::regclass); END $$`, `RESET search_path`)
			insert := `INSERT INTO folders (tenant_id, name) VALUES ('a', 'x')`
			if _, err := as(t, d.app, "a", insert); code(err) != denied {
				t.Fatalf("the older policy: got %v", err)
			}
			var drifted []string
			if by == "Protect" {
				drifted = d.protectDesk(t).Drifted
			} else {
				drifted = d.capture(t).Drifted
			}
			if diff := cmp.Diff(want, d.policies(t)); diff != "" || len(drifted) > 0 {
				t.Errorf("drift %q, %s", drifted, diff)
			}
			if _, err := as(t, d.app, "a", insert); err != nil {
				t.Error(err)
			}
			if _, err := d.migrator().Unprotect(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := d.line(t, `SELECT relrowsecurity::text || relforcerowsecurity FROM pg_class WHERE oid = 'audit_logs'::regclass`); got != "falsefalse" {
				t.Errorf("row-level security after Unprotect: %s", got)
			}
		})
	}
}
