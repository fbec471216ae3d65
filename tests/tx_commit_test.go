package tests

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	proxying "github.com/courtroll/courtroll/internal/pgtest/wire" // wire is a test of this package
)

// committers are the ways in which a write is committed: GORM's default
// transaction, and the caller's own.
var committers = map[string]func(hal *gorm.DB, write func(*gorm.DB) error) error{
	"default transaction": func(hal *gorm.DB, write func(*gorm.DB) error) error { return write(hal) },
	"own transaction": func(hal *gorm.DB, write func(*gorm.DB) error) error {
		return hal.Transaction(func(tx *gorm.DB) error { return write(tx) })
	},
	"by hand": func(hal *gorm.DB, write func(*gorm.DB) error) error {
		tx := hal.Begin()
		if err := write(tx); err != nil {
			return errors.Join(err, tx.Rollback().Error)
		}
		return tx.Commit().Error
	},
}

// TestTx_DeferredConstraint: what COMMIT refuses is the change's error.
func TestTx_DeferredConstraint(t *testing.T) {
	t.Parallel()
	missing := int64(999)
	writes := map[string]func(db *gorm.DB) error{
		"create": func(db *gorm.DB) error { return db.Create(&TItem{ID: 60, ParentID: &missing}).Error },
		"update": func(db *gorm.DB) error { return db.Model(&TItem{ID: 1}).Update("parent_id", missing).Error },
		"update of all": func(db *gorm.DB) error {
			return db.Model(&TItem{}).Where("1 = 1").Update("parent_id", gorm.Expr("id + 1")).Error
		},
		"upsert": func(db *gorm.DB) error {
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]TItem{{ID: 1, ParentID: &missing}, {ID: 60}}).Error
		},
		"save":   func(db *gorm.DB) error { return db.Save(&TItem{ID: 1, ParentID: &missing}).Error },
		"delete": func(db *gorm.DB) error { return db.Delete(&TItem{ID: 2}).Error }, // 4 refers to it
	}
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		must(t, b.super.Exec("UPDATE t_items SET parent_id = 2 WHERE id = 4").Error)
		for how, commit := range committers {
			for name, write := range writes {
				b.unchanged(t, how+", "+name, func() error {
					err := commit(b.as(b.hal), write)
					if err == nil || !strings.Contains(err.Error(), "23503") && !errors.Is(err, gorm.ErrForeignKeyViolated) {
						t.Errorf("%s, %s: got %v, want a violated foreign key", how, name, err)
					}
					if errors.Is(err, audit.ErrAudit) {
						t.Errorf("%s, %s: the failure of the change is said to be the trail's: %v", how, name, err)
					}
					return err
				})
			}
		}
		must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error { // in order again before COMMIT
			must(t, tx.Model(&TItem{ID: 1}).Update("parent_id", missing).Error)
			return tx.Create(&TItem{ID: missing, Name: "parent"}).Error
		}))
		b.wantTrail(t, `update t_items 1: parent_id null→999`,
			`create t_items 999: id null→999, n null→0, name null→"parent", tenant_id null→"hal"`)
	})
}

// setupProxied is setupItems with the app's connections through a proxy.
func setupProxied(t *testing.T, w walls, noAudit bool) (*bundle, *proxying.Proxy) {
	t.Helper()
	db, r := w.database(t, []any{&TItem{}}, nil, itemTable)
	proxy := proxying.Listen(t, db.AppDSN)
	db.AppDSN = proxy.DSN()
	db.App = db.OpenApp(nil)
	b := w.open(t, db, r, noAudit)
	b.seedItems(t)
	must(t, b.as(b.hal).Find(&[]TItem{}).Error)
	return b, proxy
}

// hasCommit reports whether the client has sent its COMMIT.
func hasCommit(proxy *proxying.Proxy) bool {
	for _, text := range proxy.Statements() {
		if strings.EqualFold(strings.TrimRight(text, "; "), "commit") {
			return true
		}
	}
	return false
}

// waitFor polls for what has to become true soon.
func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: it does not happen", what)
		}
	}
}

// cut runs a write, lets nothing through in either direction once its hook has
// run, and breaks the connection when it is told.
func (b *bundle) cut(proxy *proxying.Proxy, delay time.Duration, run func(*gorm.DB) error, when func()) error {
	proxy.Reset()
	result := make(chan error, 1)
	ctx := withHook(b.hal, "after", func() error { proxy.Delay(delay); return nil })
	go func() { result <- run(b.as(ctx)) }()
	when()
	proxy.Break()
	err := <-result
	proxy.Delay(0)
	proxy.Mend()
	return err
}

// TestTx_CommitNeverArrives cuts the connection while COMMIT is on its way to the server.
func TestTx_CommitNeverArrives(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b, proxy := setupProxied(t, w, false)
		for how, commit := range committers {
			for _, write := range itemWrites {
				b.unchanged(t, how+", "+write.name, func() error {
					return b.cut(proxy, time.Hour, func(db *gorm.DB) error { return commit(db, write.do) }, func() {
						waitFor(t, write.name+": COMMIT is sent", func() bool { return hasCommit(proxy) })
					})
				})
			}
		}
	})
}

// TestTx_CommitAnswerLost cuts the connection when the server has committed and
// the client does not know: the error is there, and so are row and entry.
func TestTx_CommitAnswerLost(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b, proxy := setupProxied(t, w, false)
		for how, commit := range committers {
			for _, write := range itemWrites {
				must(t, b.super.Exec("TRUNCATE t_items").Error)
				b.seedItems(t)
				b.forget(t)
				before := b.items(t)
				err := b.cut(proxy, 100*time.Millisecond, func(db *gorm.DB) error { return commit(db, write.do) }, func() {
					waitFor(t, write.name+": it is committed", func() bool { return b.items(t) != before })
				})
				if err == nil {
					t.Errorf("%s, %s: success without an answer", how, write.name)
				}
				if n := b.entries(t); n != write.entries {
					t.Errorf("%s, %s: the rows are committed with %d entries, want %d", how, write.name, n, write.entries)
				}
			}
		}
	})
}

// TestTx_CutAnywhere cuts the connection at any moment of a write of many rows:
// both are there, or neither, and what was said to be committed is.
func TestTx_CutAnywhere(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b, proxy := setupProxied(t, w, false)
		write := func(name string, n int) error {
			return b.as(b.hal).Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&TItem{}).Where("1 = 1").Update("name", name).Error,
					tx.Transaction(func(tx *gorm.DB) error { return tx.Model(&TItem{ID: 1}).Update("n", n).Error }))
			})
		}
		rng, committed, lost, long := rand.New(rand.NewPCG(1, 2)), 0, 0, time.Duration(0)
		for round := range 100 {
			name, result := fmt.Sprint("round ", round), make(chan error, 1)
			waitFor(t, "a connection", func() bool { return b.as(b.hal).Find(&[]TItem{}).Error == nil })
			b.forget(t)
			begin := time.Now()
			go func() { result <- write(name, round+1) }()
			var err error
			if round < 3 { // how long it takes on a new connection
				err = <-result
				long = max(long, time.Since(begin))
				proxy.Break()
			} else {
				time.Sleep(time.Duration(rng.Int64N(int64(long) * 3 / 2)))
				proxy.Break()
				err = <-result
			}
			proxy.Mend()
			b.settled(t)
			rows := b.text(t, `SELECT count(*) FROM t_items WHERE name = '`+name+`'`)
			entries := b.entries(t)
			switch {
			case rows == "4" && entries == 5: // too late, so the next cut is earlier, for the machine's pace changes
				committed++
				long -= long / 20
			case rows == "0" && entries == 0 && err != nil:
				lost++
				long += long / 20
			default:
				t.Fatalf("%s: %s rows and %d entries after %v", name, rows, entries, err)
			}
		}
		if committed <= 3 || lost == 0 {
			t.Errorf("%d committed, %d not: the cuts are all on one side", committed, lost)
		}
		t.Logf("%d committed, %d not", committed, lost)
	})
}
