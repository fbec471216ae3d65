package tests

import (
	"fmt"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	proxying "github.com/courtroll/courtroll/internal/pgtest/wire" // wire is a test of this package
)

// budgeted is a write of that many rows, whose first is numbered; most is the
// budget of its round trips, GORM's default transaction included.
type budgeted struct {
	name string
	most int
	do   func(db *gorm.DB, rows, first int) error
}

// numbered are items with distinct ids.
func numbered(rows, first int, name string) []TItem {
	items := make([]TItem, rows)
	for i := range items {
		items[i] = TItem{ID: int64(first + i), Name: fmt.Sprint(name, first)}
	}
	return items
}

var budgets = []budgeted{
	{"create", 3, func(db *gorm.DB, rows, first int) error {
		items := numbered(rows, 10_000+first, "new")
		return db.Create(&items).Error
	}},
	{"create returning", 3, func(db *gorm.DB, rows, first int) error {
		pages := make([]Page, rows)
		return db.Create(&pages).Error
	}},
	{"create of maps", 3, func(db *gorm.DB, rows, first int) error {
		var maps []map[string]any
		for i := range rows {
			maps = append(maps, map[string]any{"id": 20_000 + first + i, "name": "map"})
		}
		return db.Model(&TItem{}).Create(&maps).Error
	}},
	{"update", 4, func(db *gorm.DB, rows, first int) error {
		return db.Model(&TItem{}).Where("id <= ?", rows).Update("n", first).Error
	}},
	{"update with an expression", 4, func(db *gorm.DB, rows, _ int) error {
		return db.Model(&TItem{}).Where("id <= ?", rows).UpdateColumn("n", gorm.Expr("n + 1")).Error
	}},
	{"update returning", 4, func(db *gorm.DB, rows, first int) error {
		return db.Model(&[]TItem{}).Clauses(clause.Returning{}).Where("id <= ?", rows).Update("n", -first).Error
	}},
	{"update of nothing", 4, func(db *gorm.DB, rows, _ int) error {
		return db.Model(&TItem{}).Where("id <= ?", -rows).Update("n", 1).Error
	}},
	{"upsert", 4, func(db *gorm.DB, rows, first int) error {
		items := numbered(rows, 1, fmt.Sprint("up", first))
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&items).Error
	}},
	{"upsert of nothing", 4, func(db *gorm.DB, rows, _ int) error {
		items := numbered(rows, 1, "there")
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&items).Error
	}},
	{"save of many", 4, func(db *gorm.DB, rows, first int) error {
		items := numbered(rows, 1, fmt.Sprint("saved", first))
		return db.Save(&items).Error
	}},
	{"soft delete", 4, func(db *gorm.DB, rows, _ int) error {
		return db.Where("id <= ?", rows).Delete(&Page{}).Error
	}},
	{"restore", 4, func(db *gorm.DB, rows, _ int) error {
		return db.Unscoped().Model(&Page{}).Where("id <= ?", rows).Update("deleted_at", nil).Error
	}},
	{"delete", 4, func(db *gorm.DB, rows, first int) error {
		return db.Where("id BETWEEN ? AND ?", 10_000+first, 10_000+first+rows-1).Delete(&TItem{}).Error
	}},
	{"delete returning", 4, func(db *gorm.DB, rows, first int) error {
		return db.Clauses(clause.Returning{}).Where("id BETWEEN ? AND ?", 20_000+first, 20_000+first+rows-1).Delete(&[]TItem{}).Error
	}},
}

// singles are writes of one row.
var singles = []budgeted{
	{"save", 4, func(db *gorm.DB, _, first int) error {
		return db.Save(&TItem{ID: 1, Name: fmt.Sprint("saved ", first)}).Error
	}},
	{"save of a new one", 8, func(db *gorm.DB, _, first int) error { // an UPDATE that meets no row, and an upsert
		return db.Save(&TItem{ID: int64(30_000 + first), Name: "new"}).Error
	}},
	{"association append", 8, func(db *gorm.DB, _, first int) error { // an upsert of the child, and an update of the parent
		return db.Model(&Page{ID: 1}).Association("Revisions").Append(&Revision{Number: first, Text: "t"})
	}},
}

// TestBudget_Audited counts the round trips of audited writes on the wire: they
// do not grow with the rows, keep to the budget, and exceed those of the same
// write without the audit plugin by one at most for each upsert.
func TestBudget_Audited(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		without, with := newCounter(t, w, true), newCounter(t, w, false)
		for _, c := range budgets {
			one := with.count(t, c, 1)
			if one > c.most {
				t.Errorf("%s: %d round trips, at most %d are allowed", c.name, one, c.most)
			}
			if plain := without.count(t, c, 1); one > plain+1 {
				t.Errorf("%s: %d round trips, without the trail %d", c.name, one, plain)
			}
			for _, rows := range []int{10, 1000} {
				if n := with.count(t, c, rows); n != one {
					t.Errorf("%s: %d round trips for %d rows, %d for one", c.name, n, rows, one)
				}
			}
			t.Logf("%s: %d", c.name, one)
		}
		for _, c := range singles {
			plain, n := without.count(t, c, 1), with.count(t, c, 1)
			if n > c.most || n > plain+2 {
				t.Errorf("%s: %d round trips, at most %d are allowed, and without the trail it takes %d", c.name, n, c.most, plain)
			}
			t.Logf("%s: %d", c.name, n)
		}
	})
}

// counter is a handle on a database of its own, with one connection through a proxy.
type counter struct {
	*bundle
	proxy *proxying.Proxy
	next  int
}

func newCounter(t *testing.T, w walls, noAudit bool) *counter {
	t.Helper()
	b, proxy := setupProxied(t, w, noAudit)
	must(t, b.super.Exec(`INSERT INTO t_items (id, tenant_id, name, n) SELECT i, 'hal', 'seeded', 0 FROM generate_series(5, 1000) AS i`).Error)
	must(t, b.super.Exec(`INSERT INTO pages (id, tenant_id, title) SELECT i, 'hal', 'seeded' FROM generate_series(1, 1000) AS i`).Error)
	must(t, b.super.Exec(`SELECT setval('pages_id_seq', 1000)`).Error)
	pool, err := b.app.DB()
	must(t, err)
	pool.SetMaxOpenConns(1) // one statement cache
	return &counter{bundle: b, proxy: proxy, next: 1}
}

// count runs a write until its statements are prepared, and counts then.
func (c *counter) count(t *testing.T, write budgeted, rows int) (n int) {
	t.Helper()
	for range 3 {
		c.next += 1000
		c.proxy.Reset()
		if err := write.do(c.as(c.hal), rows, c.next); err != nil {
			t.Fatalf("%s of %d rows: %v", write.name, rows, err)
		}
		n = c.proxy.RoundTrips()
	}
	return n
}
