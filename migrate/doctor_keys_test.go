package migrate_test

import (
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

// offTriggers disables the server's own triggers of a table, and no others.
func offTriggers(table, how string) string {
	return `DO $$ DECLARE t name; BEGIN FOR t IN SELECT tgname FROM pg_trigger WHERE tgrelid = '` + table + `'::regclass AND tgisinternal LOOP
		EXECUTE format('ALTER TABLE ` + table + ` ` + how + ` TRIGGER %I', t); END LOOP; END $$`
}

const (
	dropShelf = `ALTER TABLE books DROP CONSTRAINT fk_shelves_books; `
	addShelf  = dropShelf + `ALTER TABLE books ADD CONSTRAINT fk_shelves_books FOREIGN KEY `
	shelfKey  = "constraint public.books.fk_shelves_books"
)

func TestDoctor_Keys(t *testing.T) {
	t.Parallel()
	warning := migrate.SeverityWarning
	p := newPatient(t)
	p.recaptures = true
	if p.line(t, `SELECT (current_setting('server_version_num')::int >= 180000)::text`) == "true" {
		p.suffers(t, []ailment{
			{"not enforced", `ALTER TABLE books ALTER CONSTRAINT fk_shelves_books NOT ENFORCED`, migrate.CodeForeignKeyNotEnforced, shelfKey, ""},
			{"made not enforced", addShelf + `(shelf_id) REFERENCES shelves (id) NOT ENFORCED`, migrate.CodeForeignKeyNotEnforced, shelfKey, ""},
			{"not null, not valid", `ALTER TABLE books ALTER tenant_id DROP NOT NULL; ALTER TABLE books ADD CONSTRAINT has_tenant NOT NULL tenant_id NOT VALID`,
				migrate.CodeTenantNull, "column public.books.tenant_id", ""},
			{"without overlaps", `ALTER TABLE shelves ADD COLUMN during int4range, ADD COLUMN rooms int4range, ADD CONSTRAINT busy UNIQUE (rooms, during WITHOUT OVERLAPS)`,
				migrate.CodeUniqueNoTenant, "constraint public.shelves.busy", ""},
		})
	}
	p.suffers(t, []ailment{
		{"without the tenant", addShelf + `(shelf_id) REFERENCES shelves (id) ON DELETE SET NULL`, migrate.CodeForeignKeyNoTenant, shelfKey, ""},
		{"a second one", `ALTER TABLE books ADD COLUMN old_shelf bigint REFERENCES shelves (id) ON UPDATE SET NULL ON DELETE CASCADE`,
			migrate.CodeForeignKeyNoTenant, "constraint public.books.books_old_shelf_fkey", ""},
		{"full, of a nullable column", `ALTER TABLE tags ADD COLUMN parent_id bigint, ADD COLUMN parent_lang text, ADD UNIQUE (tenant_id, id, lang), ADD CONSTRAINT u UNIQUE (id, lang, tenant_id);
			CREATE UNIQUE INDEX plain ON tags (id, lang); ALTER TABLE tags ADD CONSTRAINT full_one FOREIGN KEY (parent_id, parent_lang) REFERENCES tags (id, lang) MATCH FULL;
			ALTER TABLE tags DROP CONSTRAINT full_one; DROP INDEX plain;
			ALTER TABLE tags ADD CONSTRAINT full_one FOREIGN KEY (parent_id) REFERENCES tags (id) MATCH FULL`,
			migrate.CodeForeignKeyNoTenant, "constraint public.tags.full_one", ""},
		{"dropped", dropShelf, migrate.CodeForeignKeyMissing, shelfKey, ""},
		{"dropped, of a join table", `ALTER TABLE book_tags DROP CONSTRAINT fk_book_tags_tag`, migrate.CodeForeignKeyMissing, "constraint public.book_tags.fk_book_tags_tag", ""},
		{"key dropped", `DO $$ DECLARE i regclass; BEGIN SELECT conindid INTO i FROM pg_constraint WHERE conname = 'fk_shelves_books'; EXECUTE format('DROP INDEX %s CASCADE', i); END $$`,
			migrate.CodeCompositeKeyMissing, "table public.shelves", ""},
		{"key of two dropped", `DO $$ DECLARE i regclass; BEGIN SELECT conindid INTO i FROM pg_constraint WHERE conname = 'fk_books_sequel'; EXECUTE format('DROP INDEX %s CASCADE', i); END $$`,
			migrate.CodeCompositeKeyMissing, "table public.books", ""},
		{"key unique no more", `DROP INDEX courtroll_key_shelves_id CASCADE; CREATE INDEX courtroll_key_shelves_id ON shelves (tenant_id, id)`,
			migrate.CodeCompositeKeyMissing, "table public.shelves", ""},
		{"not valid", addShelf + `(tenant_id, shelf_id) REFERENCES shelves (tenant_id, id) ON DELETE SET NULL (shelf_id) NOT VALID`, migrate.CodeForeignKeyNotValid, shelfKey, ""},
		{"made while nothing was seen", addShelf + `(tenant_id, shelf_id) REFERENCES shelves (tenant_id, id) ON DELETE SET NULL (shelf_id)`, migrate.CodeForeignKeyUnproven, shelfKey, warning},
		{"set null", addShelf + `(tenant_id, shelf_id) REFERENCES shelves (tenant_id, id) ON DELETE SET NULL`, migrate.CodeForeignKeySetsTenant, shelfKey, warning},
		{"set default", addShelf + `(tenant_id, shelf_id) REFERENCES shelves (tenant_id, id) ON UPDATE SET DEFAULT`, migrate.CodeForeignKeySetsTenant, shelfKey, warning},
		{"to a copy", `CREATE TABLE shelves_old (tenant_id text, id bigint, UNIQUE (tenant_id, id)); ` + addShelf + `(tenant_id, shelf_id) REFERENCES shelves_old (tenant_id, id)`,
			migrate.CodeForeignKeyAltered, shelfKey, ""},
		{"of another column", addShelf + `(tenant_id, place) REFERENCES shelves (tenant_id, id)`, migrate.CodeForeignKeyAltered, shelfKey, ""},
		{"of a nullable column besides", `ALTER TABLE books ADD COLUMN room bigint; ALTER TABLE shelves ADD UNIQUE (tenant_id, id, room); ` + addShelf + `(tenant_id, shelf_id, room) REFERENCES shelves (tenant_id, id, room)`,
			migrate.CodeForeignKeyAltered, shelfKey, ""},
		{"crossed", `CREATE UNIQUE INDEX words ON tags (tenant_id, word); ALTER TABLE tags ADD CONSTRAINT crossed FOREIGN KEY (tenant_id, word) REFERENCES tags (word, tenant_id)`,
			migrate.CodeForeignKeyCrossed, "constraint public.tags.crossed", ""},
		{"triggers off", offTriggers("books", "DISABLE"), migrate.CodeConstraintTriggersOff, "table public.books", ""},
		{"triggers of a replica", offTriggers("shelves", "ENABLE REPLICA"), migrate.CodeConstraintTriggersOff, "table public.shelves", ""},
		{"triggers off, a superuser's to enable", `ALTER TABLE tags ADD CONSTRAINT late UNIQUE (tenant_id, word) DEFERRABLE; ` + offTriggers("tags", "DISABLE"),
			migrate.CodeConstraintTriggersOff, "table public.tags", ""},
		{"unprotected table", `CREATE TABLE loans (tenant_id text, book_id bigint REFERENCES books (id))`, migrate.CodeForeignKeyUnprotected, "constraint public.loans.loans_book_id_fkey", warning},
		{"to an unprotected table", `CREATE TABLE owners (tenant_id text, id bigint PRIMARY KEY); ALTER TABLE owners OWNER TO {owner}; ALTER TABLE books ADD COLUMN owner_id bigint REFERENCES owners (id)`,
			migrate.CodeForeignKeyUnprotected, "constraint public.books.books_owner_id_fkey", warning},
	})
}

// TestDoctor_Violated has a key under which a row refers to another tenant's: the fix
// does not pass over it.
func TestDoctor_Violated(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.seed(t)
	p.super.exec(t, dropShelf+`UPDATE books SET shelf_id = 2 WHERE id = 1`)
	p.exec(t, `ALTER TABLE books ADD CONSTRAINT fk_shelves_books FOREIGN KEY (tenant_id, shelf_id) REFERENCES shelves (tenant_id, id)`)
	found := p.doctor(t)
	if len(found) != 1 || found[0].Code != migrate.CodeForeignKeyUnproven {
		t.Fatalf("found:\n%s", listed(found))
	}
	if _, err := p.sql.ExecContext(t.Context(), found[0].Fix); code(err) != dangling {
		t.Errorf("the fix: %v", err)
	}
	p.super.exec(t, `UPDATE books SET shelf_id = 1 WHERE id = 1`)
	p.cure(t, found)
	if found := p.doctor(t); len(found) > 0 {
		t.Errorf("found after the fix:\n%s", listed(found))
	}
}

func TestDoctor_Indexes(t *testing.T) {
	t.Parallel()
	newPatient(t).suffers(t, []ailment{
		{"unique index", `DROP INDEX idx_books_isbn; CREATE UNIQUE INDEX idx_books_isbn ON books (isbn)`, migrate.CodeUniqueNoTenant, "index public.idx_books_isbn", ""},
		{"primary key", `ALTER TABLE tags DROP CONSTRAINT tags_pkey; ALTER TABLE tags ADD PRIMARY KEY (word)`, migrate.CodeUniqueNoTenant, "constraint public.tags.tags_pkey", ""},
		{"unique expression", `CREATE UNIQUE INDEX lower_isbn ON books (lower(isbn)) INCLUDE (tenant_id) WHERE place > 0`, migrate.CodeUniqueNoTenant, "index public.lower_isbn", ""},
		{"unique constraint", `ALTER TABLE tags ADD CONSTRAINT one_word UNIQUE NULLS NOT DISTINCT (word)`, migrate.CodeUniqueNoTenant, "constraint public.tags.one_word", ""},
		{"deferrable constraint", `ALTER TABLE tags ADD CONSTRAINT late_word UNIQUE (word, lang) DEFERRABLE INITIALLY DEFERRED`, migrate.CodeUniqueNoTenant, "constraint public.tags.late_word", ""},
		{"replica identity", `ALTER TABLE tags ALTER lang SET NOT NULL; CREATE UNIQUE INDEX sent ON tags (lang); ALTER TABLE tags REPLICA IDENTITY USING INDEX sent`,
			migrate.CodeUniqueNoTenant, "index public.sent", ""},
		{"exclusion", `ALTER TABLE shelves ADD CONSTRAINT apart EXCLUDE USING gist (int8range(room, room + 5) WITH &&) WHERE (room > 100)`,
			migrate.CodeExclusionNoTenant, "constraint public.shelves.apart", ""},
		{"exclusion by hash", `ALTER TABLE shelves ADD CONSTRAINT hashed EXCLUDE USING hash (name WITH =)`, migrate.CodeExclusionNoTenant, "constraint public.shelves.hashed", ""},
		{"exclusion of other tenants", `ALTER TABLE shelves ADD CONSTRAINT others EXCLUDE USING gist (tenant_id WITH <>, room WITH =)`,
			migrate.CodeExclusionNoTenant, "constraint public.shelves.others", ""},
		{"no tenant index", `DROP INDEX courtroll_tenant_book_tags`, migrate.CodeTenantIndexMissing, "table public.book_tags", migrate.SeverityWarning},
		{"a hash", `DROP INDEX courtroll_tenant_book_tags; CREATE INDEX courtroll_tenant_book_tags ON book_tags USING hash (tenant_id)`,
			migrate.CodeTenantIndexMissing, "table public.book_tags", migrate.SeverityWarning},
		{"constant default", `ALTER TABLE books ALTER tenant_id SET DEFAULT 'acme'`, migrate.CodeTenantDefault, "column public.books.tenant_id", migrate.SeverityWarning},
		{"half a default", `ALTER TABLE books ALTER tenant_id SET DEFAULT coalesce(current_setting('courtroll.tenant_id', true), 'acme')`,
			migrate.CodeTenantDefault, "column public.books.tenant_id", migrate.SeverityWarning},
		{"default of the trail", `ALTER TABLE audit_logs ALTER tenant_id SET DEFAULT 'acme'`, migrate.CodeTenantDefault, "column public.audit_logs.tenant_id", migrate.SeverityWarning},
	})
}
