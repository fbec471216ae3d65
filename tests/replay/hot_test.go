package replay

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// hot are operations on one and the same row, in the order of their numbers.
var hot = []op{
	{kind: "upsert", run: func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{Columns: byCode, DoUpdates: clause.Assignments(map[string]any{"n": gorm.Expr("(things.n + 1) % 50")})}).
			Create(&Thing{ID: 1, TenantID: tenant, Code: "a"}).Error
	}},
	{kind: "upsert and return", run: func(db *gorm.DB) error {
		return db.Clauses(clause.Returning{}, clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"n", "deleted_at"})}).
			Create(&[]Thing{{ID: 9, TenantID: tenant, Code: "a", N: 3}, {ID: 2, TenantID: tenant, Code: "b", N: 4}}).Error
	}},
	{kind: "save", run: func(db *gorm.DB) error { return db.Save(&[]Thing{{ID: 1, TenantID: tenant, Code: "a", N: 5}}).Error }},
	{kind: "count", run: func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Where("code = 'a' AND n < 90").Update("n", gorm.Expr("n + 1")).Error
	}},
	{kind: "change the condition", run: func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Where("code = 'a' AND status = 'new'").Update("status", "old").Error
	}},
	{kind: "change it back", run: func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Where("code = 'a' AND status = 'old'").Update("status", "new").Error
	}},
	{kind: "key", run: func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Where("code = 'a'").UpdateColumn("id", gorm.Expr("10 - id")).Error
	}},
	{kind: "delete", run: func(db *gorm.DB) error { return db.Unscoped().Where("code = 'a'").Delete(&Thing{}).Error }},
	{kind: "create", run: func(db *gorm.DB) error { return db.Create(&Thing{ID: 9, TenantID: tenant, Code: "a"}).Error }},
	{kind: "soft delete", run: func(db *gorm.DB) error { return db.Where("code = 'a'").Delete(&Thing{}).Error }},
	{kind: "restore", run: func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Where("code = 'a' AND deleted_at IS NOT NULL").Update("deleted_at", nil).Error
	}},
}

// TestHot has many make changes of one row at once, most of them with nothing
// around the statement that would hold a lock for it.
func TestHot(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := f.open(t)
			must(t, l.super.Exec("ALTER TABLE things DROP CONSTRAINT fk_things_parent").Error) // which would keep the row where it is
			seen := &coverage{kinds: map[string]*tally{}, actions: map[string]int{}, errors: map[string]int{}}
			turns := 0
			for range max(1, *programs/40) {
				must(t, l.reset())
				l.wire.take()
				if fault := l.runHot(seen); fault != "" {
					t.Fatal(fault)
				}
				if fault := l.check(seen); fault != "" {
					t.Fatal(fault)
				}
				turns += l.turns(t)
			}
			t.Logf("%d operations, %d entries in %d turns, errors: %v, actions: %v", seen.operations, seen.entries, turns, seen.errors, seen.actions)
			if 2*turns < seen.entries || 2*seen.succeeded < seen.operations {
				t.Error("the workers did not take turns, or most of what they did failed")
			}
		})
	}
}

// turns counts how often the row changed hands.
func (l *lab) turns(t *testing.T) (turns int) {
	t.Helper()
	entries, err := l.trail()
	must(t, err)
	last := -1
	for _, e := range entries {
		label, _, _ := strings.Cut(e.Actor, ".")
		n, err := strconv.Atoi(label)
		must(t, err)
		if n/each != last {
			turns++
		}
		last = n / each
	}
	return turns
}

// So many workers do so many operations each.
const crowd, each = 6, 20

func (l *lab) runHot(seen *coverage) string {
	faults := make([]string, crowd)
	var wg sync.WaitGroup
	for worker := range crowd {
		wg.Go(func() {
			for i := range each {
				s := step{worker: worker, mode: []string{"skip", "skip prepared", "skip", ""}[rand.IntN(4)], op: hot[rand.IntN(len(hot))]}
				s.op.text = s.op.kind
				if fault := l.step(worker*each+i, s, true, seen); fault != "" {
					faults[worker] = fault
					return
				}
			}
		})
	}
	wg.Wait()
	return cmp.Or(faults...)
}

// TestCount adds to one row's number from many sides, while its key changes: what
// succeeded is in the sum, and in the trail.
func TestCount(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l := f.open(t)
			must(t, l.super.Exec("ALTER TABLE things DROP CONSTRAINT fk_things_parent").Error)
			start := time.Now()
			var added atomic.Int64
			var wg sync.WaitGroup
			for worker := range 6 {
				wg.Go(func() {
					for i := range 15 {
						n, err := l.addOne(worker, i)
						if kind, _ := classify(err); kind != succeeded && kind != again {
							t.Error(err)
						}
						added.Add(n)
					}
				})
			}
			wg.Wait()
			if fault := l.check(&coverage{actions: map[string]int{}}); fault != "" {
				t.Error(fault)
			}
			var n int64
			must(t, l.super.Raw("SELECT n FROM things WHERE code = 'a'").Scan(&n).Error)
			if n != added.Load()+1 || n < 20 {
				t.Errorf("n is %d after %d additions to 1", n, added.Load())
			}
			t.Logf("%d additions in %s", added.Load(), time.Since(start).Round(time.Millisecond))
		})
	}
}

// addOne returns what was added. Where there was no error the row was found: without
// the plugin, too, such an update waits for the one before it.
func (l *lab) addOne(worker, i int) (int64, error) {
	db := l.app.WithContext(l.context(context.Background(), fmt.Sprintf("%d.%d", worker, i))).Session(&gorm.Session{SkipDefaultTransaction: i%2 == 0})
	switch {
	case worker == 0 && i%3 == 0:
		return 0, wantRows(db.Model(&Thing{}).Where("code = 'a'").UpdateColumn("id", gorm.Expr("10 - id")), 1)
	case worker%2 == 0:
		tx := db.Clauses(clause.OnConflict{Columns: byCode, DoUpdates: clause.Assignments(map[string]any{"n": gorm.Expr("things.n + 1")})}).
			Create(&Thing{ID: 50, TenantID: tenant, Code: "a"})
		return tx.RowsAffected, wantRows(tx, 1)
	}
	tx := db.Model(&Thing{}).Where("code = 'a' AND n < 99").Update("n", gorm.Expr("n + 1"))
	return tx.RowsAffected, wantRows(tx, 1)
}
