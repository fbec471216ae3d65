package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

func TestProtectErrNotOwner(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	before := p.everything(t)
	_, err := migrate.New(p.App, p.config()).Protect(t.Context(), libraryModels...)
	if !errors.Is(err, migrate.ErrNotOwner) {
		t.Errorf("got %v, want ErrNotOwner", err)
	}
	if after := p.everything(t); after != before {
		t.Errorf("it changed:\n%s", firstDifference(before, after))
	}
}

func TestProtectErrNoRole(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	config := p.config()
	config.TrustedRoles = []string{p.Name + "_nobody"}
	if _, err := migrate.New(p.owner, config).Protect(t.Context(), libraryModels...); !errors.Is(err, migrate.ErrNoRole) {
		t.Errorf("got %v, want ErrNoRole", err)
	}
}

// TestProtectReportsSharedTables has a shared table that the app may not read, on
// which Protect grants nothing.
func TestProtectReportsSharedTables(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	config := p.config()
	config.Shared = []any{&Country{}, "shelves_of_nobody"}
	reported := func() bool {
		done, err := migrate.New(p.owner, config).Protect(t.Context(), libraryModels...)
		if err != nil {
			t.Fatal(err)
		}
		return slices.ContainsFunc(done.Reported, func(r migrate.Report) bool {
			return r.Object == "shared table public.countries" && strings.Contains(r.Reason, "GRANT SELECT")
		})
	}
	if reported() {
		t.Error("a table that the app may read is reported")
	}
	p.exec(t, `REVOKE ALL ON countries FROM `+p.AppRole)
	if !reported() {
		t.Error("a table that the app may not read is not reported")
	}
}
