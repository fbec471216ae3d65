package migrate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

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

// Seat is a row that its table may be the parent of.
type Seat struct {
	ID       int64
	TenantID string `gorm:"not null"`
	ParentID *int64
	Pos      int
}

// TestAdopt_Deferrable lets a statement violate for a while what is deferrable.
func TestAdopt_Deferrable(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE TABLE seats (id bigint PRIMARY KEY, parent_id bigint, pos int, UNIQUE (pos) DEFERRABLE INITIALLY DEFERRED)`,
		`INSERT INTO seats SELECT n, NULL, n FROM generate_series(1, 50) n`)
	p.adopt(t, &Seat{}, migrate.Adoption{Constant: "acme"})
	if _, err := p.app.Exec(`UPDATE seats SET pos = pos + 1`); err != nil {
		t.Error(err)
	}
}

// TestAdopt_Dense has rows without a tenant behind many that have one: no batch is
// larger for what it passed over.
func TestAdopt_Dense(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE TABLE seats (id bigint, parent_id bigint, pos int, tenant_id text)`,
		`INSERT INTO seats SELECT n, NULL, n, CASE WHEN n <= 80000 THEN 'acme' END FROM generate_series(1, 140000) n`)
	done, err := p.adopter(p.owner).Adopt(t.Context(), &Seat{}, migrate.Adoption{Constant: "acme", Pace: migrate.Pace{BatchTime: 20 * time.Millisecond, Rest: -1}})
	if err != nil || done.Filled != 60000 {
		t.Fatalf("got %d filled, %v", done.Filled, err)
	}
	if got := p.line(t, `SELECT max(n)::text FROM (SELECT count(*) AS n FROM seats WHERE id > 80000 GROUP BY xmin::text) q`); len(got) > 5 || len(got) == 5 && got > "20000" {
		t.Errorf("a batch has %s rows", got)
	}
}

// TestAdopt_LockedRoot waits for a parent that is locked, whose children are not.
func TestAdopt_LockedRoot(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE TABLE seats (id bigint PRIMARY KEY, parent_id bigint REFERENCES seats, pos int)`, `INSERT INTO seats VALUES (1, NULL), (2, 1), (3, 2)`)
	var lock sync.Once
	m := migrate.New(p.owner, migrate.Config{TableLockRetries: 100, Progress: func(now migrate.Progress) {
		if strings.HasPrefix(now.Step, "add column") && now.Done == 1 {
			lock.Do(func() {
				tx := must(p.app.BeginTx(t.Context(), nil))
				must(tx.Exec(`SELECT FROM seats WHERE id = 1 FOR UPDATE`))
				time.AfterFunc(4*time.Second, func() { _ = tx.Rollback() })
			})
		}
	}})
	if _, err := m.Adopt(t.Context(), &Seat{}, migrate.Adoption{Parent: "parent_id", Orphans: "root", Pace: quick}); err != nil {
		t.Error(err)
	}
}

// TestProtect_LocksChildrenFirst has a writer hold a table and ask for its parent's
// next, as writes do: whoever waits for the first must not hold the second.
func TestProtect_LocksChildrenFirst(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.adoptShop(t)
	cfg := p.config()
	cfg.TableLockTimeout, cfg.TableLockRetries = 20*time.Second, -1
	m := migrate.New(p.owner, cfg)
	for _, step := range []struct {
		name string
		run  func() error
	}{
		{"Protect", func() error { _, err := m.Protect(t.Context(), shopModels...); return err }},
		{"Unprotect", func() error { _, err := m.Unprotect(t.Context(), shopModels...); return err }},
		{"DropAdoption", func() error { return m.DropAdoption(t.Context(), shopModels...) }},
	} {
		tx := must(p.super.sql.BeginTx(t.Context(), nil))
		must(tx.Exec(`LOCK TABLE bills IN ACCESS SHARE MODE`))
		done := make(chan error, 1)
		go func() { done <- step.run() }()
		eventually(t, step.name+" waits", func() bool {
			return p.super.line(t, `SELECT count(*)::text FROM pg_locks WHERE relation = 'bills'::regclass AND NOT granted`) != "0"
		})
		if _, err := tx.Exec(`LOCK TABLE clients IN ACCESS SHARE MODE NOWAIT`); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
		if err := errors.Join(tx.Rollback(), <-done); err != nil {
			t.Errorf("%s: %v", step.name, err)
		}
	}
}

// TestAdopt_OwnParent gives a row that refers to itself to the Orphans' tenant.
func TestAdopt_OwnParent(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE TABLE seats (id bigint PRIMARY KEY, parent_id bigint REFERENCES seats, pos int)`, `INSERT INTO seats VALUES (1, 1), (2, 1)`)
	p.adopt(t, &Seat{}, migrate.Adoption{Parent: "parent_id", Orphans: "root"})
	got, err := as(t, p.app, "", `INSERT INTO seats VALUES (42, 42, 1) RETURNING tenant_id`, `INSERT INTO seats VALUES (43, 42, 1) RETURNING tenant_id`)
	if err != nil || strings.Join(got, "") != "root" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestAdopt_BlindWriter refuses a role for which the trigger could not read the parent.
func TestAdopt_BlindWriter(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.adopt(t, &Client{}, migrate.Adoption{SQL: tenantOfClient})
	role, _ := p.role(t, "blind", "")
	p.super.exec(t, `GRANT INSERT ON bills TO `+role)
	before := p.everything(t)
	_, err := p.adopter(p.owner).Adopt(t.Context(), &Bill{}, migrate.Adoption{Parent: "Client", Orphans: "nobody", Pace: quick})
	var refused *migrate.ProtectError
	if !errors.Is(err, migrate.ErrParentHidden) || !errors.As(err, &refused) || refused.Object != role {
		t.Fatalf("got %v", err)
	}
	if after := p.everything(t); after != before {
		t.Error(firstDifference(before, after))
	}
	p.super.exec(t, refused.Fix)
	p.adopt(t, &Bill{}, migrate.Adoption{Parent: "Client", Orphans: "nobody"})
}

// Orders and OrdersItem have keys whose names are the same but for where they are split.
type (
	Orders struct {
		ID       int64
		TenantID string
		ItemID   int64
	}
	OrdersItem struct {
		ID       int64
		TenantID string
	}
)

// TableName is not GORM's.
func (Orders) TableName() string { return "orders" }

// TableName is not GORM's.
func (OrdersItem) TableName() string { return "orders_item" }

// TestAdopt_ReadOnly adopts as a role that is read-only unless it says otherwise.
func TestAdopt_ReadOnly(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE TABLE orders (id bigserial PRIMARY KEY, item_id bigint UNIQUE)`, `CREATE TABLE orders_item (id bigserial PRIMARY KEY)`,
		`CREATE TABLE one (x bigint REFERENCES orders (item_id))`, `CREATE TABLE two (x bigint REFERENCES orders_item (id))`)
	b := p.with(t, "default_transaction_read_only", "on")
	for _, model := range []any{&Orders{}, &OrdersItem{}} {
		if _, err := migrate.New(b.owner, migrate.Config{}).Adopt(t.Context(), model, migrate.Adoption{SQL: "'t' || id", Pace: quick}); err != nil {
			t.Error(err)
		}
	}
}
