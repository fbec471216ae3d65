package migrate_test

import (
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

// mine is the condition of our policies on a table whose tenants are texts.
const mine = `(tenant_id = (SELECT nullif(current_setting('courtroll.tenant_id', true), '')))`

func TestDoctor_Policies(t *testing.T) {
	t.Parallel()
	newPatient(t).suffers(t, []ailment{
		{"off", `ALTER TABLE books DISABLE ROW LEVEL SECURITY`, migrate.CodeRLSOff, "table public.books", ""},
		{"not forced", `ALTER TABLE books NO FORCE ROW LEVEL SECURITY`, migrate.CodeRLSNotForced, "table public.books", ""},
		{"trail not forced", `ALTER TABLE audit_logs NO FORCE ROW LEVEL SECURITY`, migrate.CodeRLSNotForced, "table public.audit_logs", ""},
		{"no floor", `DROP POLICY courtroll_floor ON books`, migrate.CodePolicyMissing, "policy public.books.courtroll_floor", ""},
		{"no app", `DROP POLICY courtroll_app ON shelves`, migrate.CodePolicyMissing, "policy public.shelves.courtroll_app", ""},
		{"no definer", `DROP POLICY courtroll_definer ON tenants`, migrate.CodePolicyMissing, "policy public.tenants.courtroll_definer", ""},
		{"true", `ALTER POLICY courtroll_floor ON books USING (true)`, migrate.CodePolicyAltered, "policy public.books.courtroll_floor", ""},
		{"check true", `ALTER POLICY courtroll_floor ON books WITH CHECK (true)`, migrate.CodePolicyAltered, "policy public.books.courtroll_floor", ""},
		{"or null", `ALTER POLICY courtroll_app ON books USING (tenant_id IS NULL OR tenant_id = (SELECT nullif(current_setting('courtroll.tenant_id', true), '')))`,
			migrate.CodePolicyAltered, "policy public.books.courtroll_app", ""},
		{"another setting", `ALTER POLICY courtroll_floor ON tags USING (tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')))`,
			migrate.CodePolicyAltered, "policy public.tags.courtroll_floor", ""},
		{"default tenant", `ALTER POLICY courtroll_floor ON tags USING (tenant_id = (SELECT coalesce(current_setting('courtroll.tenant_id', true), 'acme')))`,
			migrate.CodePolicyAltered, "policy public.tags.courtroll_floor", ""},
		{"another role", `ALTER POLICY courtroll_floor ON tags TO {system}`, migrate.CodePolicyAltered, "policy public.tags.courtroll_floor", ""},
		{"trusts the app", `ALTER POLICY courtroll_trusted ON tags TO {reports}, {app}`, migrate.CodePolicyAltered, "policy public.tags.courtroll_trusted", ""},
		{"everybody is the system", `ALTER POLICY courtroll_system ON tags TO PUBLIC`, migrate.CodePolicyAltered, "policy public.tags.courtroll_system", ""},
		{"per row", `ALTER POLICY courtroll_app ON books USING (tenant_id = nullif(current_setting('courtroll.tenant_id', true), ''))
			WITH CHECK (tenant_id = nullif(current_setting('courtroll.tenant_id', true), ''))`,
			migrate.CodePolicyPerRow, "policy public.books.courtroll_app", migrate.SeverityWarning},
		{"without check", `DROP POLICY courtroll_app ON books; CREATE POLICY courtroll_app ON books TO {app}
			USING ` + mine,
			migrate.CodePolicyNoCheck, "policy public.books.courtroll_app", ""},
		{"permissive floor", `DROP POLICY courtroll_floor ON books; CREATE POLICY courtroll_floor ON books TO {app}
			USING (tenant_id = (SELECT nullif(current_setting('courtroll.tenant_id', true), '')))
			WITH CHECK ` + mine,
			migrate.CodePolicyAltered, "policy public.books.courtroll_floor", ""},
		{"floor of one command", `DROP POLICY courtroll_floor ON books; CREATE POLICY courtroll_floor ON books AS RESTRICTIVE FOR SELECT TO {app}
			USING ` + mine,
			migrate.CodePolicyAltered, "policy public.books.courtroll_floor", ""},
		{"a policy for the app", `CREATE POLICY open ON tenants TO {app} USING (true)`, migrate.CodePolicyForeign, "policy public.tenants.open", migrate.SeverityWarning},
		{"a policy that names the setting", `CREATE POLICY open ON books TO {owner} USING (tenant_id = current_setting('courtroll.tenant_id', true) OR place > 0)`,
			migrate.CodePolicyForeign, "policy public.books.open", migrate.SeverityWarning},
		{"a comment of somebody's", `COMMENT ON POLICY courtroll_floor ON books IS 'keeps tenants apart'`, migrate.CodePolicyAltered, "policy public.books.courtroll_floor", migrate.SeverityWarning},
		{"a policy of somebody's", `CREATE POLICY open ON books USING (true)`, migrate.CodePolicyForeign, "policy public.books.open", migrate.SeverityWarning},
	})
}

func TestDoctor_Tables(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"nullable", `ALTER TABLE books ALTER COLUMN tenant_id DROP NOT NULL`, migrate.CodeTenantNull, "column public.books.tenant_id", ""},
		{"no model", `CREATE TABLE notes (tenant_id text, body text); GRANT SELECT ON notes TO {app}`, migrate.CodeNoModel, "table public.notes", ""},
		{"no model, the app's own", `CREATE TABLE drafts (tenant_id text); ALTER TABLE drafts OWNER TO {app}`, migrate.CodeNoModel, "table public.drafts", ""},
		{"column renamed", `ALTER TABLE book_tags RENAME COLUMN tenant_id TO org_id`, migrate.CodeTenantMissing, "table public.book_tags", ""},
		{"renamed", `ALTER TABLE shelves RENAME TO racks`, migrate.CodeNoTable, "table shelves", migrate.SeverityWarning},
		{"a view in its place", `ALTER TABLE shelves RENAME TO racks; CREATE VIEW shelves AS SELECT * FROM racks; GRANT ALL ON shelves TO {app}`, migrate.CodeTableKind, "relation public.shelves", ""},
		{"a partition", `DROP VIEW shelves_aside; CREATE TABLE racks (LIKE shelves) PARTITION BY LIST (tenant_id); ALTER TABLE racks ATTACH PARTITION shelves DEFAULT; GRANT SELECT ON racks TO {app}`,
			migrate.CodeTableKind, "table public.shelves", ""},
		{"no model, for all", `CREATE TABLE memos (tenant_id text, body text); GRANT SELECT (body) ON memos TO PUBLIC`, migrate.CodeNoModel, "table public.memos", ""},
		{"no model, elsewhere", `CREATE SCHEMA attic; CREATE TABLE attic.books (tenant_id text); GRANT INSERT ON attic.books TO {app}`, migrate.CodeNoModel, "table attic.books", ""},
		{"shared with a tenant", `ALTER TABLE countries ADD COLUMN tenant_id text; GRANT SELECT ON countries TO {app}`, migrate.CodeSharedTenant, "table public.countries", ""},
		{"moved", `CREATE SCHEMA aside AUTHORIZATION {owner}; ALTER TABLE books SET SCHEMA aside`, migrate.CodeTableMoved, "table aside.books", migrate.SeverityWarning},
		{"trail moved", `GRANT USAGE ON SCHEMA aside TO {app}; ALTER TABLE audit_logs SET SCHEMA aside`, migrate.CodeTableMoved, "table aside.audit_logs", ""},
		{"register moved", `ALTER TABLE tenants SET SCHEMA aside`, migrate.CodeTableMoved, "table aside.tenants", ""},
		{"a child", `CREATE TABLE old_books () INHERITS (books)`, migrate.CodeTableKind, "table public.old_books", ""},
	})
}

// TestDoctor_LaxType has a tenant column that takes two ids for the same.
func TestDoctor_LaxType(t *testing.T) {
	t.Parallel()
	type Memo struct {
		ID       uint
		TenantID string `gorm:"not null"`
	}
	p := newPatient(t)
	if err := p.owner.AutoMigrate(&Memo{}); err != nil {
		t.Fatal(err)
	}
	protect := func() migrate.Protection {
		return must(migrate.New(p.owner, p.config()).Protect(t.Context(), append([]any{&Memo{}}, libraryModels...)...))
	}
	protect()
	p.super.exec(t, p.names.Replace(`CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
		DROP POLICY courtroll_floor ON memos; DROP POLICY courtroll_app ON memos; ALTER TABLE memos ALTER COLUMN tenant_id TYPE text COLLATE lax;
		CREATE POLICY courtroll_floor ON memos AS RESTRICTIVE TO {app} USING `+mine+` WITH CHECK `+mine+`; CREATE POLICY courtroll_app ON memos TO {app} USING `+mine+` WITH CHECK `+mine))
	found := must(migrate.Doctor(t.Context(), p.db, &Memo{}))
	if len(found) != 1 || found[0].Code != migrate.CodeTenantType || found[0].Object != "column public.memos.tenant_id" {
		t.Fatalf("found:\n%s", listed(found))
	}
	p.cure(t, found)
	if found := must(migrate.Doctor(t.Context(), p.db, &Memo{})); len(found) > 0 {
		t.Errorf("found after the fix:\n%s", listed(found))
	}
	if done := protect(); len(done.Drifted) > 0 {
		t.Errorf("drifted %q", done.Drifted)
	}
}

// TestDoctor_Models has models that nobody thought of.
func TestDoctor_Models(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	type Draft struct{ ID uint }
	type Sketch struct {
		ID       uint
		TenantID string
	}
	p.super.exec(t, p.names.Replace(`CREATE TABLE drafts (id bigint); GRANT SELECT ON drafts TO {app}; CREATE TABLE sketches (id bigint)`))
	found, err := migrate.Doctor(t.Context(), p.db, &Draft{}, &Sketch{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0].Code != migrate.CodeUnclassified || found[0].Object != "table public.drafts" || found[1].Code != migrate.CodeTenantMissing {
		t.Fatalf("found:\n%s", listed(found))
	}
	p.cure(t, found[:1])
	if found, err = migrate.Doctor(t.Context(), p.db, &Draft{}); err != nil || len(found) > 0 {
		t.Errorf("after the fix: %v\n%s", err, listed(found))
	}
}
