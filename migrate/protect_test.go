package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

func TestProtectTwice(t *testing.T) {
	t.Parallel()

	t.Run("changes nothing, with AutoMigrate in between", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.system, _ = p.role(t, "sys", "")
		if len(p.protect(t).Changed) == 0 {
			t.Fatal("the first changed nothing")
		}
		before := p.everything(t)
		for range 2 {
			if err := autoMigrate(p.owner); err != nil {
				t.Fatalf("AutoMigrate: %v", err)
			}
			if after := p.everything(t); after != before {
				t.Fatalf("AutoMigrate changed:\n%s", firstDifference(before, after))
			}
			done := p.protect(t)
			if diff := cmp.Diff([]string(nil), done.Changed); diff != "" {
				t.Error(diff)
			}
			if len(done.Drifted) > 0 || len(done.Foreign) > 0 {
				t.Errorf("got drift %q, foreign policies %q", done.Drifted, done.Foreign)
			}
			if after := p.everything(t); after != before {
				t.Fatalf("Protect changed:\n%s", firstDifference(before, after))
			}
		}
	})

	t.Run("changes nothing, with Up in between that makes the functions again", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		if diff := cmp.Diff(migrate.Result{}, p.up(t)); diff != "" {
			t.Error(diff)
		}
		p.exec(t, `DELETE FROM courtroll_migrations`)
		p.up(t)
		if done := p.protect(t); len(done.Changed) > 0 {
			t.Errorf("got %q", done.Changed)
		}
	})

	t.Run("at once, by two instances", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		var group sync.WaitGroup
		results, failures := make([]migrate.Protection, 4), make([]error, 4)
		for i := range results {
			group.Go(func() {
				results[i], failures[i] = migrate.New(p.owner, p.config()).Protect(t.Context(), libraryModels...)
			})
		}
		group.Wait()
		if err := errors.Join(failures...); err != nil {
			t.Fatal(err)
		}
		worked := slices.DeleteFunc(results, func(r migrate.Protection) bool { return len(r.Changed) == 0 })
		if len(worked) != 1 {
			t.Errorf("got %d that changed something, want 1", len(worked))
		}
	})
}

func TestProtectKeys(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	p.protect(t)
	got := p.lines(t, `SELECT conrelid::regclass || ': ' || pg_get_constraintdef(oid) FROM pg_constraint
		WHERE contype = 'f' AND connamespace = 'public'::regnamespace ORDER BY 1`)
	want := []string{
		"book_tags: FOREIGN KEY (tenant_id, book_id) REFERENCES books(tenant_id, id)",
		"book_tags: FOREIGN KEY (tenant_id, tag_id) REFERENCES tags(tenant_id, id)",
		"books: FOREIGN KEY (tenant_id, sequel_id) REFERENCES books(tenant_id, id)",
		"books: FOREIGN KEY (tenant_id, shelf_id) REFERENCES shelves(tenant_id, id) ON DELETE SET NULL (shelf_id)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	got = p.lines(t, `SELECT indexdef FROM pg_indexes WHERE tablename IN ('books', 'shelves', 'tags', 'book_tags') ORDER BY indexname`)
	for i, line := range got {
		got[i] = strings.Replace(line, " ON public.", " ON ", 1)
	}
	want = []string{
		"CREATE UNIQUE INDEX book_tags_pkey ON book_tags USING btree (book_id, tag_id)",
		"CREATE UNIQUE INDEX books_pkey ON books USING btree (id)",
		"CREATE UNIQUE INDEX courtroll_key_books_id ON books USING btree (tenant_id, id)",
		"CREATE UNIQUE INDEX courtroll_key_shelves_id ON shelves USING btree (tenant_id, id)",
		"CREATE UNIQUE INDEX courtroll_key_tags_id ON tags USING btree (tenant_id, id)",
		"CREATE INDEX courtroll_tenant_book_tags ON book_tags USING btree (tenant_id)",
		"CREATE INDEX idx_books_deleted_at ON books USING btree (deleted_at)",
		"CREATE UNIQUE INDEX idx_books_isbn ON books USING btree (tenant_id, isbn)",
		"CREATE UNIQUE INDEX idx_books_place ON books USING btree (tenant_id, place)",
		"CREATE UNIQUE INDEX idx_shelves_name ON shelves USING btree (tenant_id, lower(name) DESC) WHERE (room > 0)",
		"CREATE UNIQUE INDEX idx_tags_word ON tags USING btree (tenant_id, lang, word)",
		"CREATE UNIQUE INDEX shelves_pkey ON shelves USING btree (id)",
		"CREATE UNIQUE INDEX tags_pkey ON tags USING btree (id)",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnprotect(t *testing.T) {
	t.Parallel()

	t.Run("gives the tables back as they were", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.exec(t, `COMMENT ON INDEX idx_books_isbn IS 'the book''s number'`,
			`ALTER TABLE tags ENABLE ROW LEVEL SECURITY`, `CREATE POLICY by_hand ON tags USING (true)`,
			`ALTER TABLE tags ADD CONSTRAINT tags_lang UNIQUE (lang) INCLUDE (word) DEFERRABLE`)
		before := p.shape(t)
		p.protect(t)
		if p.shape(t) == before {
			t.Fatal("Protect changed nothing")
		}
		done, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), libraryModels...)
		if err != nil {
			t.Fatal(err)
		}
		if after := p.shape(t); after != before {
			t.Error(firstDifference(before, after))
		}
		if diff := cmp.Diff([]string{"public.tags.by_hand"}, done.Foreign); diff != "" {
			t.Error(diff)
		}
		if len(p.protect(t).Changed) == 0 {
			t.Error("a further Protect changed nothing")
		}
	})

	t.Run("without models takes our two tables alone", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		if _, err := migrate.New(p.owner, p.config()).Unprotect(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := p.lines(t, `SELECT relname::text FROM pg_class WHERE relforcerowsecurity ORDER BY 1`)
		if diff := cmp.Diff([]string{"book_tags", "books", "shelves", "tags"}, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("twice changes nothing", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		m := migrate.New(p.owner, p.config())
		if _, err := m.Unprotect(t.Context(), libraryModels...); err != nil {
			t.Fatal(err)
		}
		before := p.everything(t)
		done, err := m.Unprotect(t.Context(), libraryModels...)
		if err != nil || len(done.Changed) > 0 || p.everything(t) != before {
			t.Errorf("got %v, changes %q", err, done.Changed)
		}
	})

	t.Run("of some leaves the others protected, and checks its keys against all their rows", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.seed(t)
		p.super.exec(t, `INSERT INTO book_tags (tenant_id, book_id, tag_id) VALUES ('a', 1, 1)`)
		p.protect(t)
		if _, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), &Book{}); err != nil {
			t.Fatal(err)
		}
		got := p.lines(t, `SELECT relname::text FROM pg_class WHERE relforcerowsecurity AND relrowsecurity ORDER BY 1`)
		if diff := cmp.Diff([]string{"shelves", "tags"}, got); diff != "" {
			t.Error(diff)
		}
		got = p.lines(t, `SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE contype = 'f' AND convalidated
			AND conrelid IN ('books'::regclass, 'book_tags'::regclass) ORDER BY 1`)
		want := []string{"FOREIGN KEY (book_id) REFERENCES books(id)", "FOREIGN KEY (sequel_id) REFERENCES books(id)",
			"FOREIGN KEY (shelf_id) REFERENCES shelves(id) ON DELETE SET NULL", "FOREIGN KEY (tag_id) REFERENCES tags(id)"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("ErrStillReferenced", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		before := p.everything(t)
		_, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), &Shelf{})
		if !errors.Is(err, migrate.ErrStillReferenced) || !strings.Contains(err.Error(), "public.books") {
			t.Errorf("got %v", err)
		}
		if p.everything(t) != before {
			t.Error("something changed")
		}
	})

	t.Run("ErrRowsViolate where tenants share a value", func(t *testing.T) {
		t.Parallel()
		p := setupLibrary(t)
		p.protect(t)
		p.super.exec(t, `INSERT INTO books (tenant_id, isbn) VALUES ('a', 'shared-value'), ('b', 'shared-value')`)
		before := p.everything(t)
		_, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), libraryModels...)
		if !errors.Is(err, migrate.ErrRowsViolate) || strings.Contains(err.Error(), "shared-value") {
			t.Errorf("got %v", err)
		}
		if p.everything(t) != before {
			t.Error("something changed")
		}
	})
}
