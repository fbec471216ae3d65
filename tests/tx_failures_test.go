package tests

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

var errUndo = errors.New("undo")

// failure makes a write fail, or what is around it.
type failure struct {
	name string
	// hung is set where the write has to hang while it writes the trail.
	hung bool
	do   func(hal *gorm.DB, write func(db *gorm.DB) error) error
	code string // the SQLSTATE of the error, if there has to be one
}

func caught(do func() error) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case error:
			err = fmt.Errorf("panic: %w", p)
		default:
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return do()
}

func cancelling(hal *gorm.DB, write func(db *gorm.DB) error, after time.Duration) error {
	ctx, cancel := context.WithTimeout(hal.Statement.Context, after)
	defer cancel()
	return write(hal.WithContext(ctx))
}

func limited(hal *gorm.DB, write func(db *gorm.DB) error, setting string) error {
	return hal.Transaction(func(tx *gorm.DB) error {
		if err := tx.Exec("SET LOCAL " + setting + " = '30ms'").Error; err != nil {
			return fmt.Errorf("the test itself: %w", err)
		}
		return write(tx)
	})
}

func hooked(hal *gorm.DB, write func(db *gorm.DB) error, name string, do func() error) error {
	return caught(func() error { return write(hal.WithContext(withHook(hal.Statement.Context, name, do))) })
}

var failures = []failure{
	{"error of the function", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hal.Transaction(func(tx *gorm.DB) error { return errors.Join(write(tx), errUndo) })
	}, ""},
	{"rollback by hand", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		tx := hal.Begin()
		return errors.Join(write(tx), tx.Rollback().Error, errUndo)
	}, ""},
	{"panic of the function", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return caught(func() error {
			return hal.Transaction(func(tx *gorm.DB) error { _ = write(tx); panic("function") })
		})
	}, ""},
	{"panic two levels down", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return caught(func() error {
			return hal.Transaction(func(tx *gorm.DB) error {
				return tx.Transaction(func(tx *gorm.DB) error { _ = write(tx); panic("function") })
			})
		})
	}, ""},
	{"panic in the hook before", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hooked(hal, write, "before", func() error { panic("hook") })
	}, ""},
	{"panic in the hook after", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hooked(hal, write, "after", func() error { panic("hook") })
	}, ""},
	{"panic in the hook after, in a transaction", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return caught(func() error {
			return hal.Transaction(func(tx *gorm.DB) error {
				return write(tx.WithContext(withHook(tx.Statement.Context, "after", func() error { panic("hook") })))
			})
		})
	}, ""},
	{"error of the hook after", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hooked(hal, write, "after", func() error { return errUndo })
	}, ""},
	{"cancelled in the hook after", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		ctx, cancel := context.WithCancel(hal.Statement.Context)
		defer cancel()
		return hooked(hal.WithContext(ctx), write, "after", func() error { cancel(); return nil })
	}, ""},
	{"cancelled before", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		ctx, cancel := context.WithCancel(hal.Statement.Context)
		cancel()
		return write(hal.WithContext(ctx))
	}, ""},
	{"cancelled before, in a transaction", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hal.Transaction(func(tx *gorm.DB) error {
			ctx, cancel := context.WithCancel(tx.Statement.Context)
			cancel()
			return write(tx.WithContext(ctx))
		})
	}, ""},
	{"cancelled after, in a transaction", false, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		ctx, cancel := context.WithCancel(hal.Statement.Context)
		defer cancel()
		return hal.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			err := write(tx)
			cancel()
			return err
		})
	}, ""},
	{"cancelled during", true, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return cancelling(hal, write, 30*time.Millisecond)
	}, ""},
	{"cancelled during, in a transaction", true, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return hal.Transaction(func(tx *gorm.DB) error { return cancelling(tx, write, 30*time.Millisecond) })
	}, ""},
	{"statement_timeout", true, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return limited(hal, write, "statement_timeout")
	}, "57014"},
	{"lock_timeout", true, func(hal *gorm.DB, write func(db *gorm.DB) error) error {
		return limited(hal, write, "lock_timeout")
	}, "55P03"},
}

// TestTx_Failures makes each write fail in each way: neither row nor entry may be left.
func TestTx_Failures(t *testing.T) {
	t.Parallel()
	eachFailure(t, map[string]*gorm.Session{"": {}, ", SkipDefaultTransaction": {SkipDefaultTransaction: true}})
}

func eachFailure(t *testing.T, modes map[string]*gorm.Session) {
	t.Helper()
	for _, f := range failures {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			eachWall(t, func(t *testing.T, w walls) {
				b := setupItems(t, w)
				if f.hung {
					holder := b.super.Begin()
					must(t, holder.Exec("LOCK TABLE audit_logs IN EXCLUSIVE MODE").Error)
					defer holder.Rollback()
				}
				for _, write := range itemWrites {
					for mode, session := range modes {
						if session.SkipDefaultTransaction && outlasts(f.name) {
							continue // the write is over by then
						}
						b.unchanged(t, write.name+mode, func() error {
							err := f.do(b.as(b.hal).Session(session), write.do)
							f.check(t, write.name+mode, err)
							return err
						})
					}
				}
			})
		})
	}
}

// check demands the database's error, where there is one, as the change's own.
func (f failure) check(t *testing.T, name string, err error) {
	t.Helper()
	var pg *pgconn.PgError
	if f.code != "" && (!errors.As(err, &pg) || pg.Code != f.code) {
		t.Errorf("%s: got %v, want SQLSTATE %s", name, err, f.code)
	}
}

// outlasts reports whether a write without a transaction is committed before the failure.
func outlasts(name string) bool {
	return name == "panic in the hook after" || name == "error of the hook after" || name == "cancelled in the hook after"
}

// bursting is a value that panics as it is encoded.
type bursting struct{}

// Value implements driver.Valuer.
func (bursting) Value() (driver.Value, error) { panic("value") }

// TestTx_PanicInAValue: database/sql does not recover from it; nothing may be left behind.
func TestTx_PanicInAValue(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		for name, write := range map[string]func(db *gorm.DB) error{
			"update": func(db *gorm.DB) error { return db.Model(&TItem{ID: 1}).Update("name", bursting{}).Error },
			"create": func(db *gorm.DB) error {
				return db.Model(&TItem{}).Create(map[string]any{"id": 60, "name": bursting{}}).Error
			},
			"delete": func(db *gorm.DB) error { return db.Where("name = ?", bursting{}).Delete(&TItem{}).Error },
		} {
			for mode, session := range map[string]*gorm.Session{"": {}, ", SkipDefaultTransaction": {SkipDefaultTransaction: true}} {
				ctx, cancel := context.WithCancel(b.hal) // it ends what database/sql leaves open
				rows, entries := b.items(t), b.entries(t)
				if err := caught(func() error { return write(b.as(ctx).Session(session)) }); err == nil {
					t.Errorf("%s%s: no error", name, mode)
				}
				cancel()
				if b.items(t) != rows || b.entries(t) != entries {
					t.Errorf("%s%s: something is left behind", name, mode)
				}
			}
		}
		must(t, b.as(b.hal).Model(&TItem{ID: 1}).Update("name", "after").Error)
		b.wantTrail(t, `update t_items 1: name "one"→"after"`)
	})
}

// pair is two transactions that take turns.
type pair struct{ first, second *gorm.DB }

func (b *bundle) pair(level sql.IsolationLevel) pair {
	options := &sql.TxOptions{Isolation: level}
	return pair{b.as(b.hal).Begin(options), b.as(b.hal).Begin(options)}
}

// wantOne demands that one of two has failed so, and that the rows and the trail
// are the other's alone.
func (b *bundle) wantOne(t *testing.T, code string, results map[string]error) {
	t.Helper()
	b.settled(t)
	winner := ""
	for name, err := range results {
		var pg *pgconn.PgError
		if err == nil {
			winner = name
		} else if !errors.As(err, &pg) || pg.Code != code {
			t.Errorf("%s: got %v, want SQLSTATE %s", name, err, code)
		}
		if errors.Is(err, audit.ErrAudit) {
			t.Errorf("%s: the failure of the change is said to be the trail's: %v", name, err)
		}
	}
	if winner == "" {
		t.Fatal("both failed")
	}
	if got := b.text(t, `SELECT DISTINCT name FROM t_items WHERE name IN ('first', 'second')`); got != winner {
		t.Errorf("rows are of %q, want those of %s alone", got, winner)
	}
	for _, e := range b.trail(t) {
		changed, err := audit.Changes(e)
		must(t, err)
		if got := string(changed["name"].New); got != `"`+winner+`"` {
			t.Errorf("an entry is of %s, want those of %s alone", got, winner)
		}
	}
	rows := b.text(t, `SELECT count(*) FROM t_items WHERE name = '`+winner+`'`)
	if n := fmt.Sprint(b.entries(t)); n != rows {
		t.Errorf("%s entries for %s rows", n, rows)
	}
}

// TestTx_Deadlock lets two transactions wait for each other.
func TestTx_Deadlock(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		name := func(tx *gorm.DB, id int64, name string) error {
			return tx.Model(&TItem{ID: id}).Update("name", name).Error
		}
		p := b.pair(sql.LevelDefault)
		must(t, name(p.first, 1, "first"))
		must(t, name(p.second, 2, "second"))
		other := make(chan error, 1)
		finish := func(tx *gorm.DB, id int64, as string) error {
			if err := name(tx, id, as); err != nil {
				return errors.Join(err, tx.Rollback().Error)
			}
			return tx.Commit().Error
		}
		go func() { other <- finish(p.first, 2, "first") }()
		second := finish(p.second, 1, "second")
		b.wantOne(t, "40P01", map[string]error{"first": <-other, "second": second})
	})
}

// TestTx_Serialization lets two transactions change what the other has read:
// the second is refused at its statement, or at its COMMIT.
func TestTx_Serialization(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		for level, own := range map[sql.IsolationLevel]map[string]int64{
			sql.LevelRepeatableRead: {"first": 1, "second": 1},
			sql.LevelSerializable:   {"first": 1, "second": 2}, // each reads what the other writes
		} {
			b := setupItems(t, w)
			p := b.pair(level)
			results := map[string]error{}
			for _, tx := range []*gorm.DB{p.first, p.second} {
				must(t, tx.Find(&[]TItem{}).Error)
			}
			for _, name := range []string{"first", "second"} {
				tx := map[string]*gorm.DB{"first": p.first, "second": p.second}[name]
				err := tx.Model(&TItem{ID: own[name]}).Update("name", name).Error
				if err != nil {
					err = errors.Join(err, tx.Rollback().Error)
				} else if level == sql.LevelRepeatableRead || name == "second" {
					err = tx.Commit().Error
				}
				results[name] = err
			}
			if level == sql.LevelSerializable {
				results["first"] = p.first.Commit().Error
			}
			b.wantOne(t, "40001", results)
		}
	})
}

// TestTx_Terminated ends the backend while a write hangs in its trail.
func TestTx_Terminated(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		for _, write := range itemWrites {
			b.unchanged(t, write.name, func() error {
				holder := b.super.Begin()
				defer holder.Rollback()
				must(t, holder.Exec("LOCK TABLE audit_logs IN EXCLUSIVE MODE").Error)
				result := make(chan error, 1)
				go func() { result <- write.do(b.as(b.hal)) }()
				for n := int64(0); n == 0; time.Sleep(2 * time.Millisecond) {
					must(t, b.super.Raw(`SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
						WHERE datname = ? AND usename = ? AND wait_event_type = 'Lock'`, b.Name, b.AppRole).Scan(&n).Error)
				}
				return <-result
			})
		}
	})
}

// TestTx_AnotherTenant: what a transaction refuses takes nothing along that it should not.
func TestTx_AnotherTenant(t *testing.T) {
	t.Parallel()
	b := setupItems(t, walls{all: true})
	must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		must(t, tx.Model(&TItem{ID: 1}).Update("name", "kept").Error)
		if err := tx.WithContext(b.acme).Create(&TItem{ID: 60}).Error; !errors.Is(err, tenancy.ErrTransactionTenant) {
			t.Errorf("got %v, want ErrTransactionTenant", err)
		}
		return nil
	}))
	b.wantTrail(t, `update t_items 1: name "one"→"kept"`)
}
