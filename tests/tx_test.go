package tests

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// TItem is what the tests of transactions write. Its reference is checked at COMMIT.
type TItem struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Name     string
	N        int
	ParentID *int64
}

const itemTable = `CREATE TABLE t_items (id bigint PRIMARY KEY, tenant_id text NOT NULL, name text, n bigint,
	parent_id bigint, CONSTRAINT fk_parent FOREIGN KEY (parent_id) REFERENCES t_items (id) DEFERRABLE INITIALLY DEFERRED)`

// hooksKey is where a context holds what the hooks of TItem do, by their names.
type hooksKey struct{}

func withHook(ctx context.Context, name string, do func() error) context.Context {
	return context.WithValue(ctx, hooksKey{}, map[string]func() error{name: do})
}

func runHook(tx *gorm.DB, name string) error {
	if do := tx.Statement.Context.Value(hooksKey{}); do != nil {
		if do := do.(map[string]func() error)[name]; do != nil {
			return do()
		}
	}
	return nil
}

// BeforeSave and the others are GORM's hooks.
func (*TItem) BeforeSave(tx *gorm.DB) error   { return runHook(tx, "before") }
func (*TItem) AfterSave(tx *gorm.DB) error    { return runHook(tx, "after") }
func (*TItem) BeforeDelete(tx *gorm.DB) error { return runHook(tx, "before") }
func (*TItem) AfterDelete(tx *gorm.DB) error  { return runHook(tx, "after") }

// itemWrite is a write that leaves that many entries where it is committed. The
// table holds the items 1 to 4.
type itemWrite struct {
	name    string
	entries int
	do      func(db *gorm.DB) error
}

var itemWrites = []itemWrite{
	{"create", 1, func(db *gorm.DB) error { return db.Create(&TItem{ID: 50, Name: "n"}).Error }},
	{"create of two", 2, func(db *gorm.DB) error { return db.Create(&[]TItem{{ID: 50, Name: "n"}, {ID: 51}}).Error }},
	{"update", 1, func(db *gorm.DB) error { return db.Model(&TItem{ID: 1}).Update("name", "x").Error }},
	{"update of all", 4, func(db *gorm.DB) error {
		return db.Model(&TItem{}).Where("1 = 1").Update("n", gorm.Expr("n + 1")).Error
	}},
	{"update returning", 1, func(db *gorm.DB) error {
		return db.Model(&TItem{}).Clauses(clause.Returning{}).Where("id = 2").Update("name", "x").Error
	}},
	{"save", 1, func(db *gorm.DB) error { return db.Save(&TItem{ID: 1, Name: "saved"}).Error }},
	{"upsert", 2, func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]TItem{{ID: 1, Name: "x"}, {ID: 50}}).Error
	}},
	{"delete", 1, func(db *gorm.DB) error { return db.Delete(&TItem{ID: 3}).Error }},
	{"delete of all", 4, func(db *gorm.DB) error { return db.Where("1 = 1").Delete(&TItem{}).Error }},
}

func setupItems(t *testing.T, w walls) *bundle {
	t.Helper()
	b := w.with(t, false, []any{&TItem{}}, nil, itemTable)
	b.seedItems(t)
	return b
}

func (b *bundle) seedItems(t *testing.T) {
	t.Helper()
	must(t, b.super.Create(&[]TItem{
		{ID: 1, TenantID: "hal", Name: "one"}, {ID: 2, TenantID: "hal", Name: "two"},
		{ID: 3, TenantID: "hal", Name: "three"}, {ID: 4, TenantID: "hal", Name: "four"},
	}).Error)
}

// items is what others see of the table.
func (b *bundle) items(t *testing.T) string {
	t.Helper()
	return b.text(t, `SELECT t_items::text FROM t_items ORDER BY id`)
}

// entries is how many entries others see.
func (b *bundle) entries(t *testing.T) int { t.Helper(); return len(b.trail(t)) }

// pgxGivesUp is longer than pgx waits for a server that does not answer the end of a
// connection: 15 seconds, where a cancel request overtook its statement and was lost.
const pgxGivesUp = 30 * time.Second

// settled waits until no statement of the app's runs, and none of its transactions is open.
func (b *bundle) settled(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(pgxGivesUp); ; time.Sleep(2 * time.Millisecond) {
		var busy int64
		must(t, b.super.Raw(`SELECT count(*) FROM pg_stat_activity WHERE datname = ? AND usename = ? AND state <> 'idle'`, b.Name, b.AppRole).Scan(&busy).Error)
		if busy == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d of the app's transactions are still open", busy)
		}
	}
}

// unchanged runs what must fail, and demands that nothing is left of it.
func (b *bundle) unchanged(t *testing.T, name string, do func() error) {
	t.Helper()
	rows, entries := b.items(t), b.entries(t)
	err := caught(do)
	if err == nil {
		t.Errorf("%s: no error", name)
	}
	if fault := runtime.Error(nil); errors.As(err, &fault) {
		t.Errorf("%s: %v", name, err)
	}
	b.settled(t)
	if got := b.items(t); got != rows {
		t.Errorf("%s: rows were\n%s\nand are, after %v,\n%s", name, rows, err, got)
	}
	if got := b.entries(t); got != entries {
		t.Errorf("%s: %d entries are left behind after %v", name, got-entries, err)
	}
}

// TestTx_Commit makes all writes in one transaction each: the entries are seen
// with the rows, not before, and belong to one transaction.
func TestTx_Commit(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		for _, write := range itemWrites {
			must(t, b.super.Exec("TRUNCATE t_items").Error)
			b.seedItems(t)
			b.forget(t)
			before := b.items(t)
			must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
				must(t, write.do(tx))
				must(t, tx.Create(&TItem{ID: 99, Name: "beside"}).Error)
				if b.entries(t) != 0 || b.items(t) != before {
					t.Errorf("%s: seen before COMMIT", write.name)
				}
				return nil
			}))
			trail := b.trail(t)
			if len(trail) != write.entries+1 {
				t.Errorf("%s: %d entries, want %d:\n%s", write.name, len(trail), write.entries+1, strings.Join(lines(t, trail), "\n"))
			}
			for _, e := range trail {
				if id := metadata(t, e)["transaction_id"]; id != metadata(t, trail[0])["transaction_id"] {
					t.Errorf("%s: an entry is of the transaction %v", write.name, id)
				}
			}
			if b.items(t) == before {
				t.Errorf("%s: nothing changed", write.name)
			}
		}
	})
}

// TestTx_Savepoints: what is rolled back to a savepoint takes its entries along,
// and nothing else.
func TestTx_Savepoints(t *testing.T) {
	t.Parallel()
	undo := errors.New("undo")
	name := func(tx *gorm.DB, id int64, name string) error {
		return tx.Model(&TItem{ID: id}).Update("name", name).Error
	}
	for title, c := range map[string]struct {
		do   func(t *testing.T, tx *gorm.DB) error
		want []string
	}{
		"inner undone": {func(_ *testing.T, tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(name(tx, 1, "lost"), undo) })
			return name(tx, 2, "kept")
		}, []string{`update t_items 2: name "two"→"kept"`}},
		"inner kept": {func(_ *testing.T, tx *gorm.DB) error {
			return errors.Join(name(tx, 1, "a"), tx.Transaction(func(tx *gorm.DB) error { return name(tx, 1, "b") }))
		}, []string{`update t_items 1: name "one"→"a"`, `update t_items 1: name "a"→"b"`}},
		"third level undone": {func(_ *testing.T, tx *gorm.DB) error {
			return tx.Transaction(func(tx *gorm.DB) error {
				_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(name(tx, 1, "lost"), undo) })
				return name(tx, 1, "kept")
			})
		}, []string{`update t_items 1: name "one"→"kept"`}},
		"second level undone with the third": {func(t *testing.T, tx *gorm.DB) error {
			must(t, name(tx, 1, "first"))
			_ = tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(name(tx, 1, "second"), tx.Transaction(func(tx *gorm.DB) error { return name(tx, 1, "third") }), undo)
			})
			return name(tx, 1, "last")
		}, []string{`update t_items 1: name "one"→"first"`, `update t_items 1: name "first"→"last"`}},
		"by hand, to the outer": {func(t *testing.T, tx *gorm.DB) error {
			must(t, name(tx, 1, "first"))
			must(t, tx.SavePoint("one").Error)
			must(t, name(tx, 1, "lost"))
			must(t, tx.SavePoint("two").Error)
			must(t, tx.Create(&TItem{ID: 60}).Error)
			must(t, tx.Delete(&TItem{ID: 2}).Error)
			must(t, tx.RollbackTo("one").Error)
			return name(tx, 1, "last")
		}, []string{`update t_items 1: name "one"→"first"`, `update t_items 1: name "first"→"last"`}},
		"by hand, twice to the same": {func(t *testing.T, tx *gorm.DB) error {
			must(t, tx.SavePoint("s").Error)
			for i := range 2 {
				must(t, name(tx, 1, fmt.Sprint("lost", i)))
				must(t, tx.RollbackTo("s").Error)
			}
			return tx.Delete(&TItem{ID: 4}).Error
		}, []string{`delete t_items 4: id 4→null, n 0→null, name "four"→null, tenant_id "hal"→null`}},
		"after an error of the database": {func(t *testing.T, tx *gorm.DB) error {
			must(t, name(tx, 1, "first"))
			if err := tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&TItem{ID: 2}).Error }); !errors.Is(err, gorm.ErrDuplicatedKey) {
				t.Errorf("got %v, want ErrDuplicatedKey", err)
			}
			return tx.Clauses(clause.OnConflict{UpdateAll: true}).Create(&TItem{ID: 2, Name: "up"}).Error
		}, []string{`update t_items 1: name "one"→"first"`, `update t_items 2: name "two"→"up"`}},
		"all writes undone, then made": {func(t *testing.T, tx *gorm.DB) error {
			for _, write := range itemWrites {
				_ = tx.Transaction(func(tx *gorm.DB) error { must(t, write.do(tx)); return undo })
			}
			return name(tx, 1, "kept")
		}, []string{`update t_items 1: name "one"→"kept"`}},
		"panic inside, caught outside": {func(t *testing.T, tx *gorm.DB) error {
			func() {
				defer func() { _ = recover() }()
				_ = tx.Transaction(func(tx *gorm.DB) error { must(t, name(tx, 1, "lost")); panic("inside") })
			}()
			return name(tx, 1, "kept")
		}, []string{`update t_items 1: name "one"→"kept"`}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			eachWall(t, func(t *testing.T, w walls) {
				b := setupItems(t, w)
				must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error { return c.do(t, tx) }))
				b.wantTrail(t, c.want...)
			})
		})
	}
}

// TestTx_SkipDefaultTransaction: without a transaction both are committed, or neither.
func TestTx_SkipDefaultTransaction(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := setupItems(t, w)
		bare := b.as(b.hal).Session(&gorm.Session{SkipDefaultTransaction: true})
		b.unchanged(t, "second row of a create", func() error { return bare.Create(&[]TItem{{ID: 60}, {ID: 1}}).Error })
		b.unchanged(t, "upsert whose second row fails", func() error {
			missing := int64(999)
			return bare.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]TItem{{ID: 1, Name: "x"}, {ID: 61, ParentID: &missing}}).Error
		})
		b.unchanged(t, "update at its end", func() error {
			return bare.Model(&TItem{}).Where("1 = 1").Update("n", gorm.Expr("1 / (id - 4)")).Error
		})
		b.unchanged(t, "deferred constraint", func() error { return bare.Model(&TItem{ID: 1}).Update("parent_id", 999).Error })
		for _, write := range itemWrites {
			must(t, b.super.Exec("TRUNCATE t_items").Error)
			b.seedItems(t)
			b.forget(t)
			must(t, write.do(bare))
			if n := b.entries(t); n != write.entries {
				t.Errorf("%s: %d entries, want %d", write.name, n, write.entries)
			}
		}
	})
}
