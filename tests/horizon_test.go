package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest/dsn"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

const noteByHand = `INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('hal', ?, 'x')`

// TestHorizon_OtherLogin has transactions of a login whose begin is not shown.
func TestHorizon_OtherLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "before.all")
	open := b.Owner.Begin()
	must(t, open.Exec(noteByHand, "other.login").Error)

	_, err := audit.Export(b.hal, b.app, io.Discard, audit.ExportConfig{WaitTimeout: 50 * time.Millisecond})
	if !errors.Is(err, audit.ErrHorizon) {
		t.Fatalf("beside an open transaction of another login: %v, want ErrHorizon", err)
	}
	ended, cancel := context.WithCancel(b.hal)
	time.AfterFunc(100*time.Millisecond, cancel)
	if _, err := audit.Export(ended, b.app, io.Discard, audit.ExportConfig{WaitTimeout: time.Minute}); !errors.Is(err, context.Canceled) {
		t.Errorf("where the context ends meanwhile: %v", err)
	}
	committed := make(chan error)
	time.AfterFunc(100*time.Millisecond, func() { committed <- open.Commit().Error })
	got, _ := b.export(t, b.hal, audit.ExportConfig{WaitTimeout: time.Minute})
	must(t, <-committed)
	if !slices.Equal(actions(got), []string{"before.all", "other.login"}) {
		t.Errorf("once it has ended, %v are exported", actions(got))
	}
}

// TestHorizon_ShownLogin does not wait for such a transaction where its begin is shown.
func TestHorizon_ShownLogin(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "before.all")
	open := b.Owner.Begin()
	defer open.Rollback()
	must(t, open.Exec(noteByHand, "other.login").Error)
	b.note(t, b.hal, "while.open")
	b.app = b.super
	got, _ := b.export(t, b.hal, audit.ExportConfig{WaitTimeout: time.Nanosecond})
	if !slices.Equal(actions(got), []string{"before.all"}) {
		t.Errorf("beside an open transaction %v are exported", actions(got))
	}
}

// TestHorizon_System exports with the system login what the app's login writes.
func TestHorizon_System(t *testing.T) {
	t.Parallel()
	b := walls{all: true}.with(t, false, nil, nil)
	open := b.as(b.hal).Begin()
	must(t, open.Create(&Author{ID: 1, Email: "1"}).Error)
	_, err := audit.Export(b.system, b.app, io.Discard, audit.ExportConfig{WaitTimeout: 50 * time.Millisecond})
	if !errors.Is(err, audit.ErrHorizon) {
		t.Fatalf("beside an open transaction of another login: %v, want ErrHorizon", err)
	}
	must(t, open.Commit().Error)
	got, _ := b.export(t, b.system, audit.ExportConfig{})
	if !slices.Equal(actions(got), []string{"create", "system_scope.open"}) {
		t.Errorf("once it has ended, %v are exported", actions(got))
	}
}

// needPrepared skips a test on a server of somebody's own that is set up to refuse
// PREPARE TRANSACTION, as PostgreSQL is by default: those that are started for the
// tests take some.
func (b *bundle) needPrepared(t *testing.T) {
	t.Helper()
	var most int
	must(t, b.super.Raw(`SELECT current_setting('max_prepared_transactions')::int`).Scan(&most).Error)
	switch {
	case most > 0:
	case os.Getenv("COURTROLL_TEST_DSN") == "":
		t.Fatal("the server that was started for the tests takes no prepared transactions")
	default:
		t.Skip("max_prepared_transactions is 0 on the server of COURTROLL_TEST_DSN: set it, or run this test without that")
	}
}

func TestHorizon_Prepared(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.needPrepared(t)
	must(t, b.super.Connection(func(tx *gorm.DB) error {
		return errors.Join(tx.Exec("BEGIN").Error, tx.Exec(noteByHand, "prepared.one").Error, tx.Exec("PREPARE TRANSACTION 'one of the horizon'").Error)
	}))
	soon, cancel := context.WithTimeout(b.hal, 5*time.Second)
	defer cancel()
	_, err := audit.Export(soon, b.app, io.Discard, audit.ExportConfig{WaitTimeout: time.Hour}) // it ends by itself never
	if !errors.Is(err, audit.ErrHorizon) {
		t.Errorf("beside a prepared transaction: %v, want ErrHorizon at once", err)
	}
	must(t, b.super.Exec("COMMIT PREPARED 'one of the horizon'").Error)
	if got, _ := b.export(t, b.hal, audit.ExportConfig{}); len(got) != 1 {
		t.Errorf("once it is committed, %v are exported", actions(got))
	}
}

// TestHorizon_Children has entries that were written to a partition of the trail, and
// to a table that inherits from it.
func TestHorizon_Children(t *testing.T) {
	t.Parallel()
	for name, ddl := range map[string][]string{
		"partition": {
			`ALTER TABLE audit_logs RENAME TO audit_logs_old`,
			`CREATE TABLE audit_logs (LIKE audit_logs_old INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)`,
			`CREATE TABLE child PARTITION OF audit_logs DEFAULT`,
		},
		"inherits": {`CREATE TABLE parent (PRIMARY KEY (id)) INHERITS (audit_logs)`, `CREATE TABLE child (PRIMARY KEY (id)) INHERITS (parent)`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for _, statement := range append(ddl, `GRANT SELECT, INSERT ON audit_logs TO `+b.AppRole) {
				must(t, b.Owner.Exec(statement).Error)
			}
			b.note(t, b.hal, "before.all")
			open := b.super.Begin()
			must(t, open.Exec(`INSERT INTO child (tenant_id, action, resource_type) VALUES ('hal', 'late.one', 'x')`).Error)
			_, err := audit.Export(b.hal, b.app, io.Discard, audit.ExportConfig{WaitTimeout: time.Millisecond})
			if !errors.Is(err, audit.ErrHorizon) {
				t.Errorf("beside an open transaction: %v, want ErrHorizon", err)
			}
			must(t, open.Commit().Error)
			if got, _ := b.export(t, b.hal, audit.ExportConfig{}); len(got) != 2 {
				t.Errorf("once it is committed, %v are exported", actions(got))
			}
		})
	}
}

// TestHorizon_WhileWaiting has a transaction whose begin is shown, or that is prepared,
// while an export waits for its end.
func TestHorizon_WhileWaiting(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(b *bundle) string{
		"shown":    func(b *bundle) string { return `GRANT pg_read_all_stats TO ` + b.Name + `_auditor` },
		"prepared": func(b *bundle) string { return `PREPARE TRANSACTION 'one that is waited for'` },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if name == "prepared" {
				b.needPrepared(t)
			}
			auditor := b.auditor(t)
			waited := make(chan error)
			must(t, b.super.Connection(func(open *gorm.DB) error {
				must(t, errors.Join(open.Exec("BEGIN").Error, open.Exec(noteByHand, "late.one").Error))
				go func() {
					_, err := audit.Export(b.hal, auditor, io.Discard, audit.ExportConfig{WaitTimeout: time.Second})
					waited <- err
				}()
				time.Sleep(200 * time.Millisecond)
				by := map[string]*gorm.DB{"shown": b.Open(postgres.Open(b.SuperDSN), nil), "prepared": open}[name]
				must(t, by.Exec(change(b)).Error)
				if err := <-waited; !errors.Is(err, audit.ErrHorizon) {
					t.Errorf("the transaction is open, and the export ends with %v, want ErrHorizon", err)
				}
				if name == "prepared" {
					return open.Exec(`ROLLBACK PREPARED 'one that is waited for'`).Error
				}
				return open.Exec("ROLLBACK").Error
			}))
		})
	}
}

// auditor is a handle of a login of its own: what is granted to the others is granted
// for all tests.
func (b *bundle) auditor(t *testing.T) *gorm.DB {
	t.Helper()
	role := b.Name + "_auditor"
	must(t, b.super.Exec(`CREATE ROLE `+role+` LOGIN PASSWORD 'auditor' IN ROLE `+b.AppRole).Error)
	must(t, b.super.Exec(`GRANT CONNECT ON DATABASE `+b.Name+` TO `+role).Error)
	t.Cleanup(func() { b.super.Exec(`DROP OWNED BY ` + role); b.super.Exec(`DROP ROLE ` + role) })
	login, err := dsn.WithLogin(b.AppDSN, role, "auditor")
	must(t, err)
	return b.Open(postgres.Open(login), &gorm.Config{})
}

// TestHorizon_Unbound exports a tenant's entries through a handle that row-level
// security shows none to.
func TestHorizon_Unbound(t *testing.T) {
	t.Parallel()
	b := walls{all: true}.with(t, false, nil, nil)
	b.note(t, b.hal, "a.b")
	unbound := b.OpenApp(&gorm.Config{})
	use(t, unbound, tenancy.New(tenancy.Config{}))
	if _, err := audit.Export(b.hal, unbound, io.Discard, audit.ExportConfig{}); !errors.Is(err, tenancy.ErrNotExpected) {
		t.Errorf("an export of what cannot be seen: %v, want ErrNotExpected", err)
	}
}

// TestHorizon_EarlyTimes has a trail of another program's, whose entries have the
// time at which their transaction began.
func TestHorizon_EarlyTimes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, ddl := range []string{ // in one of its parts alone
		`ALTER TABLE audit_logs RENAME TO audit_logs_old`,
		`CREATE TABLE audit_logs (LIKE audit_logs_old INCLUDING DEFAULTS) PARTITION BY RANGE (created_at)`,
		`CREATE TABLE child PARTITION OF audit_logs (created_at DEFAULT now()) DEFAULT`,
		`GRANT SELECT, INSERT ON audit_logs, child TO ` + b.AppRole,
	} {
		must(t, b.Owner.Exec(ddl).Error)
	}
	open := b.OpenApp(&gorm.Config{}).Begin()
	must(t, open.Exec("SELECT 1").Error)
	b.note(t, b.hal, "while.open")
	time.Sleep(1100 * time.Millisecond)
	_, done := b.export(t, b.hal, audit.ExportConfig{})
	must(t, open.Exec(`INSERT INTO child (tenant_id, action, resource_type) VALUES ('hal', 'early.time', 'x')`).Error)
	must(t, open.Commit().Error)
	time.Sleep(1100 * time.Millisecond)
	if got, _ := b.export(t, b.hal, audit.ExportConfig{Resume: done.Position}); !slices.Equal(actions(got), []string{"early.time", "while.open"}) {
		t.Errorf("resumed, %v are exported", actions(got))
	}
}

// TestHorizon_Stress exports again and again while transactions of all lengths
// commit and roll back, by two logins: in the end the exports together hold each
// entry once.
func TestHorizon_Stress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stop := make(chan struct{})
	var writers sync.WaitGroup
	logins := []*gorm.DB{b.OpenApp(&gorm.Config{}), b.Owner}
	for i := range 6 {
		db := logins[i%len(logins)]
		writers.Go(func() { writeNotes(t, db, fmt.Sprint("writer.", i), stop) })
	}
	var seen []string
	file, config := bytes.Buffer{}, audit.ExportConfig{WaitTimeout: time.Minute}
	for end := time.Now().Add(stressTime); ; {
		file.Reset()
		done, err := audit.Export(b.hal, b.app, &file, config)
		must(t, err)
		for _, e := range readJSONL(t, &file) {
			seen = append(seen, e.ID.String())
		}
		if config.Resume = done.Position; time.Now().After(end) {
			break
		}
	}
	close(stop)
	writers.Wait()
	file.Reset()
	_, err := audit.Export(b.hal, b.app, &file, config)
	must(t, err)
	for _, e := range readJSONL(t, &file) {
		seen = append(seen, e.ID.String())
	}
	var want []string
	must(t, b.super.Model(&models.AuditLog{}).Pluck("id", &want).Error)
	slices.Sort(seen)
	slices.Sort(want)
	t.Logf("%d entries", len(want))
	if !slices.Equal(seen, want) {
		t.Errorf("%d entries are exported, %d of them once, of %d", len(seen), len(slices.Compact(slices.Clone(seen))), len(want))
	}
}

const stressTime = 3 * time.Second

func writeNotes(t *testing.T, db *gorm.DB, action string, stop chan struct{}) {
	for {
		select {
		case <-stop:
			return
		default:
		}
		tx := db.Begin()
		for range 1 + rand.IntN(3) {
			tx.SavePoint("one")
			if err := tx.Exec(noteByHand, action).Error; err != nil {
				t.Error(err)
			}
			if rand.IntN(5) == 0 {
				tx.RollbackTo("one")
			}
			time.Sleep(time.Duration(rand.ExpFloat64() * float64(5*time.Millisecond)))
		}
		if rand.IntN(10) == 0 {
			tx.Rollback()
		} else if err := tx.Commit().Error; err != nil {
			t.Error(err)
		}
	}
}

// TestHorizon_Untracked has a login whose transactions the server keeps no account of.
func TestHorizon_Untracked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.super.Exec(`ALTER DATABASE `+b.Name+` SET track_activities = off`).Error)
	open := b.Open(postgres.Open(b.AppDSN), &gorm.Config{}).Begin()
	defer open.Rollback()
	must(t, open.Exec(noteByHand, "a.b").Error)
	_, err := audit.Export(b.hal, b.app, io.Discard, audit.ExportConfig{WaitTimeout: 50 * time.Millisecond})
	if !errors.Is(err, audit.ErrHorizon) {
		t.Errorf("beside an open transaction: %v, want ErrHorizon", err)
	}
}
