package migrate_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seed gives two tenants a shelf, a book and a tag each: ids 1 are a's, ids 2 b's.
func (p *protected) seed(t testing.TB) {
	t.Helper()
	p.super.exec(t,
		`INSERT INTO tenants (id, name, slug, domain) VALUES ('a', 'A', 'aa', 'a.example'), ('b', 'B', 'bb', 'b.example')`,
		`INSERT INTO tenants (id, name, slug, domain, is_active) VALUES ('c', 'C', 'cc', 'a.example', false)`,
		`INSERT INTO shelves (id, tenant_id, name, room) VALUES (1, 'a', 'north', 1), (2, 'b', 'south', 1)`,
		`INSERT INTO books (id, tenant_id, isbn, place, shelf_id) VALUES (1, 'a', 'x', 1, 1), (2, 'b', 'y', 1, 2)`,
		`INSERT INTO tags (id, tenant_id, lang, word) VALUES (1, 'a', 'en', 'w'), (2, 'b', 'en', 'v')`,
		`INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('a', 'x', 'of a'), ('b', 'x', 'of b'), (NULL, 'x', 'of nobody')`,
		`SELECT setval('shelves_id_seq', 10), setval('books_id_seq', 10), setval('tags_id_seq', 10)`)
}

const (
	denied   = "42501" // no privilege, or a row that a policy forbids
	dangling = "23503"
	taken    = "23505"
)

// access is one statement of the app's: its rows, or the SQLSTATE that it fails with.
type access struct {
	name, tenant, statement string
	want                    []string
	code                    string
}

var accesses = []access{
	{name: "no tenant sees no row", statement: `SELECT id FROM books`},
	{name: "an empty tenant sees no row", statement: `SELECT id FROM books WHERE set_config('courtroll.tenant_id', '', true) = ''`},
	{name: "no tenant updates no row", statement: `UPDATE books SET isbn = 'z' RETURNING id`},
	{name: "no tenant deletes no row", statement: `DELETE FROM books RETURNING id`},
	{name: "no tenant inserts no row", statement: `INSERT INTO shelves (tenant_id, name) VALUES ('a', 'n')`, code: denied},
	{name: "no tenant inserts no row of an empty tenant", statement: `INSERT INTO shelves (tenant_id, name) VALUES ('', 'n')`, code: denied},
	{name: "no tenant sees no tenant", statement: `SELECT id FROM tenants`},
	{name: "no tenant sees no trail", statement: `SELECT resource_type FROM audit_logs`},
	{name: "own rows are seen", tenant: "a", statement: `SELECT id FROM books`, want: []string{"1"}},
	{name: "foreign rows are not, by key", tenant: "a", statement: `SELECT id FROM books WHERE id = 2`},
	{name: "own rows are updated", tenant: "a", statement: `UPDATE books SET isbn = 'z' RETURNING id`, want: []string{"1"}},
	{name: "own rows are deleted", tenant: "a", statement: `DELETE FROM books RETURNING id`, want: []string{"1"}},
	{name: "own rows are inserted, by the sequence", tenant: "a", statement: `INSERT INTO shelves (tenant_id, name) VALUES ('a', 'n') RETURNING name`, want: []string{"n"}},
	{name: "a row cannot be moved", tenant: "a", statement: `UPDATE books SET tenant_id = 'b', shelf_id = NULL`, code: denied},
	{name: "a row cannot be inserted for another", tenant: "a", statement: `INSERT INTO shelves (tenant_id, name) VALUES ('b', 'n')`, code: denied},
	{name: "a row cannot be inserted for nobody", tenant: "a", statement: `INSERT INTO audit_logs (action, resource_type) VALUES ('x', 'x')`, code: denied},
	{name: "a foreign row cannot be referred to", tenant: "a", statement: `UPDATE books SET shelf_id = 2`, code: dangling},
	{name: "nor by a self reference", tenant: "a", statement: `UPDATE books SET sequel_id = 2`, code: dangling},
	{name: "nor by a join table", tenant: "a", statement: `INSERT INTO book_tags (tenant_id, book_id, tag_id) VALUES ('a', 1, 2)`, code: dangling},
	{name: "an own row can, by a join table", tenant: "a", statement: `INSERT INTO book_tags (tenant_id, book_id, tag_id) VALUES ('a', 1, 1) RETURNING book_id`, want: []string{"1"}},
	{name: "SET NULL leaves the tenant", tenant: "a", statement: `DELETE FROM shelves RETURNING id`, want: []string{"1"}},
	{name: "another's unique value is free", tenant: "a", statement: `UPDATE books SET isbn = 'y' RETURNING id`, want: []string{"1"}},
	{name: "an own unique value is taken", tenant: "a", statement: `INSERT INTO books (tenant_id, isbn, place) VALUES ('a', 'x', 2)`, code: taken},
	{name: "no TRUNCATE", tenant: "a", statement: `TRUNCATE books CASCADE`, code: denied},
	{name: "no TRUNCATE of the trail", tenant: "a", statement: `TRUNCATE audit_logs`, code: denied},
	{name: "no trigger", tenant: "a", statement: `CREATE TRIGGER t AFTER INSERT ON books EXECUTE FUNCTION suppress_redundant_updates_trigger()`, code: denied},
	{name: "no policy", tenant: "a", statement: `DROP POLICY courtroll_floor ON books`, code: denied},
	{name: "no way past the policies", tenant: "a", statement: `ALTER TABLE books DISABLE ROW LEVEL SECURITY`, code: denied},
	{name: "row_security off only fails", tenant: "a", statement: `SELECT id FROM books WHERE set_config('row_security', 'off', true) = 'off'`, want: []string{"1"}},
	{name: "own trail is read", tenant: "a", statement: `SELECT resource_type FROM audit_logs`, want: []string{"of a"}},
	{name: "own trail is written", tenant: "a", statement: `INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('a', 'x', 'y') RETURNING action`, want: []string{"x"}},
	{name: "another's trail is not", tenant: "a", statement: `INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('b', 'x', 'y')`, code: denied},
	{name: "no trail is changed", tenant: "a", statement: `UPDATE audit_logs SET action = 'y'`, code: denied},
	{name: "no trail is deleted", tenant: "a", statement: `DELETE FROM audit_logs`, code: denied},
	{name: "own tenant is seen", tenant: "a", statement: `SELECT id FROM tenants`, want: []string{"a"}},
	{name: "own tenant is renamed", tenant: "a", statement: `UPDATE tenants SET name = 'AA', logo = 'l', updated_at = now() RETURNING id`, want: []string{"a"}},
	{name: "another's is not", tenant: "a", statement: `UPDATE tenants SET name = 'BB' WHERE id = 'b' RETURNING id`},
	{name: "the plan is not the tenant's to change", tenant: "a", statement: `UPDATE tenants SET plan = 'gold'`, code: denied},
	{name: "nor whether it is active", tenant: "a", statement: `UPDATE tenants SET is_active = true`, code: denied},
	{name: "no tenant is made", tenant: "a", statement: `INSERT INTO tenants (id, name, slug) VALUES ('a2', 'x', 'x')`, code: denied},
	{name: "no tenant is deleted", tenant: "a", statement: `DELETE FROM tenants`, code: denied},
	{name: "the definer's setting opens no tenants", statement: `SELECT id FROM tenants WHERE set_config('courtroll.definer', 'on', true) = 'on'`},
}

func TestProtectConfinesTheApp(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.system, _ = p.role(t, "sys", "")
	p.protect(t)
	p.seed(t)
	for _, test := range accesses {
		t.Run(test.name, func(t *testing.T) {
			// One after another, each rolled back.
			tx, err := p.app.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if test.tenant != "" {
				if _, err := tx.Exec(`SELECT set_config('courtroll.tenant_id', $1, true)`, test.tenant); err != nil {
					t.Fatal(err)
				}
			}
			got, err := rowsOf(tx, test.statement)
			if code(err) != test.code {
				t.Errorf("got %v, want SQLSTATE %q", err, test.code)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	t.Run("the definer's setting writes no event", func(t *testing.T) {
		_, err := as(t, p.app, "a", `SET courtroll.definer = 'on'`, `INSERT INTO audit_logs (action, resource_type) VALUES ('x', 'y')`)
		if code(err) != denied {
			t.Errorf("got %v", err)
		}
	})
	for _, role := range []string{p.system, p.OwnerRole} {
		if _, err := as(t, p.app, "a", `SET ROLE `+role); code(err) != denied {
			t.Errorf("SET ROLE %s: got %v", role, err)
		}
	}
}

func TestProtectTellsNoForeignRowFromAMissingOne(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.protect(t)
	p.seed(t)
	_, foreign := as(t, p.app, "a", `UPDATE books SET shelf_id = 2`)
	_, missing := as(t, p.app, "a", `UPDATE books SET shelf_id = 99`)
	if foreign == nil || missing == nil || foreign.Error() != missing.Error() {
		t.Errorf("got %v and %v", foreign, missing)
	}
}

func TestProtectOpensTheSystem(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	name, system := p.role(t, "sys", "")
	p.system = name
	p.protect(t)
	p.seed(t)
	for _, test := range []struct {
		statement, code string
		want            []string
	}{
		{statement: `SELECT count(*) FROM books`, want: []string{"2"}},
		{statement: `INSERT INTO shelves (tenant_id, name) VALUES ('b', 'n') RETURNING tenant_id`, want: []string{"b"}},
		{statement: `SELECT count(*) FROM audit_logs`, want: []string{"3"}},
		{statement: `INSERT INTO audit_logs (action, resource_type) VALUES ('x', 'y') RETURNING action`, want: []string{"x"}},
		{statement: `UPDATE audit_logs SET action = 'y'`, code: denied},
		{statement: `TRUNCATE books CASCADE`, code: denied},
		{statement: `INSERT INTO tenants (id, name, slug) VALUES ('d', 'D', 'dd') RETURNING id`, want: []string{"d"}},
		{statement: `DELETE FROM tenants WHERE id = 'd' RETURNING id`, want: []string{"d"}},
	} {
		got, err := as(t, system, "", test.statement)
		if code(err) != test.code {
			t.Errorf("%s: got %v, want SQLSTATE %q", test.statement, err, test.code)
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: %s", test.statement, diff)
		}
	}
}

func TestProtectBindsTheOwner(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.protect(t)
	p.seed(t)
	for _, table := range []string{"books", "tenants", "audit_logs"} {
		if got := p.line(t, `SELECT count(*)::text FROM `+table); got != "0" {
			t.Errorf("%s: got %s rows", table, got)
		}
	}
}

func TestProtectTenantTypes(t *testing.T) {
	t.Parallel()
	for typ, ids := range map[string][2]string{
		"varchar(20)": {"a", "b"}, "uuid": {"0190d3a4-0000-7000-8000-00000000000a", "0190d3a4-0000-7000-8000-00000000000b"},
		"smallint": {"1", "2"}, "integer": {"1", "2"}, "bigint": {"1", "2"},
	} {
		t.Run(strings.Fields(typ)[0], func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			p.exec(t, `ALTER TABLE tags ALTER tenant_id TYPE `+typ+` USING tenant_id::`+typ)
			if err := p.protectOnly(t, &Tag{}); err != nil {
				t.Fatal(err)
			}
			for i, id := range ids {
				if _, err := as(t, p.app, id, `INSERT INTO tags (tenant_id, lang, word) VALUES ('`+id+`', 'en', 'w')`); err != nil {
					t.Error(err)
				}
				if _, err := as(t, p.app, id, `INSERT INTO tags (tenant_id, lang, word) VALUES ('`+ids[1-i]+`', 'en', 'v')`); code(err) != denied {
					t.Errorf("got %v", err)
				}
			}
			got, err := as(t, p.app, ids[0], `SELECT tenant_id::text FROM tags`)
			if diff := cmp.Diff(ids[:1], got); diff != "" || err != nil {
				t.Errorf("%s %v", diff, err)
			}
			if got, err := as(t, p.app, "", `SELECT tenant_id::text FROM tags`); len(got) > 0 || err != nil {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
}

// The condition is evaluated once per statement, and the index on the tenant serves it.
func TestProtectIsFast(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.protect(t)
	p.super.exec(t, `INSERT INTO books (tenant_id, isbn, place) SELECT 't' || g % 200, 'i' || g, g FROM generate_series(1, 20000) g`, `ANALYZE books`)
	got, err := as(t, p.app, "t7", `EXPLAIN (COSTS OFF) SELECT * FROM books`)
	plan := strings.Join(got, "\n")
	// Releases write the result of an InitPlan as $0, or as (InitPlan 1).col1.
	if err != nil || !regexp.MustCompile(`Index Cond: \(tenant_id = (\$|\(InitPlan)`).MatchString(plan) || !strings.Contains(plan, "InitPlan") {
		t.Errorf("%v\n%s", err, plan)
	}
}
