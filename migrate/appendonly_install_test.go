package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// In any order with Protect and CaptureByTrigger the end is the same, and what runs
// again changes nothing.
func TestAppendOnlyInAnyOrder(t *testing.T) {
	t.Parallel()
	for _, order := range []string{"AP", "PA", "CPA", "ACP", "A"} {
		t.Run(order, func(t *testing.T) {
			t.Parallel()
			d := setupTrail(t)
			steps := map[rune]func(){
				'A': func() { d.keep(t) }, 'P': func() { d.wall(t) }, 'C': func() { d.capture(t) },
			}
			for _, step := range order {
				steps[step]()
			}
			before := d.inTrail(t)
			for _, step := range order + order {
				steps[step]()
			}
			d.up(t)
			if after := d.inTrail(t); after != before {
				t.Error(firstDifference(before, after))
			}
			if again := d.keep(t); len(again.Changed)+len(again.Drifted) > 0 {
				t.Errorf("got %+v", again)
			}
			if strings.Contains(order, "P") {
				if again := d.wall(t); len(again.Changed)+len(again.Drifted) > 0 || slices.ContainsFunc(again.Reported, func(r migrate.Report) bool { return strings.Contains(r.Object, "purge") }) {
					t.Errorf("Protect: got %+v", again)
				}
				if n := strings.Count(before, "policy courtroll_retention"); n != 2 {
					t.Errorf("got %d policies", n)
				}
			}
		})
	}
}

func TestDropAppendOnly(t *testing.T) {
	t.Parallel()
	d := setupTrail(t)
	d.wall(t)
	before := d.inTrail(t)
	d.keep(t)
	for i := range 2 {
		done, err := migrate.New(d.owner, d.trailConfig()).DropAppendOnly(t.Context())
		if err != nil || (i == 0) != (len(done.Changed) > 0) {
			t.Errorf("%v, %q", err, done.Changed)
		}
	}
	if after := d.inTrail(t); after != before {
		t.Error(firstDifference(before, after))
	}
	d.super.exec(t, `TRUNCATE audit_logs`)
}

func TestAppendOnlyRepairsDrift(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, byHand, drifted string }{
		{"a trigger disabled", `ALTER TABLE audit_logs DISABLE TRIGGER courtroll_append_only`, "public.audit_logs.courtroll_append_only"},
		{"a trigger not ALWAYS", `ALTER TABLE audit_logs ENABLE TRIGGER courtroll_append_only_row`, "public.audit_logs.courtroll_append_only_row"},
		{"a trigger dropped", `DROP TRIGGER courtroll_clock ON audit_logs`, "public.audit_logs.courtroll_clock"},
		{"a trigger narrowed", `CREATE OR REPLACE TRIGGER courtroll_clock BEFORE INSERT ON audit_logs FOR EACH ROW WHEN (false) EXECUTE FUNCTION courtroll_clock()`, "public.audit_logs.courtroll_clock"},
		{"a function altered", `CREATE OR REPLACE FUNCTION courtroll_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`, "public.courtroll_append_only"},
		{"the purge altered", `ALTER FUNCTION courtroll_purge_audit_logs RESET search_path`, "public.courtroll_purge_audit_logs"},
		{"a policy altered", `ALTER POLICY courtroll_retention_select ON audit_logs USING (true)`, "public.audit_logs.courtroll_retention_select"},
		{"a grant to all", `GRANT EXECUTE ON FUNCTION courtroll_purge_audit_logs TO PUBLIC`, ""},
		{"a column's grant to the app", `GRANT UPDATE (action), SELECT (id) ON audit_logs TO APP WITH GRANT OPTION`, ""},
		{"grants to the app", `GRANT DELETE, TRUNCATE, TRIGGER ON audit_logs TO APP`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := kept(t, true)
			rights := func() string {
				return d.inTrail(t) + d.line(t, `SELECT relacl::text || coalesce((SELECT string_agg(attacl::text, '') FROM pg_attribute WHERE attrelid = c.oid), '') FROM pg_class c WHERE oid = 'audit_logs'::regclass`)
			}
			before := rights()
			d.exec(t, strings.ReplaceAll(test.byHand, "TO APP", "TO "+d.AppRole))
			if before == rights() {
				t.Fatal("nothing was altered")
			}
			if _, err := d.keeper(nil).Retain(t.Context(), migrate.Retention{Before: since(9), Reason: "x"}); test.drifted != "" && !errors.Is(err, migrate.ErrNotAppendOnly) {
				t.Errorf("Retain: got %v", err)
			}
			done := d.keep(t)
			if got := strings.Join(done.Drifted, " "); got != test.drifted || len(done.Changed) == 0 {
				t.Errorf("got %q, %q", got, done.Changed)
			}
			sorted := func(s string) []string {
				list := strings.FieldsFunc(s, func(c rune) bool { return strings.ContainsRune(",{}", c) })
				slices.Sort(list)
				return list
			}
			if diff := cmp.Diff(sorted(before), sorted(rights())); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAppendOnlyRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		byHand string
		alter  func(*trailDesk, *migrate.Config)
		want   error
	}{
		{"another role's privilege", `GRANT SELECT ON audit_logs TO STRANGER`, nil, migrate.ErrUntrustedRole},
		{"another role's column", `GRANT UPDATE (action) ON audit_logs TO STRANGER`, nil, migrate.ErrUntrustedRole},
		{"PUBLIC", `GRANT SELECT ON audit_logs TO PUBLIC`, nil, migrate.ErrUntrustedRole},
		{"the retention role's privilege", `GRANT SELECT ON audit_logs TO KEEPER`, nil, migrate.ErrUntrustedRole},
		{"another owner", `ALTER TABLE audit_logs owner TO TRUSTED`, func(d *trailDesk, c *migrate.Config) { c.TrustedRoles = nil }, migrate.ErrNotOwner},
		{"no app role", ``, func(d *trailDesk, c *migrate.Config) { c.AppRole = "" }, migrate.ErrNoAppRole},
		{"the app as retention role", ``, func(d *trailDesk, c *migrate.Config) { c.RetentionRole = c.AppRole }, migrate.ErrUnsafeRole},
		{"a trusted retention role", ``, func(d *trailDesk, c *migrate.Config) { c.RetentionRole = d.names["trusted"] }, migrate.ErrUnsafeRole},
		{"a retention role of the app's", `GRANT APP TO KEEPER`, nil, migrate.ErrUnsafeRole},
		{"an app of the retention role's", `GRANT KEEPER TO APP`, nil, migrate.ErrUnsafeRole},
		{"a system role of the retention role's", `GRANT KEEPER TO SYSTEM`, nil, migrate.ErrUnsafeRole},
		{"a retention role of the owner's", `GRANT OWNER TO KEEPER`, nil, migrate.ErrUnsafeRole},
		{"an app for replicas", `GRANT SET ON PARAMETER session_replication_role TO APP`, nil, migrate.ErrUnsafeRole},
		{"a child", `CREATE TABLE child () INHERITS (audit_logs)`, nil, migrate.ErrTableKind},
		{"a function of the name", `CREATE FUNCTION courtroll_clock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`, nil, migrate.ErrCaptureTaken},
		{"a trigger of the name", `CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER courtroll_append_only BEFORE UPDATE ON audit_logs FOR EACH ROW EXECUTE FUNCTION mine()`, nil, migrate.ErrCaptureTaken},
		{"no table", `DROP TABLE audit_logs`, nil, migrate.ErrNotUp},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := setupTrail(t)
			replace := []string{"APP", d.AppRole}
			for role, name := range d.names {
				replace = append(replace, strings.ToUpper(role), name)
			}
			d.super.exec(t, strings.NewReplacer(replace...).Replace(test.byHand))
			config := d.trailConfig()
			if test.alter != nil {
				test.alter(d, &config)
			}
			before := d.everything(t)
			done, err := migrate.New(d.owner, config).AppendOnly(t.Context())
			if !errors.Is(err, test.want) || len(done.Changed) > 0 {
				t.Errorf("got %v, %q", err, done.Changed)
			}
			if after := d.everything(t); after != before {
				t.Error(firstDifference(before, after))
			}
			if strings.Contains(test.byHand, "PARAMETER") {
				d.super.exec(t, `REVOKE SET ON PARAMETER session_replication_role FROM `+d.AppRole)
			}
			if strings.HasPrefix(test.byHand, "GRANT KEEPER TO APP") {
				d.super.exec(t, `REVOKE `+d.names["keeper"]+` FROM `+d.AppRole)
			}
		})
	}
}

// A superuser's login has the owner named first.
func TestAppendOnlyWantsTheOwnerNamed(t *testing.T) {
	t.Parallel()
	d := setupTrail(t)
	super := d.Open(postgresOf(d.super.sql), &gorm.Config{})
	config := d.trailConfig()
	_, err := migrate.New(super, config).AppendOnly(t.Context())
	var untrusted *migrate.UntrustedError
	if !errors.As(err, &untrusted) || !slices.Equal(untrusted.Roles["public.audit_logs"], []string{d.names["owner"]}) {
		t.Fatalf("got %v", err)
	}
	config.TrustedRoles = append(config.TrustedRoles, d.names["owner"])
	if _, err := migrate.New(super, config).AppendOnly(t.Context()); err != nil {
		t.Fatal(err)
	}
	d.fill(t, 10, "a")
	if done, err := d.keeper(nil).Retain(t.Context(), migrate.Retention{Before: since(9), Reason: "x"}); err != nil || done.Rows != 8 {
		t.Errorf("got %+v, %v", done, err)
	}
}
