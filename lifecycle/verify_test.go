package lifecycle_test

import (
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/tenancy"
)

// Note has a model that the plugin is not told of.
type Note struct {
	ID       int64
	TenantID string
}

func TestVerify(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		ddl    string
		want   error
		tables []string
		given  []any
	}{
		{name: "OK"},
		{name: "ErrForgotten", ddl: `CREATE TABLE notes (id bigint PRIMARY KEY, tenant_id text)`, want: lifecycle.ErrForgotten, tables: []string{"public.notes"}},
		{name: "given", ddl: `CREATE TABLE notes (id bigint PRIMARY KEY, tenant_id text); GRANT ALL ON notes TO PUBLIC`, given: []any{&Note{}}},
		{name: "ErrForgotten in another schema", ddl: `CREATE SCHEMA old; CREATE TABLE old.projects (tenant_id text)`, want: lifecycle.ErrForgotten, tables: []string{"old.projects"}},
		{name: "ErrForgotten partitioned", ddl: `CREATE TABLE notes (tenant_id text) PARTITION BY LIST (tenant_id); CREATE TABLE notes_a PARTITION OF notes DEFAULT`,
			want: lifecycle.ErrForgotten, tables: []string{"public.notes"}},
		{name: "ErrForgotten of a shared table", ddl: `ALTER TABLE countries ADD tenant_id text`, want: lifecycle.ErrForgotten, tables: []string{"public.countries"}},
		{name: "ErrNoTable", ddl: `DROP TABLE "values"`, want: lifecycle.ErrNoTable, tables: []string{"values"}},
		{name: "ErrChild", ddl: `CREATE TABLE files (task_id bigint REFERENCES tasks ON DELETE CASCADE)`, want: lifecycle.ErrChild, tables: []string{"public.files"}},
		{name: "ErrChild of tenants", ddl: `CREATE TABLE invoices (org text REFERENCES tenants)`, want: lifecycle.ErrChild, tables: []string{"public.invoices"}},
		{name: "ErrCycle", ddl: `UPDATE teams SET lead_id = (SELECT min(id) FROM people); ALTER TABLE teams ALTER lead_id SET NOT NULL`, want: lifecycle.ErrCycle, tables: []string{"public.people", "public.teams"}},
		{name: "ErrView", ddl: `CREATE TABLE old (id bigint, customer text); CREATE VIEW notes AS SELECT id, customer AS tenant_id FROM old`, given: []any{&Note{}}, want: lifecycle.ErrView, tables: []string{"public.notes"}},
		{name: "ErrView materialized", ddl: `CREATE MATERIALIZED VIEW notes AS SELECT id, tenant_id FROM projects`, given: []any{&Note{}}, want: lifecycle.ErrView, tables: []string{"public.notes"}},
		{name: "ErrForgotten materialized", ddl: `CREATE MATERIALIZED VIEW notes AS SELECT id, tenant_id FROM projects`, want: lifecycle.ErrForgotten, tables: []string{"public.notes"}},
		{name: "view with a model", ddl: `CREATE VIEW seen AS SELECT id, tenant_id FROM projects; CREATE VIEW notes AS SELECT * FROM seen`, given: []any{&Note{}}},
		{name: "view", ddl: `CREATE VIEW seen AS SELECT * FROM projects`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, alone)
			if c.ddl != "" {
				must(t, b.super.Exec(c.ddl).Error)
			}
			want := func(what string, err error) {
				t.Helper()
				var fault *lifecycle.TablesError
				if !errors.Is(err, c.want) || c.want != nil && (!errors.As(err, &fault) || !slices.Equal(fault.Tables, c.tables)) {
					t.Errorf("%s: %v, want %v of %v", what, err, c.want, c.tables)
				}
			}
			want("Verify", lifecycle.Verify(t.Context(), b.app, c.given...))
			_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{DryRun: true, Models: c.given})
			want("Delete", err)
			if !errors.Is(c.want, lifecycle.ErrCycle) { // which does not matter to an export
				_, err = lifecycle.Export(b.system, b.app, "acme", io.Discard, lifecycle.Options{Models: c.given})
				want("Export", err)
			}
		})
	}
	t.Run("ErrNotInstalled", func(t *testing.T) {
		t.Parallel()
		b := setup(t, alone)
		if err := lifecycle.Verify(t.Context(), b.super); !errors.Is(err, tenancy.ErrNotInstalled) {
			t.Error(err)
		}
	})
}
