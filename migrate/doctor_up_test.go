package migrate_test

import (
	"slices"
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

// codesOf returns the codes of the findings, each once.
func codesOf(found migrate.Findings) (codes []migrate.Code) {
	for _, f := range found {
		if !slices.Contains(codes, f.Code) {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

// TestDoctor_NotUp examines a database before and after its first Up.
func TestDoctor_NotUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	found := must(migrate.Doctor(t.Context(), b.App))
	if len(found) < 2 || found[0].Code != migrate.CodeNotUp || found[0].Object != "table audit_logs" || found[1].Object != "table tenants" {
		t.Errorf("before Up:\n%s", listed(found))
	}
	b.up(t)
	if found := must(migrate.Doctor(t.Context(), b.App)); slices.Contains(codesOf(found), migrate.CodeNotUp) {
		t.Errorf("after Up:\n%s", listed(found))
	}
}

// TestDoctor_NewerRelease has a version of which this binary does not know; only the
// owner can see it.
func TestDoctor_NewerRelease(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.super.exec(t, `INSERT INTO courtroll_migrations (version, name, checksum) VALUES (999, 'later', 'x')`)
	if found := codesOf(must(migrate.Doctor(t.Context(), p.owner, libraryModels...))); !slices.Contains(found, migrate.CodeVersionUnknown) {
		t.Errorf("found %q", found)
	}
	p.super.exec(t, `DELETE FROM courtroll_migrations WHERE version = 999`)
	if found := codesOf(must(migrate.Doctor(t.Context(), p.owner, libraryModels...))); slices.Contains(found, migrate.CodeVersionUnknown) {
		t.Errorf("found %q after the record was removed", found)
	}
}

// TestDoctor_Remembers asks twice: the second answer is the first one, until a setting
// changes what names mean.
func TestDoctor_Remembers(t *testing.T) {
	t.Parallel()
	tx := must(setup(t).sql.Begin())
	defer tx.Rollback()
	exec, ask := migrate.Remembering(tx)
	const query = `SELECT current_setting('search_path') || random()`
	first := must(ask(t.Context(), query))[0]
	if again := must(ask(t.Context(), query))[0]; again != first {
		t.Errorf("asked the database twice: %q, %q", first, again)
	}
	if err := exec(t.Context(), `SET LOCAL search_path = pg_catalog`); err != nil {
		t.Fatal(err)
	}
	if after := must(ask(t.Context(), query))[0]; after == first {
		t.Errorf("remembers %q beyond a setting", after)
	}
}
