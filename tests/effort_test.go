package tests

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// view is an event that must not keep anybody from going on.
var view = audit.Event{Action: "report.view", ResourceType: "reports", BestEffort: true}

// losses is a bundle whose plugin tells what it lost.
type losses struct {
	*bundle
	plugin *audit.Plugin
	mu     sync.Mutex
	told   []error
}

func setupLosses(t *testing.T, open func(dsn string) gorm.Dialector) *losses {
	t.Helper()
	l := &losses{}
	l.plugin = audit.New(audit.Config{Rules: rules, OnLost: func(_ context.Context, event audit.Event, err error) {
		l.mu.Lock()
		defer l.mu.Unlock()
		if event.Action != view.Action {
			t.Errorf("told of %q", event.Action)
		}
		l.told = append(l.told, err)
	}})
	db := pgtest.New(t, schema)
	app := db.Open(open(db.AppDSN), &gorm.Config{})
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, app, l.plugin)
	l.bundle = newBundle(t, db, app)
	return l
}

func (l *losses) want(t *testing.T, lost int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.plugin.Lost() != uint64(lost) || len(l.told) != lost {
		t.Errorf("%d lost, told of %d, want %d", l.plugin.Lost(), len(l.told), lost)
	}
	for _, err := range l.told {
		var event *audit.EventError
		if !errors.Is(err, audit.ErrAudit) || !errors.As(err, &event) || event.Action != view.Action {
			t.Errorf("told of %v, want an EventError", err)
		}
	}
}

var dialectors = map[string]func(dsn string) gorm.Dialector{"tenancy.Postgres": tenancy.Postgres, "postgres.Open": postgres.Open}

// forbidsEvents breaks the trail for events, and leaves changes their entries.
const forbidsEvents = `ALTER TABLE audit_logs ADD CHECK (action NOT LIKE '%.%')`

func TestBestEffort_Transaction(t *testing.T) {
	t.Parallel()
	for broken, breakTrail := range map[string]string{
		"check":   forbidsEvents,
		"trigger": `CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'denied'; END $$; CREATE TRIGGER t BEFORE INSERT ON audit_logs FOR EACH ROW WHEN (NEW.action LIKE '%.%') EXECUTE FUNCTION deny()`,
	} {
		for driver, open := range dialectors {
			t.Run(broken+"/"+driver, func(t *testing.T) {
				t.Parallel()
				l := setupLosses(t, open)
				must(t, l.Owner.Exec(breakTrail).Error)
				must(t, l.as(l.hal).Transaction(func(tx *gorm.DB) error {
					must(t, audit.Record(l.hal, tx, view)) // as its first statement
					must(t, tx.Create(&Author{ID: 1, Email: "1"}).Error)
					must(t, audit.Record(l.hal, tx, view))
					must(t, audit.Record(l.hal, tx, view))
					return tx.Create(&Author{ID: 2, Email: "2"}).Error
				}))
				l.want(t, 3)
				var kept int64
				must(t, l.super.Model(&Author{}).Count(&kept).Error)
				if kept != 2 || len(l.trail(t)) != 2 {
					t.Errorf("%d rows and %d entries, want 2 of each", kept, len(l.trail(t)))
				}
			})
		}
	}
}

// TestBestEffort_NoTrail drops it: without a plugin's change nothing else fails.
func TestBestEffort_NoTrail(t *testing.T) {
	t.Parallel()
	l := setupLosses(t, postgres.Open)
	must(t, l.Owner.Exec(`DROP TABLE audit_logs`).Error)
	must(t, audit.Record(l.hal, l.app, view))
	must(t, audit.Record(context.Background(), l.app, view))
	must(t, l.as(l.hal).Transaction(func(tx *gorm.DB) error {
		must(t, audit.Record(l.hal, tx, view))
		return tx.Exec("SELECT 1").Error // which fails with 25P02 in a transaction that has failed
	}))
	l.want(t, 3)
	var pg *pgconn.PgError
	if !errors.As(l.told[0], &pg) || pg.Code != "42P01" {
		t.Errorf("the cause is lost: %v", l.told[0])
	}
}

func TestBestEffort_Recorded(t *testing.T) {
	t.Parallel()
	for driver, open := range dialectors {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			l := setupLosses(t, open)
			must(t, audit.Record(l.hal, l.app, view))
			must(t, l.as(l.hal).Transaction(func(tx *gorm.DB) error { return audit.Record(l.hal, tx, view) }))
			_ = l.as(l.hal).Transaction(func(tx *gorm.DB) error {
				must(t, audit.Record(l.hal, tx, view))
				return errors.New("rolled back")
			})
			l.want(t, 0)
			l.wantTrail(t, "report.view reports nil:", "report.view reports nil:")
		})
	}
}

// TestBestEffort_Savepoints: ours do not get into the way of the caller's, whatever their names.
func TestBestEffort_Savepoints(t *testing.T) {
	t.Parallel()
	for name, breakTrail := range map[string]string{"recorded": `SELECT 1`, "lost": forbidsEvents} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := setupLosses(t, tenancy.Postgres)
			must(t, l.Owner.Exec(breakTrail).Error)
			create := func(tx *gorm.DB, id int64) {
				must(t, tx.Create(&Author{ID: id, Email: string(rune('a' + id))}).Error)
				must(t, audit.Record(l.hal, tx, view))
			}
			must(t, l.as(l.hal).Transaction(func(tx *gorm.DB) error {
				create(tx, 1)
				_ = tx.Transaction(func(tx *gorm.DB) error { create(tx, 2); return errors.New("undone") })
				must(t, tx.Transaction(func(tx *gorm.DB) error { create(tx, 3); return nil }))
				must(t, tx.SavePoint("courtroll_event").Error)
				create(tx, 4)
				return tx.RollbackTo("courtroll_event").Error
			}))
			var kept []int64
			must(t, l.super.Model(&Author{}).Order("id").Pluck("id", &kept).Error)
			if len(kept) != 2 || kept[0] != 1 || kept[1] != 3 {
				t.Errorf("authors %v, want 1 and 3", kept)
			}
			if want := map[string]int{"recorded": 4, "lost": 2}[name]; len(l.trail(t)) != want {
				t.Errorf("%d entries, want %d", len(l.trail(t)), want)
			}
		})
	}
}

func TestBestEffort_Hook(t *testing.T) {
	t.Parallel()
	l := setupLosses(t, tenancy.Postgres)
	must(t, l.Owner.Exec(forbidsEvents).Error)
	must(t, l.app.Callback().Create().Before("gorm:create").Register("test:view", func(tx *gorm.DB) {
		must(t, audit.Record(tx.Statement.Context, tx.Session(&gorm.Session{NewDB: true}), view))
	}))
	must(t, l.as(l.hal).Create(&Author{ID: 1, Email: "1"}).Error)
	l.want(t, 1)
	l.wantTrail(t, `create authors 1: email null→"1", id null→1, name null→"", tenant_id null→"hal"`)
}

func TestBestEffort_EndedContext(t *testing.T) {
	t.Parallel()
	cancelled := func(ctx context.Context) context.Context {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return ctx
	}
	for driver, open := range dialectors {
		t.Run("before/"+driver, func(t *testing.T) {
			t.Parallel()
			l := setupLosses(t, open)
			must(t, audit.Record(cancelled(l.hal), l.app, view))
			must(t, l.as(l.hal).Transaction(func(tx *gorm.DB) error {
				must(t, audit.Record(cancelled(l.hal), tx, view))
				return tx.Create(&Author{ID: 1, Email: "1"}).Error
			}))
			l.want(t, 2)
			if !errors.Is(l.told[0], context.Canceled) {
				t.Errorf("the cause is lost: %v", l.told[0])
			}
		})
		// The driver gives up the connection, and with it the transaction.
		t.Run("meanwhile/"+driver, func(t *testing.T) {
			t.Parallel()
			l := setupLosses(t, open)
			blocker := l.super.Begin()
			defer blocker.Rollback()
			must(t, blocker.Exec("LOCK audit_logs").Error)
			tx := l.as(l.hal).Begin()
			defer tx.Rollback()
			ctx, cancel := context.WithTimeout(l.hal, 200*time.Millisecond)
			defer cancel()
			if err := audit.Record(ctx, tx, view); !errors.Is(err, audit.ErrAudit) || !strings.Contains(err.Error(), "could not be kept") {
				t.Errorf("%v, want an error that says that the transaction is lost", err)
			}
			l.want(t, 0)
		})
	}
}

// TestBestEffort_IsNoExcuse: what is wrong in itself is an error, also of such an event.
func TestBestEffort_IsNoExcuse(t *testing.T) {
	t.Parallel()
	with := func(change func(*audit.Event)) audit.Event { e := view; change(&e); return e }
	l := setupLosses(t, tenancy.Postgres)
	for name, event := range map[string]audit.Event{
		"no action":    with(func(e *audit.Event) { e.Action = "" }),
		"no resource":  with(func(e *audit.Event) { e.ResourceType = " " }),
		"other tenant": with(func(e *audit.Event) { e.TenantID = "acme" }),
		"no JSON":      with(func(e *audit.Event) { e.Data = map[string]any{"f": func() {}} }),
	} {
		if err := audit.Record(l.hal, l.app, event); !errors.Is(err, audit.ErrAudit) {
			t.Errorf("%s: %v, want ErrAudit", name, err)
		}
	}
	_ = l.as(l.hal).Transaction(func(tx *gorm.DB) error {
		if err := audit.Record(l.acme, tx, view); !errors.Is(err, tenancy.ErrTransactionTenant) {
			t.Errorf("another tenant's transaction: %v, want ErrTransactionTenant", err)
		}
		return nil
	})
	must(t, l.Owner.Exec(`ALTER TABLE audit_logs ADD CHECK (resource_type <> 'system_scope')`).Error)
	if err := audit.Record(l.system, l.app, view); !errors.Is(err, audit.ErrAudit) {
		t.Errorf("a system scope that is not recorded: %v, want ErrAudit", err)
	}
	l.want(t, 0)
}

// TestBestEffort_FailsClosed: without the word, or without a plugin that could tell of it.
func TestBestEffort_FailsClosed(t *testing.T) {
	t.Parallel()
	l := setupLosses(t, postgres.Open)
	must(t, l.Owner.Exec(forbidsEvents).Error)
	strict := view
	strict.BestEffort = false
	bare := l.Open(postgres.Open(l.AppDSN), &gorm.Config{})
	for name, record := range map[string]func(tx *gorm.DB) error{
		"by default":       func(tx *gorm.DB) error { return audit.Record(l.hal, tx, strict) },
		"without a plugin": func(*gorm.DB) error { return audit.Record(l.hal, bare, view) },
	} {
		err := l.as(l.hal).Transaction(func(tx *gorm.DB) error {
			must(t, tx.Create(&Author{ID: 1, Email: "1"}).Error)
			return record(tx)
		})
		var event *audit.EventError
		if !errors.Is(err, audit.ErrAudit) || !errors.As(err, &event) {
			t.Errorf("%s: %v, want an EventError", name, err)
		}
		if strings.Contains(err.Error(), "change was not made") || !strings.Contains(err.Error(), `"report.view" was not recorded`) {
			t.Errorf("%s: the text is of a change: %v", name, err)
		}
	}
	l.want(t, 0)
	l.wantTrail(t)
}
