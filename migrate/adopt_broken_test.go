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

// TestAdopt_Defaults refuses the default of somebody else, and what it left.
func TestAdopt_Defaults(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before string
		want   error
	}{
		"Default": {`ALTER TABLE bills ADD tenant_id text; ALTER TABLE bills ALTER tenant_id SET DEFAULT 'legacy'`, migrate.ErrDefault},
		"Blank":   {`ALTER TABLE bills ADD tenant_id text; UPDATE bills SET tenant_id = CASE WHEN id = 1 THEN ' ' END`, migrate.ErrBlankRows},
		"NotNull": {`ALTER TABLE bills ADD tenant_id text NOT NULL DEFAULT ''; ALTER TABLE bills ALTER tenant_id DROP DEFAULT`, migrate.ErrBlankRows},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupShop(t)
			p.exec(t, c.before)
			before := p.everything(t)
			if _, err := p.adopter(p.owner).Adopt(t.Context(), &Bill{}, migrate.Adoption{Constant: "acme", Pace: quick}); !errors.Is(err, c.want) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if after := p.everything(t); after != before {
				t.Error(firstDifference(before, after))
			}
		})
	}
}

// TestAdopt_OtherSource stops a Constant that was wrong: its default must not stay. Nor
// does Protect take the table meanwhile.
func TestAdopt_OtherSource(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		again migrate.Adoption
		want  string
	}{
		"Constant": {migrate.Adoption{Constant: "right"}, "right"},
		"SQL":      {migrate.Adoption{SQL: "split_part(number, '-', 1)"}, "right"},
		"Func":     {migrate.Adoption{Func: byNumber, Quiet: -1}, "23502"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupShop(t)
			p.exec(t, `UPDATE bills SET number = 'right-' || number`)
			ctx, cancel := context.WithCancel(t.Context())
			m := migrate.New(p.owner, migrate.Config{Progress: func(now migrate.Progress) {
				if strings.HasPrefix(now.Step, "backfill") {
					cancel()
				}
			}})
			if _, err := m.Adopt(ctx, &Bill{}, migrate.Adoption{Constant: "wrong", Pace: quick}); err == nil {
				t.Fatal("it was not stopped")
			}
			for _, first := range []string{`SELECT 1`, `UPDATE bills SET tenant_id = NULL`} {
				p.exec(t, first)
				if err := p.protectOnly(t, &Bill{}); !errors.Is(err, migrate.ErrHalfAdopted) {
					t.Errorf("Protect: got %v", err)
				}
			}
			p.adopt(t, &Bill{}, c.again)
			got, err := as(t, p.app, "", `INSERT INTO bills (number) VALUES ('right-new') RETURNING tenant_id`)
			if strings.Join(got, "")+code(err) != c.want {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestProtect_NoTenant refuses rows without a tenant that no Adopt has seen.
func TestProtect_NoTenant(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `ALTER TABLE clients ADD tenant_id text`)
	before := p.everything(t)
	if err := p.protectOnly(t, &Client{}); !errors.Is(err, migrate.ErrHalfAdopted) {
		t.Errorf("got %v", err)
	}
	if after := p.everything(t); after != before {
		t.Error(firstDifference(before, after))
	}
}
