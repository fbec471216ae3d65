package migrate_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
)

// planned runs Plan, which has to leave the catalogue as it is.
func (b *bundle) planned(t testing.TB) migrate.Plan {
	t.Helper()
	before := b.catalogue(t)
	p, err := migrate.New(b.owner, migrate.Config{}).Plan(t.Context())
	if err != nil {
		t.Fatalf("Plan: %v", err)
	}
	if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
		t.Errorf("Plan changed something: %s", diff)
	}
	return p
}

// wire writes down each statement that is sent to the server.
type wire struct {
	mu   sync.Mutex
	sent []string
}

func (w *wire) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, data.SQL)
	return ctx
}

func (*wire) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// harmless are the beginnings of what Up sends besides the steps of its plan.
var harmless = []string{
	"SELECT", "WITH RECURSIVE", "begin", "commit", "rollback", "SET LOCAL ", "INSERT INTO courtroll_migrations",
	"CREATE TABLE courtroll_index_probe (LIKE ", "CREATE INDEX ON courtroll_index_probe ",
}

// changes are the statements that are no reading, in order.
func (w *wire) changes() []string {
	return slices.DeleteFunc(w.sent, func(text string) bool {
		return slices.ContainsFunc(harmless, func(prefix string) bool { return strings.HasPrefix(strings.TrimSpace(text), prefix) })
	})
}

// watched returns the bundle with an owner's handle whose statements are written down.
func (b *bundle) watched(t testing.TB) (*bundle, *wire) {
	t.Helper()
	var w wire
	conns := b.connect(t, b.OwnerDSN, func(cfg *pgx.ConnConfig) { cfg.Tracer = &w })
	return &bundle{DB: b.DB, owner: b.Open(postgres.New(postgres.Config{Conn: conns}), nil), sql: conns}, &w
}

// lacking are tables of another program that lack what Up may add, and have an index that serves.
var lacking = append(slices.Clone(foreignTables),
	`ALTER TABLE tenants DROP COLUMN plan, DROP COLUMN updated_at, DROP COLUMN logo`,
	`ALTER TABLE audit_logs DROP COLUMN ip_address, DROP COLUMN metadata`,
	`CREATE INDEX theirs ON audit_logs (tenant_id, created_at, id)`,
)

// What Plan says is what Up sends, statement by statement.
func TestPlanIsWhatUpRuns(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, b *bundle){
		"on nothing":                   func(*testing.T, *bundle) {},
		"on tables of another program": func(t *testing.T, b *bundle) { b.exec(t, lacking...) },
		"after an interrupted build":   func(t *testing.T, b *bundle) { b.interrupt(t) },
		"where a table is gone": func(t *testing.T, b *bundle) {
			b.up(t)
			b.exec(t, `DROP TABLE audit_logs`)
		},
		"where a recorded index is invalid": func(t *testing.T, b *bundle) {
			b.up(t)
			b.invalidate(t, resourceIndex)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			prepare(t, b)
			var want []string
			for _, s := range b.planned(t).Steps {
				if s.SQL != "" {
					want = append(want, s.SQL)
				}
			}
			if len(want) == 0 {
				t.Fatal("nothing is planned")
			}
			watched, w := b.watched(t)
			watched.up(t)
			if diff := cmp.Diff(want, w.changes()); diff != "" {
				t.Errorf("planned (-), sent (+): %s", diff)
			}
			if left := b.planned(t).Steps; len(left) > 0 {
				t.Errorf("still planned: %+v", left)
			}
		})
	}
}

// invalidate makes an index what an interrupted build leaves.
func (b *bundle) invalidate(t testing.TB, index string) {
	t.Helper()
	super := b.connect(t, b.SuperDSN, nil)
	if _, err := super.ExecContext(t.Context(), `UPDATE pg_index SET indisvalid = false WHERE indexrelid = $1::regclass`, index); err != nil {
		t.Fatal(err)
	}
}

// Nothing but ACCESS SHARE gets along with EXCLUSIVE: a Plan that takes more on a table
// that holds rows, or the migration lock, hangs here.
func TestPlanWaitsForNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, lacking...)
	b.hold(t)
	tx, err := b.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), `LOCK TABLE tenants, audit_logs IN EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	p, err := migrate.New(b.owner, migrate.Config{LockTimeout: -1}).Plan(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Steps) == 0 {
		t.Error("nothing is planned")
	}
}

func TestPlanDuringAnUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, foreignTables...)
	writer := b.write(t)
	failed := make(chan error, 1)
	go func() {
		_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
		failed <- err
	}()
	eventually(t, "the first build waits", func() bool { return len(b.invalid(t)) > 0 })
	p, err := migrate.New(b.owner, migrate.Config{}).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Steps[0].Name; got != "drop the invalid index "+tenantIndex {
		t.Errorf("got %q first, want to see the build that is on its way", got)
	}
	if err := errors.Join(writer.Commit(), <-failed); err != nil {
		t.Error(err)
	}
}

func TestPlanMatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, lacking...)
	for _, s := range b.planned(t).Steps {
		if want := s.Name == "apply 002_audit_logs_by_tenant"; want != (s.Matched == "theirs") || want != (s.SQL == "") {
			t.Errorf("%s: matched %q, SQL %q", s.Name, s.Matched, s.SQL)
		}
	}
}

// Each step takes the lock that it says, and none that it does not say.
func TestPlanLocks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, lacking...)
	for _, s := range b.planned(t).Steps {
		if s.Concurrent || s.SQL == "" {
			continue
		}
		tx, err := b.sql.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(t.Context(), s.SQL); err != nil {
			t.Fatalf("%s: %v", s.Name, err)
		}
		got, err := rowsOf(tx, `SELECT relation::regclass || ' ' || upper(regexp_replace(replace(mode, 'Lock', ''), '(.)([A-Z])', '\1 \2', 'g'))
			FROM pg_locks WHERE pid = pg_backend_pid() AND relation IN ('tenants'::regclass, 'audit_logs'::regclass)
				AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')`)
		if err != nil {
			t.Fatal(err)
		}
		if want := strings.TrimSpace(s.Lock.Table + " " + s.Lock.Mode); strings.Join(got, ", ") != want {
			t.Errorf("%s takes %q, says %q", s.Name, got, want)
		}
		if strings.HasPrefix(s.Name, "apply") {
			err = tx.Rollback()
		} else {
			err = tx.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestPlanString(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := b.planned(t).String()
	for _, want := range []string{
		"-- 1. create tenants\n", `CREATE TABLE "audit_logs"`, "-- Takes no lock on a table that is there already.",
		"CREATE INDEX CONCURRENTLY IF NOT EXISTS courtroll_audit_logs_tenant\n\tON audit_logs (tenant_id, created_at, id);",
		"-- Takes SHARE UPDATE EXCLUSIVE on audit_logs, which blocks neither reads nor writes",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	b.up(t)
	if got, want := b.planned(t).String(), "-- Up has nothing to do.\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPlanRefusal(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, foreignTables...)
	b.exec(t, `ALTER TABLE audit_logs ALTER metadata TYPE text`)
	p, err := migrate.New(b.owner, migrate.Config{}).Plan(t.Context())
	var refused *migrate.TableError
	if !errors.As(err, &refused) || len(p.Steps) > 0 {
		t.Fatalf("got %v and %d steps, want a TableError and none", err, len(p.Steps))
	}
	if !slices.ContainsFunc(p.Differences, func(d migrate.Difference) bool { return d == refused.Unfit[0] }) {
		t.Errorf("%+v is not among %+v", refused.Unfit, p.Differences)
	}
	b.exec(t, refused.Unfit[0].Fix)
	b.up(t)
	b.exec(t, `UPDATE courtroll_migrations SET checksum = 'other' WHERE version = 3`)
	if _, err := migrate.New(b.owner, migrate.Config{}).Plan(t.Context()); !errors.Is(err, migrate.ErrChecksum) {
		t.Errorf("got %v, want ErrChecksum", err)
	}
}
