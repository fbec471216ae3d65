package migrate_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

func TestAdopt(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.adoptShop(t)
	if got := p.line(t, wrongBills); got != "0" {
		t.Errorf("%s bills of the wrong tenant", got)
	}
	for _, table := range []string{"clients", "bills"} {
		if got := p.line(t, columnState, table); got != "t f" {
			t.Errorf("%s: got %q for NOT NULL and default", table, got)
		}
	}
	before := p.everything(t)
	if again := p.adoptShop(t); len(again) > 0 {
		t.Errorf("got %q the second time", again)
	}
	if after := p.everything(t); after != before {
		t.Error(firstDifference(before, after))
	}
}

func TestAdopt_ThenProtect(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	before := withoutNotNull(p.shape(t))
	p.adoptShop(t)
	done, err := migrate.New(p.owner, p.config()).Protect(t.Context(), shopModels...)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range done.Changed {
		if strings.Contains(s, "INDEX ") && strings.HasPrefix(s, "CREATE") || strings.Contains(s, "VALIDATE") || strings.Contains(s, " ADD CONSTRAINT ") {
			t.Errorf("it reads the table: %s", s)
		}
	}
	again, err := migrate.New(p.owner, p.config()).Protect(t.Context(), shopModels...)
	if err != nil || len(again.Changed) > 0 {
		t.Errorf("got %q, %v the second time", again.Changed, err)
	}
	if left := p.lines(t, `SELECT conname::text FROM pg_constraint WHERE conname LIKE 'courtroll\_%' AND contype IN ('c', 'f')
		UNION ALL SELECT relname::text FROM pg_class WHERE relname LIKE 'courtroll\_scoped%'`); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if _, err := migrate.New(p.owner, p.config()).Unprotect(t.Context(), shopModels...); err != nil {
		t.Fatal(err)
	}
	if after := withoutNotNull(p.shape(t)); after != before {
		t.Error(firstDifference(before, after))
	}
}

// withoutNotNull leaves out the constraints by which PostgreSQL 18 keeps NOT NULL.
func withoutNotNull(shape string) string {
	isOne := func(line string) bool { return strings.Contains(line, "_tenant_id_not_null ") }
	return strings.Join(slices.DeleteFunc(strings.Split(shape, "\n"), isOne), "\n")
}
