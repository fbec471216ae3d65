package migrate_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/courtroll/courtroll/migrate"
)

// Each transactional step of Up steps back for whoever holds a table.
func TestUpStepsBack(t *testing.T) {
	t.Parallel()

	t.Run("adding columns", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, lacking...)
		stepsBack(t, b, "audit_logs", func(cfg migrate.Config) error {
			_, err := migrate.New(b.owner, cfg).WithFiles(upTo(1)).Up(t.Context())
			return err
		})
	})

	t.Run("a version", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.upTo(t, 1)
		two := files("001_a.up.sql", "SELECT 1;", "001_a.down.sql", "ALTER TABLE tenants DROP COLUMN region;",
			"002_b.up.sql", "ALTER TABLE tenants ADD COLUMN region text;", "002_b.down.sql", "SELECT 1;")
		b.exec(t, `DELETE FROM courtroll_migrations`)
		stepsBack(t, b, "tenants", func(cfg migrate.Config) error {
			_, err := migrate.New(b.owner, cfg).WithFiles(two).Up(t.Context())
			return err
		})
	})

	t.Run("undoing a version", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.upTo(t, 1)
		one := files("001_a.up.sql", "ALTER TABLE tenants ADD COLUMN region text;", "001_a.down.sql", "ALTER TABLE tenants DROP COLUMN region;")
		b.exec(t, `DELETE FROM courtroll_migrations`)
		if _, err := migrate.New(b.owner, migrate.Config{}).WithFiles(one).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		stepsBack(t, b, "tenants", func(cfg migrate.Config) error {
			_, err := migrate.New(b.owner, cfg).WithFiles(one).Down(t.Context())
			return err
		})
	})

	t.Run("creating tables", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		other, err := b.sql.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Rollback()
		if _, err := other.ExecContext(t.Context(), `CREATE TABLE audit_logs ()`); err != nil {
			t.Fatal(err)
		}
		cfg := migrate.Config{TableLockTimeout: 100 * time.Millisecond, TableLockRetries: -1}
		if _, err := migrate.New(b.owner, cfg).Up(t.Context()); !errors.Is(err, migrate.ErrTableBusy) {
			t.Errorf("got %v, want ErrTableBusy", err)
		}
		if err := other.Rollback(); err != nil {
			t.Fatal(err)
		}
		b.up(t)
	})
}

// ANALYZE, for whose lock no reader and no writer waits, outlasts a VACUUM.
func TestUpWaitsForVacuum(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.upTo(t, 12)
	vacuum, err := b.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer vacuum.Rollback()
	if _, err := vacuum.ExecContext(t.Context(), `LOCK TABLE audit_logs IN SHARE UPDATE EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	hasty := b.with(t, "statement_timeout", "300")
	failed := make(chan error, 1)
	go func() {
		_, err := migrate.New(hasty.owner, migrate.Config{TableLockTimeout: 1, TableLockRetries: -1}).WithFiles(upTo(13)).Up(t.Context())
		failed <- err
	}()
	eventually(t, "it has waited for longer than any limit", func() bool {
		return b.line(t, `SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
			AND query LIKE '%ANALYZE audit_logs%' AND clock_timestamp() - query_start > '400 ms'`) == "1"
	})
	hasty.exec(t, `SELECT count(*) FROM audit_logs`, `INSERT INTO audit_logs (action, resource_type) VALUES ('a', 'r')`)
	if err := errors.Join(vacuum.Rollback(), <-failed); err != nil {
		t.Error(err)
	}
}

// An invalid index of a recorded version is built again, once.
func TestUpRebuildsInvalidIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.up(t)
	b.invalidate(t, resourceIndex)
	left, other := b.oid(t, resourceIndex), b.oid(t, tenantIndex)
	want := migrate.Result{Rebuilt: []migrate.Migration{{Version: 3, Name: "audit_logs_by_resource"}}}
	if diff := cmp.Diff(want, b.up(t)); diff != "" {
		t.Error(diff)
	}
	b.hasIndex(t, resourceIndex)
	if b.oid(t, resourceIndex) == left || b.oid(t, tenantIndex) != other {
		t.Error("the invalid index should be another, the valid one the same")
	}
	if diff := cmp.Diff(migrate.Result{}, b.up(t)); diff != "" {
		t.Error(diff)
	}
}

// Progress tells of each table, column and version, before and after.
func TestUpProgress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, lacking[:len(foreignTables)+1]...)
	b.exec(t, `DROP TABLE audit_logs`)
	told := []string{}
	cfg := migrate.Config{Progress: func(p migrate.Progress) {
		told = append(told, fmt.Sprintf("%s %d/%d", p.Step, p.Done, p.Total))
	}}
	if _, err := migrate.New(b.owner, cfg).WithFiles(upTo(2)).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"create audit_logs 0/5", "create courtroll_migrations 0/5", "create audit_logs 1/5", "create courtroll_migrations 2/5",
		"add columns to tenants 2/5", "add columns to tenants 3/5", "apply 001_uuidv7 3/5", "apply 001_uuidv7 4/5",
		"apply 002_audit_logs_by_tenant 4/5", "apply 002_audit_logs_by_tenant 5/5",
	}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Error(diff)
	}
	told = nil
	if _, err := migrate.New(b.owner, cfg).WithFiles(upTo(2)).Down(t.Context()); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"undo 002_audit_logs_by_tenant 0/1", "undo 002_audit_logs_by_tenant 1/1"}, told); diff != "" {
		t.Error(diff)
	}
}

// An UpError says what was left undone, of the rebuilt ones, too.
func TestUpErrorPending(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.upTo(t, 4)
	b.invalidate(t, resourceIndex)
	b.exec(t, `CREATE TABLE courtroll_audit_logs_time ()`)
	_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
	var got *migrate.UpError
	if !errors.As(err, &got) || !errors.Is(err, migrate.ErrIndexDiffers) {
		t.Fatalf("got %v, want an UpError with ErrIndexDiffers", err)
	}
	list := must(versionsOf(migrate.Embedded))
	want := migrate.UpError{Applied: list[4:5], Rebuilt: list[2:3], Failed: list[5], Pending: slices.Clone(list[6:]), Err: got.Err}
	if diff := cmp.Diff(want, *got, cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
}
