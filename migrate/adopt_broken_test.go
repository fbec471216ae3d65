package migrate_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

// TestAdopt_Rewritten has VACUUM FULL move the rows while Func has them.
func TestAdopt_Rewritten(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `TRUNCATE bills`, `INSERT INTO bills (client_id, number) SELECT 1, CASE n % 2 WHEN 0 THEN 'acme-' ELSE 'globex-' END || n FROM generate_series(1, 999) n`,
		`DELETE FROM bills WHERE id = (SELECT min(id) FROM bills)`)
	isDone := false
	p.adopt(t, &Bill{}, migrate.Adoption{Quiet: -1, Func: func(ctx context.Context, rows []map[string]any) ([]string, error) {
		if !isDone {
			p.super.exec(t, `VACUUM FULL bills`)
		}
		isDone = true
		return byNumber(ctx, rows)
	}})
	if wrong := p.line(t, `SELECT count(*)::text FROM bills WHERE tenant_id <> split_part(number, '-', 1)`); wrong != "0" {
		t.Errorf("%s rows are another tenant's", wrong)
	}
}

// TestAdopt_TooMany has Func return more tenants than it got rows.
func TestAdopt_TooMany(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	_, err := p.adopter(p.owner).Adopt(t.Context(), &Bill{}, migrate.Adoption{Pace: quick, Func: func(_ context.Context, rows []map[string]any) ([]string, error) {
		return make([]string, len(rows)+3), nil
	}})
	var rows *migrate.AdoptError
	if !errors.As(err, &rows) || !errors.Is(err, migrate.ErrTenantValue) || rows.Rows < 1 || strings.Contains(err.Error(), "-") {
		t.Errorf("got %v", err)
	}
}
