package migrate_test

import (
	"strings"
	"testing"

	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestDoctor_Capture(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.super.exec(t, `CREATE FUNCTION let_pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`)
	p.suffers(t, []ailment{
		{"no update", `DROP TRIGGER courtroll_capture_update ON books`, migrate.CodeTriggerMissing, "trigger public.books.courtroll_capture_update", ""},
		{"no triggers", `DROP TRIGGER courtroll_capture_update ON books; DROP TRIGGER courtroll_capture_insert ON books; DROP TRIGGER courtroll_capture_delete ON books;
			DROP TRIGGER courtroll_capture_truncate ON books`, migrate.CodeTriggerMissing, "table public.books", ""},
		{"disabled", `ALTER TABLE tags DISABLE TRIGGER courtroll_capture_delete`, migrate.CodeTriggerDisabled, "trigger public.tags.courtroll_capture_delete", ""},
		{"all disabled", `ALTER TABLE tags DISABLE TRIGGER USER`, migrate.CodeTriggerDisabled, "table public.tags", ""},
		{"replica", `ALTER TABLE tags ENABLE REPLICA TRIGGER courtroll_capture_insert`, migrate.CodeTriggerDisabled, "trigger public.tags.courtroll_capture_insert", ""},
		{"narrowed", `DROP TRIGGER courtroll_capture_delete ON tags; CREATE TRIGGER courtroll_capture_delete AFTER DELETE ON tags REFERENCING OLD TABLE AS courtroll_old
			FOR EACH STATEMENT WHEN (current_user <> 'ann') EXECUTE FUNCTION courtroll_capture_tags()`, migrate.CodeTriggerAltered, "trigger public.tags.courtroll_capture_delete", ""},
		{"another function", `DROP TRIGGER courtroll_capture_delete ON tags; CREATE TRIGGER courtroll_capture_delete AFTER DELETE ON tags REFERENCING OLD TABLE AS courtroll_old
			FOR EACH STATEMENT EXECUTE FUNCTION let_pass()`, migrate.CodeTriggerAltered, "trigger public.tags.courtroll_capture_delete", ""},
		{"renamed", `ALTER TRIGGER courtroll_capture_insert ON tags RENAME TO recorded`, migrate.CodeTriggerMissing, "trigger public.tags.courtroll_capture_insert", ""},
		{"twice", `CREATE TRIGGER recorded AFTER INSERT ON tags REFERENCING NEW TABLE AS courtroll_new FOR EACH STATEMENT EXECUTE FUNCTION courtroll_capture_tags()`,
			migrate.CodeTriggerExtra, "trigger public.tags.recorded", ""},
		{"of another table's", `CREATE TRIGGER recorded AFTER DELETE ON countries REFERENCING OLD TABLE AS courtroll_old FOR EACH STATEMENT EXECUTE FUNCTION courtroll_capture_tags()`,
			migrate.CodeTriggerExtra, "trigger public.countries.recorded", ""},
		{"a comment of somebody's", `COMMENT ON FUNCTION courtroll_capture_tags() IS 'captures tags'`, migrate.CodeFunctionAltered, "function public.courtroll_capture_tags", migrate.SeverityWarning},
		{"function renamed", `ALTER FUNCTION courtroll_capture_tags RENAME TO capture_tags`, migrate.CodeTriggerAltered, "table public.tags", ""},
		{"function replaced", `CREATE OR REPLACE FUNCTION courtroll_capture_shelves() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'BEGIN RETURN NULL; END'`,
			migrate.CodeFunctionAltered, "function public.courtroll_capture_shelves", ""},
		{"of the caller's", `ALTER FUNCTION courtroll_capture_shelves SECURITY INVOKER`, migrate.CodeFunctionAltered, "function public.courtroll_capture_shelves", ""},
		{"of another's", `ALTER FUNCTION courtroll_capture_shelves OWNER TO {other}`, migrate.CodeFunctionOwner, "function public.courtroll_capture_shelves", ""},
		{"a new column", `ALTER TABLE shelves ADD COLUMN colour text`, migrate.CodeCaptureOutdated, "table public.shelves", migrate.SeverityWarning},
		{"never captured", `DROP FUNCTION courtroll_capture_books CASCADE`, migrate.CodeCascadeUncaptured, "table public.books", ""},
		{"deletes in all tenants", `ALTER TABLE books ADD CONSTRAINT books_country FOREIGN KEY (isbn) REFERENCES countries ON DELETE CASCADE; GRANT DELETE ON countries TO {app}`,
			migrate.CodeCascadeAcross, "constraint public.books.books_country", ""},
		{"rewrites all tenants", `ALTER TABLE tags ADD CONSTRAINT tags_country FOREIGN KEY (lang) REFERENCES countries ON UPDATE CASCADE; GRANT UPDATE (code) ON countries TO {app}`,
			migrate.CodeCascadeAcross, "constraint public.tags.tags_country", ""},
	})
	done, err := migrate.New(p.owner, p.config()).CaptureByTrigger(t.Context(), libraryModels...)
	if err != nil || len(done.Drifted) > 0 || len(done.Changed) > 0 {
		t.Errorf("CaptureByTrigger after the fixes: %v, drifted %q, changed %q", err, done.Drifted, done.Changed)
	}
}

// TestDoctor_Tags has functions that are made from other models than Doctor is given.
func TestDoctor_Tags(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	cfg := p.config()
	cfg.MaxValueChars = 50 // which nobody tells Doctor
	done, err := migrate.New(p.owner, cfg).CaptureByTrigger(t.Context(), libraryModels...)
	if err != nil || len(done.Changed) == 0 {
		t.Fatalf("CaptureByTrigger: %v, changed %q", err, done.Changed)
	}
	if found := p.doctor(t); len(found) > 0 {
		t.Errorf("found with another limit:\n%s", listed(found))
	}
	found, err := migrate.Doctor(t.Context(), p.db, &secretShelf{})
	if err != nil || len(found) != 1 || found[0].Code != migrate.CodeCaptureOutdated {
		t.Fatalf("%v\n%s", err, listed(found))
	}
	p.cure(t, found)
	if found, err = migrate.Doctor(t.Context(), p.db, &secretShelf{}); err != nil || len(found) > 0 {
		t.Errorf("found after the fix: %v\n%s", err, listed(found))
	}
}

// secretShelf is a model of shelves of another mind.
type secretShelf struct {
	ID       uint
	TenantID string `gorm:"not null"`
	Name     string `audit:"redact"`
}

func (secretShelf) TableName() string { return "shelves" }

// TestDoctor_SoundOffice has what was made in another order, with columns of each treatment
// and a captured table that is shared.
func TestDoctor_SoundOffice(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.capture(t)
	found, err := migrate.Doctor(t.Context(), d.gorm(t), sheetModels...)
	if err != nil || len(found) > 0 {
		t.Errorf("%v\n%s", err, listed(found))
	}
}

// TestDoctor_Audited has handles that mean other tables to be audited.
func TestDoctor_Audited(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.super.exec(t, `DROP FUNCTION courtroll_capture_books CASCADE`)
	rules := tenancy.Rules{Models: libraryModels, Shared: []any{&Country{}}}
	for name, c := range map[string]struct {
		tenancy, audit bool
		exclude        []audit.Exclusion
		want           int
	}{
		"OK_TenancyAlone":  {tenancy: true},
		"OK_Excluded":      {tenancy: true, audit: true, exclude: []audit.Exclusion{{Model: &Book{}, Reason: "a test"}}},
		"Found":            {tenancy: true, audit: true, want: 1},
		"Found_BareHandle": {want: 1},
	} {
		db := p.Open(postgres.New(postgres.Config{Conn: p.app}), nil)
		if c.tenancy {
			if err := db.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})); err != nil {
				t.Fatal(err)
			}
		}
		if c.audit {
			if err := db.Use(audit.New(audit.Config{Rules: rules, Exclude: c.exclude})); err != nil {
				t.Fatal(err)
			}
		}
		found, err := migrate.Doctor(t.Context(), db)
		if err != nil || len(found) != c.want {
			t.Errorf("%s: %v\n%s", name, err, listed(found))
		}
	}
	// Of the columns' names alone a fix is made, too.
	found, err := migrate.Doctor(t.Context(), p.Open(postgres.New(postgres.Config{Conn: p.app}), nil))
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Fix, "CREATE TRIGGER") {
		t.Fatalf("%v\n%s", err, listed(found))
	}
	p.cure(t, found)
	if found, err = migrate.Doctor(t.Context(), p.Open(postgres.New(postgres.Config{Conn: p.app}), nil)); err != nil || len(found) > 0 {
		t.Errorf("found after the fix: %v\n%s", err, listed(found))
	}
}
