package migrate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/courtroll/courtroll/migrate"
)

// Select is a table with a name that has to be quoted, in a schema that has, too,
// without a key, and whose parent is itself.
type Select struct {
	TenantID string `gorm:"column:Order"`
	Key      int64
	Parent   *int64 `gorm:"column:User"`
}

// TableName needs quotes in every part.
func (Select) TableName() string { return "My Shop.Select" }

func TestAdopt_Quoted(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE SCHEMA "My Shop"`,
		`CREATE TABLE "My Shop"."Select" (key bigint UNIQUE, "User" bigint REFERENCES "My Shop"."Select" (key))`,
		`INSERT INTO "My Shop"."Select" SELECT n, CASE WHEN n < 500 THEN n + 1 END FROM generate_series(500, 1, -1) n`,
		`ALTER TABLE "My Shop"."Select" ADD "Order" text`, `UPDATE "My Shop"."Select" SET "Order" = 'given' WHERE key = 250`)
	cfg := migrate.Config{Rules: migrate.Rules{TenantColumn: "Order"}}
	_, err := migrate.New(p.owner, cfg).Adopt(t.Context(), &Select{}, migrate.Adoption{Parent: "User", Orphans: "root", Pace: quick})
	if err == nil {
		t.Fatal("a row of another tenant than its parent was passed over")
	}
	p.exec(t, `UPDATE "My Shop"."Select" SET "Order" = 'root'`)
	if _, err := migrate.New(p.owner, cfg).Adopt(t.Context(), &Select{}, migrate.Adoption{Parent: "User", Orphans: "root", Pace: quick}); err != nil {
		t.Fatal(err)
	}
	if got := p.line(t, `SELECT string_agg(DISTINCT "Order", ' ') FROM "My Shop"."Select"`); got != "root" {
		t.Errorf("got %q", got)
	}
}

// TestAdopt_Writers checks what the trigger makes of what each version writes.
func TestAdopt_Writers(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `CREATE FUNCTION first_client() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN IF NEW.number = ''set'' THEN NEW.client_id := 2; END IF; RETURN NEW; END'`,
		`CREATE TRIGGER set_client BEFORE INSERT ON bills FOR EACH ROW EXECUTE FUNCTION first_client()`)
	p.adoptShop(t)
	for _, c := range []struct{ name, write, want string }{
		{"filled", `INSERT INTO bills (client_id, number) VALUES (1, 'a') RETURNING tenant_id`, "globex"},
		{"no parent", `INSERT INTO bills (number) VALUES ('b') RETURNING tenant_id`, "nobody"},
		{"given", `INSERT INTO bills (client_id, number, tenant_id) VALUES (2, 'c', 'acme') RETURNING tenant_id`, "acme"},
		{"after the app's trigger", `INSERT INTO bills (number) VALUES ('set') RETURNING tenant_id`, "acme"},
		{"follows", `UPDATE bills SET client_id = 2 WHERE number = 'a' RETURNING tenant_id`, "acme"},
		{"from no parent", `UPDATE bills SET client_id = 1 WHERE number = 'b' RETURNING tenant_id`, "globex"},
		{"loses its parent", `UPDATE bills SET client_id = NULL WHERE number = 'a' RETURNING tenant_id`, "acme"},
		{"set to NULL", `UPDATE bills SET tenant_id = NULL WHERE number = 'c' RETURNING tenant_id`, "acme"},
	} {
		if got, err := as(t, p.app, "", c.write); err != nil || strings.Join(got, "") != c.want {
			t.Errorf("%s: got %q, %v, want %q", c.name, got, err, c.want)
		}
	}
	m := p.adopter(p.owner)
	for range 2 {
		if err := m.DropAdoption(t.Context(), shopModels...); err != nil {
			t.Fatal(err)
		}
	}
	if left := p.lines(t, `SELECT proname::text FROM pg_proc WHERE proname LIKE 'courtroll_adopt%' UNION ALL SELECT tgname::text FROM pg_trigger WHERE tgname LIKE '%adopt'`); len(left) > 0 {
		t.Errorf("%q are left", left)
	}
	if changed := p.adoptShop(t); len(changed) > 0 {
		t.Errorf("after DropAdoption it did %q", changed)
	}
}

// TestAdopt_Repairs makes anew what was altered, and what a crash left half done.
func TestAdopt_Repairs(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `ALTER TABLE bills ADD tenant_id text`, `UPDATE bills SET tenant_id = 'given' WHERE id = 1`)
	constant := migrate.Adoption{Constant: "o'ne"}
	if done := p.adopt(t, &Bill{}, constant); done.Filled != 1999 {
		t.Errorf("got %d filled", done.Filled)
	}
	p.exec(t, `ALTER TABLE bills DISABLE TRIGGER "~courtroll_adopt"`, `DROP INDEX courtroll_tenant_bills`)
	p.super.exec(t, `CREATE INDEX courtroll_tenant_bills ON bills (tenant_id)`,
		`UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'courtroll_tenant_bills'::regclass`)
	done := p.adopt(t, &Bill{}, constant)
	if len(done.Drifted) != 1 || done.Drifted[0] != "public.bills.~courtroll_adopt" {
		t.Errorf("got %q as drifted", done.Drifted)
	}
	if got := p.line(t, `SELECT indisvalid::text FROM pg_index WHERE indexrelid = 'courtroll_tenant_bills'::regclass`); got != "true" {
		t.Errorf("got valid %s", got)
	}
	if err := p.adopter(p.owner).DropAdoption(t.Context(), &Bill{}); err != nil {
		t.Fatal(err)
	}
	if got := p.line(t, columnState, "bills"); got != "t f" {
		t.Errorf("got %q for NOT NULL and default", got)
	}
}

// TestAdopt_Waits has a transaction hold the table for seconds: Adopt waits for it,
// and who comes behind Adopt does not. The control is patient, and so they do.
func TestAdopt_Waits(t *testing.T) {
	t.Parallel()
	const held = 4 * time.Second
	for name, timeout := range map[string]time.Duration{"OK": 100 * time.Millisecond, "Control": time.Minute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setupShop(t)
			tx := must(p.app.BeginTx(t.Context(), nil))
			must(tx.Exec(`SELECT count(*) FROM bills`))
			done := make(chan error, 1)
			m := migrate.New(p.owner, migrate.Config{TableLockTimeout: timeout, TableLockRetries: 200})
			go func() {
				_, err := m.Adopt(t.Context(), &Bill{}, migrate.Adoption{Constant: "acme", Pace: quick})
				done <- err
			}()
			eventually(t, "Adopt waits for the table", func() bool {
				return p.super.line(t, `SELECT count(*)::text FROM pg_locks WHERE relation = 'bills'::regclass AND NOT granted`) != "0"
			})
			time.AfterFunc(held, func() { _ = tx.Rollback() })
			longest := time.Duration(0)
			for began := time.Now(); time.Since(began) < held; {
				one := time.Now()
				must(p.app.Exec(`INSERT INTO bills (client_id, number) VALUES (1, gen_random_uuid())`))
				longest = max(longest, time.Since(one))
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if isLong := longest > held/2; isLong != (name == "Control") {
				t.Errorf("a write waited %s", longest)
			}
			if got := p.line(t, `SELECT string_agg(DISTINCT tenant_id, ' ') FROM bills`); got != "acme" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestAdopt_OldSnapshot has a transaction that still sees the parents without a
// tenant write only after Adopt: it was waited for, or its write would fail.
func TestAdopt_OldSnapshot(t *testing.T) {
	t.Parallel()
	p := setupShop(t)
	p.exec(t, `ALTER TABLE clients ADD tenant_id text`)
	tx := must(p.app.BeginTx(t.Context(), nil))
	defer tx.Rollback()
	must(tx.Exec(`SET TRANSACTION ISOLATION LEVEL REPEATABLE READ`))
	must(tx.Exec(`SELECT 1`))
	p.exec(t, `UPDATE clients SET tenant_id = split_part(code, '-', 1)`, `ALTER TABLE clients ALTER tenant_id SET NOT NULL`)
	steps := make(chan string, 1) // the first step after the backfill
	m := migrate.New(p.owner, migrate.Config{Progress: func(now migrate.Progress) {
		step, _, _ := strings.Cut(now.Step, " ")
		if isLater := step == "wait" || step == "not"; isLater && len(steps) == 0 {
			steps <- step
		}
	}})
	done := make(chan error, 1)
	go func() {
		_, err := m.Adopt(t.Context(), &Bill{}, migrate.Adoption{Parent: "Client", Orphans: "nobody", Pace: quick})
		done <- err
	}()
	select {
	case step := <-steps:
		if step != "wait" {
			t.Fatal("it did not wait")
		}
	case err := <-done:
		t.Fatalf("it did not wait: %v", err)
	}
	if _, err := tx.Exec(`INSERT INTO bills (client_id, number) VALUES (1, 'late')`); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if got := p.line(t, `SELECT tenant_id FROM bills WHERE number = 'late'`); got != "globex" {
		t.Errorf("got %q", got)
	}
}
