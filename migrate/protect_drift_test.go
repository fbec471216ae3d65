package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

func TestProtectRepairsDrift(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		byHand  []string
		drifted []string
	}{
		{"of a condition", []string{`ALTER POLICY courtroll_app ON books USING (true)`}, []string{"public.books.courtroll_app"}},
		{"of a check", []string{`ALTER POLICY courtroll_floor ON books WITH CHECK (true)`}, []string{"public.books.courtroll_floor"}},
		{"of roles", []string{`ALTER POLICY courtroll_floor ON books TO pg_monitor`}, []string{"public.books.courtroll_floor"}},
		{"of the switch", []string{`ALTER TABLE books DISABLE ROW LEVEL SECURITY`}, []string{"public.books"}},
		{"of the force", []string{`ALTER TABLE tenants NO FORCE ROW LEVEL SECURITY`}, []string{"public.tenants"}},
		{"of a policy dropped", []string{`DROP POLICY courtroll_floor ON books`}, nil},
		{"of an index dropped", []string{`DROP INDEX courtroll_tenant_book_tags`}, nil},
		{"of an index made as GORM would", []string{`DROP INDEX idx_books_isbn`, `CREATE UNIQUE INDEX idx_books_isbn ON books (isbn)`}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			p.protect(t)
			before, policies := p.shape(t), p.policies(t)
			p.exec(t, test.byHand...)
			done := p.protect(t)
			if diff := cmp.Diff(test.drifted, done.Drifted); diff != "" {
				t.Error(diff)
			}
			if after := p.shape(t); after != before || len(done.Changed) == 0 {
				t.Error(firstDifference(before, after))
			}
			if diff := cmp.Diff(policies, p.policies(t)); diff != "" {
				t.Error(diff)
			}
			if again := p.protect(t); len(again.Changed)+len(again.Drifted) > 0 {
				t.Errorf("got %+v the second time", again)
			}
		})
	}
}

func (p *protected) policies(t testing.TB) []string {
	t.Helper()
	return p.lines(t, `SELECT format('%s', q) FROM pg_policies q ORDER BY 1`)
}

func TestProtectFollowsTheRoles(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.protect(t)
	p.seed(t)
	without := p.policies(t)

	p.system, _ = p.role(t, "sys", "")
	done := p.protect(t)
	if len(done.Drifted) > 0 || len(done.Changed) == 0 {
		t.Errorf("got drift %q, %d changes", done.Drifted, len(done.Changed))
	}
	trusted, login := p.role(t, "trusted", "")
	p.super.exec(t, `GRANT SELECT, UPDATE ON books TO `+trusted)
	cfg := p.config()
	cfg.TrustedRoles = []string{trusted}
	if _, err := migrate.New(p.owner, cfg).Protect(t.Context(), libraryModels...); err != nil {
		t.Fatal(err)
	}
	if got, err := as(t, login, "", `UPDATE books SET place = place RETURNING id`); err != nil || len(got) != 2 {
		t.Errorf("the trusted role: got %v, %v", got, err)
	}
	p.super.exec(t, `GRANT `+trusted+` TO `+p.AppRole)
	_ = p.refuse(t, cfg, migrate.ErrUnsafeRole, libraryModels...)
	p.super.exec(t, `REVOKE `+trusted+` FROM `+p.AppRole, `REVOKE ALL ON books FROM `+trusted)

	// The roles' policies go when the roles are not named any more.
	p.super.exec(t, `REVOKE ALL ON ALL TABLES IN SCHEMA public FROM `+p.system)
	p.system = ""
	p.protect(t)
	if diff := cmp.Diff(without, p.policies(t)); diff != "" {
		t.Error(diff)
	}
}

func TestProtectLeavesForeignPoliciesAlone(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.exec(t, `CREATE POLICY open ON books USING (true) WITH CHECK (true)`, `CREATE POLICY courtroll_own ON tenants USING (true)`)
	done := p.protect(t)
	p.seed(t)
	if diff := cmp.Diff([]string{"public.tenants.courtroll_own", "public.books.open"}, done.Foreign); diff != "" {
		t.Error(diff)
	}
	for statement, want := range map[string][]string{
		`SELECT id FROM books`:                    {"1"},
		`UPDATE books SET place = 7 RETURNING id`: {"1"},
		`SELECT id FROM tenants`:                  {"a"},
	} {
		got, err := as(t, p.app, "a", statement)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v %s", statement, err, diff)
		}
	}
	if _, err := as(t, p.app, "a", `INSERT INTO shelves (tenant_id, name) VALUES ('b', 'n')`); code(err) != denied {
		t.Errorf("got %v", err)
	}
}

func TestProtectReports(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.exec(t,
		`CREATE VIEW titles AS SELECT isbn FROM books`, `CREATE VIEW titles_of AS SELECT isbn FROM titles`,
		`CREATE VIEW safe WITH (security_invoker = on) AS SELECT isbn FROM books`,
		`CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM books`,
		`CREATE FUNCTION spy() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM books'`,
		`CREATE TABLE loans (id int, tenant_id text, book_id bigint CONSTRAINT fk_loans REFERENCES books)`,
		`ALTER TABLE tags ALTER tenant_id DROP NOT NULL, ADD span int4range, ADD CONSTRAINT apart EXCLUDE USING gist (span WITH &&)`,
		`GRANT CREATE ON SCHEMA public TO `+p.AppRole)
	var got []string
	for _, r := range p.protect(t).Reported {
		if r.Reason == "" {
			t.Errorf("%s has no reason", r.Object)
		}
		got = append(got, r.Object)
	}
	want := []string{"constraint public.loans.fk_loans", "table public.tags", "constraint public.tags.apart", "function public.spy()",
		"materialized view public.counted", "schema public", "view public.titles", "view public.titles_of"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What a foreign key says beside its columns is kept, and comes back.
func TestProtectKeepsTheFormOfAForeignKey(t *testing.T) {
	t.Parallel()
	const ending = ` ON UPDATE CASCADE ON DELETE SET DEFAULT DEFERRABLE INITIALLY DEFERRED`
	for name, test := range map[string]struct{ add, want string }{
		"actions and timing": {`FOREIGN KEY (sequel_id) REFERENCES books (id)` + ending,
			`FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id) ON UPDATE CASCADE ON DELETE SET DEFAULT (sequel_id) DEFERRABLE INITIALLY DEFERRED`},
		"RESTRICT": {`FOREIGN KEY (sequel_id) REFERENCES books (id) ON UPDATE RESTRICT ON DELETE RESTRICT`,
			`FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id) ON UPDATE RESTRICT ON DELETE RESTRICT`},
		"MATCH FULL of one column": {`FOREIGN KEY (sequel_id) REFERENCES books (id) MATCH FULL`,
			`FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id)`},
		"a key that has the tenant": {`FOREIGN KEY (sequel_id, tenant_id) REFERENCES books (id, tenant_id) MATCH FULL ON DELETE SET NULL`,
			`FOREIGN KEY (sequel_id, tenant_id) REFERENCES books(id, tenant_id) MATCH FULL ON DELETE SET NULL (sequel_id)`},
		"not validated": {`FOREIGN KEY (sequel_id) REFERENCES books (id) NOT VALID`,
			`FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			p.exec(t, `CREATE UNIQUE INDEX books_key ON books (tenant_id, id)`,
				`ALTER TABLE books DROP CONSTRAINT fk_books_sequel, ADD CONSTRAINT fk_books_sequel `+test.add,
				`COMMENT ON CONSTRAINT fk_books_sequel ON books IS 'what comes next'`)
			before := p.shape(t)
			p.protect(t)
			got := p.line(t, `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conname = 'fk_books_sequel' AND convalidated`)
			if got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
			p.undone(t, before)
		})
	}
}

// What a unique index says beside its columns is kept, and comes back, also where
// a foreign key stands on it.
func TestProtectKeepsTheFormOfAUniqueIndex(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ add, want string }{
		"everything": {`CREATE UNIQUE INDEX odd ON tags (lang COLLATE "C" text_pattern_ops DESC NULLS LAST, lower(word)) INCLUDE (id) NULLS NOT DISTINCT WITH (fillfactor = 70) WHERE word <> ''`,
			`CREATE UNIQUE INDEX odd ON public.tags USING btree (tenant_id, lang COLLATE "C" text_pattern_ops DESC NULLS LAST, lower(word)) INCLUDE (id) NULLS NOT DISTINCT WITH (fillfactor='70') WHERE (word <> ''::text)`},
		"a constraint": {`ALTER TABLE tags ADD CONSTRAINT odd UNIQUE NULLS NOT DISTINCT (word) INCLUDE (id) DEFERRABLE INITIALLY DEFERRED`,
			`CREATE UNIQUE INDEX odd ON public.tags USING btree (tenant_id, word) INCLUDE (id) NULLS NOT DISTINCT`},
		"a quoted name": {`CREATE UNIQUE INDEX odd ON tags ("Odd ""col", word)`,
			`CREATE UNIQUE INDEX odd ON public.tags USING btree (tenant_id, "Odd ""col", word)`},
		"a key that is referred to": {`ALTER TABLE tags ADD CONSTRAINT odd UNIQUE (word); ALTER TABLE shelves ADD tag text, ADD CONSTRAINT fk_tag FOREIGN KEY (tag) REFERENCES tags (word)`,
			`CREATE UNIQUE INDEX odd ON public.tags USING btree (tenant_id, word)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupLibrary(t)
			p.exec(t, `ALTER TABLE tags ADD "Odd ""col" text`, test.add)
			before := p.shape(t)
			p.protect(t)
			if got := p.line(t, `SELECT indexdef FROM pg_indexes WHERE indexname = 'odd'`); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
			p.undone(t, before)
		})
	}
}

// An association without a key in the database gets one under GORM's name.
func TestProtectAddsTheKeysOfAssociations(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.exec(t, `ALTER TABLE books DROP CONSTRAINT fk_shelves_books, DROP CONSTRAINT fk_books_sequel`,
		`ALTER TABLE book_tags DROP CONSTRAINT fk_book_tags_tag`)
	before := p.shape(t)
	p.protect(t)
	got := p.lines(t, `SELECT conname || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
		WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1`)
	want := []string{
		"fk_book_tags_book: FOREIGN KEY (tenant_id, book_id) REFERENCES books(tenant_id, id)",
		"fk_book_tags_tag: FOREIGN KEY (tenant_id, tag_id) REFERENCES tags(tenant_id, id)",
		"fk_books_sequel: FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id)",
		"fk_shelves_books: FOREIGN KEY (tenant_id, shelf_id) REFERENCES shelves(tenant_id, id) ON DELETE SET NULL (shelf_id)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := autoMigrate(p.owner); err != nil {
		t.Fatal(err)
	}
	if done := p.protect(t); len(done.Changed) > 0 {
		t.Errorf("after AutoMigrate: %q", done.Changed)
	}
	if _, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), libraryModels...); err != nil {
		t.Fatal(err)
	}
	if after := p.shape(t); after != before {
		t.Error(firstDifference(before, after))
	}
}

func TestProtectTakesTheModelsOfItsRules(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	cfg := p.config()
	cfg.Models = libraryModels
	cfg.TenantColumn = "tenant_id"
	if _, err := migrate.New(p.owner, cfg).Protect(t.Context(), &Country{}); err != nil {
		t.Fatal(err)
	}
	got := p.lines(t, `SELECT relname::text FROM pg_class WHERE relforcerowsecurity ORDER BY 1`)
	if diff := cmp.Diff([]string{"audit_logs", "book_tags", "books", "shelves", "tags", "tenants"}, got); diff != "" {
		t.Error(diff)
	}
}

// A table in a schema of its own, with names that must be quoted and cut.
func TestProtectOtherSchemasAndColumns(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	long := strings.Repeat("long_", 11) + "é_name"
	p.exec(t, `CREATE SCHEMA post`, `CREATE TABLE post."`+long+`" (id text PRIMARY KEY, "Org Id" uuid, answer text, body text UNIQUE)`,
		`ALTER TABLE post."`+long+`" ADD CONSTRAINT answers FOREIGN KEY (answer) REFERENCES post."`+long+`"`)
	before := p.shape(t)
	cfg := p.config()
	cfg.TenantColumn = "Org Id"
	m := migrate.New(p.owner, cfg)
	for i := range 2 {
		done, err := m.Protect(t.Context(), &longLetter{})
		if err != nil {
			t.Fatal(err)
		}
		if (i == 0) != (len(done.Changed) > 0) {
			t.Errorf("run %d: got %q", i, done.Changed)
		}
	}
	got := p.lines(t, `SELECT indexname::text FROM pg_indexes WHERE schemaname = 'post' AND indexname LIKE 'courtroll%'`)
	if len(got) != 1 || len(got[0]) > 63 {
		t.Errorf("got %q", got)
	}
	if _, err := m.Unprotect(t.Context(), &longLetter{}); err != nil {
		t.Fatal(err)
	}
	if after := p.shape(t); after != before {
		t.Error(firstDifference(before, after))
	}
	if _, err := m.Protect(t.Context(), "a name"); err == nil || errors.Is(err, migrate.ErrNoTable) {
		t.Errorf("got %v for a name instead of a model", err)
	}
}

type longLetter struct {
	ID    string
	OrgID string `gorm:"column:Org Id"`
}

func (longLetter) TableName() string { return "post." + strings.Repeat("long_", 11) + "é_name" }

// Track has associations that no key can stand for.
type Track struct {
	ID       uint
	TenantID string
	FirstID  *uint
	First    *Track  `gorm:"constraint:-"`
	Notes    []Note  `gorm:"polymorphic:Owner"`
	Labels   []Label `gorm:"many2many:track_labels"` // generated, without the tenant column
}

type Note struct {
	ID        uint
	TenantID  string
	OwnerID   uint
	OwnerType string
}

type Label struct {
	ID       uint
	TenantID string
}

func TestProtectReportsAssociations(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	list := []any{&Track{}, &Note{}, &Label{}}
	if err := p.owner.AutoMigrate(list...); err != nil {
		t.Fatal(err)
	}
	var done migrate.Protection
	for range 2 {
		var err error
		if done, err = migrate.New(p.owner, p.config()).Protect(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
		if err := p.owner.AutoMigrate(list...); err != nil {
			t.Fatal(err)
		}
	}
	if len(done.Changed) > 0 {
		t.Errorf("got %q the second time", done.Changed)
	}
	var got []string
	for _, r := range done.Reported {
		got = append(got, r.Object)
	}
	want := []string{"table public.track_labels", "association Track.First", "association Track.Notes",
		"table public.tracks", "table public.notes", "table public.labels"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// With the tenant column the generated join table is protected, too.
	p.exec(t, `ALTER TABLE track_labels ADD tenant_id text`)
	if err := p.protectOnly(t, list...); err != nil {
		t.Fatal(err)
	}
	got = p.lines(t, `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND conrelid = 'track_labels'::regclass ORDER BY 1`)
	want = []string{"FOREIGN KEY (tenant_id, label_id) REFERENCES labels(tenant_id, id)", "FOREIGN KEY (tenant_id, track_id) REFERENCES tracks(tenant_id, id)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
