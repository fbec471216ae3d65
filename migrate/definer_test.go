package migrate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// traps are what a malicious app may put in its own session's way.
var traps = []string{
	`CREATE TEMP TABLE tenants (id text, slug text, domain text, is_active boolean)`,
	`INSERT INTO tenants VALUES ('trap', 'bb', 'b.example', true)`,
	`CREATE TEMP TABLE audit_logs (id uuid, tenant_id text)`,
	`CREATE FUNCTION pg_temp.lower(text) RETURNS text LANGUAGE sql AS 'SELECT ''a.example'''`,
	`CREATE FUNCTION pg_temp.current_setting(text, boolean) RETURNS text LANGUAGE sql AS 'SELECT ''off'''`,
	`CREATE FUNCTION pg_temp.same(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`,
	`CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.same)`,
	`SET search_path = pg_temp, public, pg_catalog`,
}

func TestResolveTenant(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"before Protect", "after Protect"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			if state == "after Protect" {
				p.protect(t)
			} else {
				p.exec(t, `GRANT EXECUTE ON FUNCTION courtroll_resolve_tenant TO `+p.AppRole)
			}
			p.seed(t)
			for _, test := range []struct {
				name, kind, value string
				want              []string
			}{
				{"by id", "id", "b", []string{"b t"}},
				{"by slug", "slug", "bb", []string{"b t"}},
				{"by domain, of two tenants", "domain", "a.example", []string{"a t", "c f"}},
				{"by a domain in capitals", "domain", "B.Example", []string{"b t"}},
				{"an inactive one", "slug", "cc", []string{"c f"}},
				{"not by a slug in capitals", "slug", "BB", nil},
				{"not by another kind", "name", "B", nil},
				{"not by a column of another name", "plan", "free", nil},
				{"not by no value", "domain", "", nil},
			} {
				got, err := as(t, p.app, "a", `SELECT id || ' ' || is_active::text::char FROM public.courtroll_resolve_tenant('`+test.kind+`', '`+test.value+`') ORDER BY 1`)
				if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
					t.Errorf("%s: %v %s", test.name, err, diff)
				}
			}
			if got, err := as(t, p.app, "", `SELECT id FROM courtroll_resolve_tenant(NULL, NULL)`); len(got) > 0 || err != nil {
				t.Errorf("got %v, %v for NULL", got, err)
			}
		})
	}

	t.Run("gives id and is_active alone", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		got := p.line(t, `SELECT pg_get_function_result('courtroll_resolve_tenant'::regproc)`)
		if got != "TABLE(id text, is_active boolean)" {
			t.Errorf("got %s", got)
		}
	})

	t.Run("is not diverted", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		p.seed(t)
		got, err := as(t, p.app, "", append(traps, `SELECT id FROM public.courtroll_resolve_tenant('domain', 'B.EXAMPLE')`)...)
		if diff := cmp.Diff([]string{"b"}, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})

	t.Run("leaves no setting behind", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		p.seed(t)
		got, err := as(t, p.app, "", `SELECT id FROM courtroll_resolve_tenant('id', 'b')`, `SELECT current_setting('courtroll.definer', true)`)
		if diff := cmp.Diff([]string{""}, got); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	})
}

func TestRecordEvent(t *testing.T) {
	t.Parallel()
	const (
		id    = "0190d3a4-0000-7000-8000-00000000000a"
		event = `SELECT public.courtroll_record_event('` + id + `', 'ann', 'user.login', 'users', 'u1', '10.0.0.1', '{"outcome": "failure"}')`
	)
	for _, state := range []string{"before Protect", "after Protect"} {
		t.Run(state, func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			if state == "after Protect" {
				p.protect(t)
			} else {
				p.exec(t, `GRANT EXECUTE ON FUNCTION courtroll_record_event TO `+p.AppRole)
			}
			statements := []string{event, `SELECT public.courtroll_record_event(NULL, NULL, 'a.b', 'x', NULL, NULL, NULL)`}
			if _, err := as(t, p.app, "a", append(traps, statements...)...); err != nil {
				t.Fatal(err)
			}
			got := p.super.lines(t, `SELECT format('%s %s %s %s %s %s %s %s', coalesce(tenant_id, 'nobody'), actor_id, action, resource_type, resource_id,
				ip_address, metadata, created_at > now() - interval '1 minute') FROM audit_logs ORDER BY action`)
			want := []string{`nobody  a.b x    t`, `nobody ann user.login users u1 10.0.0.1 {"outcome": "failure"} t`}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if got := p.super.line(t, `SELECT count(*)::text FROM audit_logs WHERE id = '`+id+`'`); got != "1" {
				t.Errorf("got %s entries of the id", got)
			}
			if state == "after Protect" {
				if got, err := as(t, p.app, "a", `SELECT action FROM public.audit_logs`); len(got) > 0 || err != nil {
					t.Errorf("a tenant reads %v, %v", got, err)
				}
			}
		})
	}
}

func TestFunctionsAreNotForEverybody(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	_, other := p.role(t, "other", "")
	for _, protect := range []bool{false, true} {
		if protect {
			p.exec(t, `GRANT EXECUTE ON FUNCTION courtroll_record_event TO PUBLIC`)
			p.protect(t)
		}
		for _, call := range []string{`courtroll_resolve_tenant('id', 'a')`, `courtroll_record_event(NULL, NULL, 'a', 'b', NULL, NULL, NULL)`} {
			if _, err := as(t, other, "", `SELECT 'x' FROM `+call); code(err) != denied {
				t.Errorf("%s: got %v", call, err)
			}
		}
	}
}

func TestResolveTenantUsesTheIndex(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.super.exec(t, `INSERT INTO tenants (id, name, slug, domain) SELECT g, g, g, g || '.example' FROM generate_series(1, 5000) g`, `ANALYZE tenants`)
	plan := strings.Join(p.super.lines(t, `EXPLAIN (COSTS OFF) SELECT t.id FROM tenants t WHERE t.domain = lower('7.EXAMPLE')`), "\n")
	if !strings.Contains(plan, "courtroll_tenants_domain") {
		t.Error(plan)
	}
}

func TestFunctionsLieBesideTheTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, `CREATE SCHEMA "the app"`)
	b.exec(t, foreignTables...)
	b.exec(t, `ALTER TABLE tenants SET SCHEMA "the app"`)
	in := b.with(t, "search_path", `public, "the app"`)
	in.up(t)
	got := in.lines(t, `SELECT pronamespace::regnamespace::text FROM pg_proc WHERE proname LIKE 'courtroll\_re%'`)
	if diff := cmp.Diff([]string{`"the app"`, `"the app"`}, got); diff != "" {
		t.Error(diff)
	}
	in.exec(t, `SELECT "the app".courtroll_record_event(NULL, NULL, 'a.b', 'x', NULL, NULL, NULL)`)
	if got := in.line(t, `SELECT count(*)::text FROM public.audit_logs WHERE action = 'a.b'`); got != "1" {
		t.Errorf("got %s entries", got)
	}
}
