package noninterference

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// op is one operation. Its run gets the tenant's id where the test has to fill
// it in, and an empty text where the plugin does.
type op struct {
	finisher string
	text     string // as GORM code, for whoever reads a failure
	foreign  bool   // it addresses another tenant's key
	refused  bool   // it is hand-written SQL that has to be refused
	outside  bool   // it does not run in the transaction around it
	run      func(db *gorm.DB, tenantID string) (result any, affected int64, err error)
}

// world is what a tenant's operations draw from.
type world struct {
	base, other int64 // where its ids and another tenant's begin
	self, rival string
	form        form
	audited     bool
}

func newWorld(site int, f form, audited bool) world {
	next := (site + 1) % len(tenants)
	return world{base(site), base(next), tenants[site], tenants[next], f, audited}
}

// base is where a tenant's ids begin.
func base(site int) int64 { return int64(1000 * (site + 1)) }

// own draws a key of the tenant's, in use or not.
func (w world) own(t *rapid.T) int64 { return w.base + rapid.Int64Range(1, 6).Draw(t, "own") }

// key draws a key to address, and whether it is another tenant's.
func (w world) key(t *rapid.T) (int64, bool) {
	if rapid.IntRange(0, 2).Draw(t, "whose") == 0 {
		return w.other + rapid.Int64Range(1, 4).Draw(t, "foreign"), true
	}
	return w.own(t), false
}

func small(t *rapid.T) int { return rapid.IntRange(0, 4).Draw(t, "n") }

func name(t *rapid.T) string {
	return rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "name")
}

// drawer draws one kind of operation.
type drawer func(t *rapid.T, w world) op

var drawers = sync.OnceValue(func() map[string]drawer {
	all := map[string]drawer{}
	for _, group := range []map[string]drawer{
		handReads, handWrites, readers[Member]("Member"), readers[Team]("Team"), relationReaders, creators, changers[Member]("Member"), changers[Team]("Team"), savers, associations,
	} {
		maps.Copy(all, group)
	}
	return all
})

// finishers are the names of the drawers.
var finishers = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(drawers())) })

func drawOp(t *rapid.T, w world) op {
	if rapid.IntRange(0, 14).Draw(t, "in a transaction") == 0 {
		return drawTransaction(t, w)
	}
	return drawPlain(t, w)
}

func drawPlain(t *rapid.T, w world) op {
	names := finishers()
	finisher := names[evenly(t, len(names))]
	o := drawers()[finisher](t, w)
	o.finisher = finisher
	return o
}

// evenly draws a number below n, which rapid's own ranges do not: they prefer
// small ones, and the last finishers would hardly run.
func evenly(t *rapid.T, n int) int {
	drawn := 0
	for _, bit := range rapid.SliceOfN(rapid.Bool(), 10, 10).Draw(t, "bits") {
		drawn *= 2
		if bit {
			drawn++
		}
	}
	return drawn % n
}

// drawTransaction draws operations that are kept or rolled back together.
func drawTransaction(t *rapid.T, w world) op {
	plain := rapid.Custom(func(t *rapid.T) op { return drawPlain(t, w) })
	inner := rapid.SliceOfN(plain.Filter(func(o op) bool { return !o.refused && !o.outside }), 1, 3).Draw(t, "inner")
	rollback := rapid.Bool().Draw(t, "rollback")
	o := op{finisher: "Transaction", text: "Transaction {"}
	for _, i := range inner {
		o.text += " " + i.text + ";"
		o.foreign = o.foreign || i.foreign
	}
	o.text += fmt.Sprintf(" } rollback=%t", rollback)
	o.run = func(db *gorm.DB, tenantID string) (any, int64, error) {
		var outcomes []any
		err := db.Transaction(func(tx *gorm.DB) error {
			for _, i := range inner {
				out := run(tx, i, tenantID)
				outcomes = append(outcomes, out)
				if out.Error != "" && out.Error != "not found" {
					return fmt.Errorf("%s", out.Error) // PostgreSQL's transaction is lost
				}
			}
			if rollback {
				return gorm.ErrInvalidTransaction
			}
			return nil
		})
		return outcomes, 0, err
	}
	return o
}

// condition is a WHERE.
type condition struct {
	text    string
	foreign bool
	on      func(db *gorm.DB) *gorm.DB
}

// where draws a condition on Team or Member.
func where(t *rapid.T, w world) condition {
	id, foreign := w.key(t)
	n := small(t)
	conditions := []condition{
		{fmt.Sprintf(`Where("id = ?", %d)`, id), foreign, func(db *gorm.DB) *gorm.DB { return db.Where("id = ?", id) }},
		{fmt.Sprintf(`Where("id IN ?", [%d %d])`, id, w.base+1), foreign, func(db *gorm.DB) *gorm.DB { return db.Where("id IN ?", []int64{id, w.base + 1}) }},
		{fmt.Sprintf(`Where("n >= ?", %d)`, n), false, func(db *gorm.DB) *gorm.DB { return db.Where("n >= ?", n) }},
		{fmt.Sprintf(`Where("n = ?", %d).Or("1 = 1")`, n), false, func(db *gorm.DB) *gorm.DB { return db.Where("n = ?", n).Or("1 = 1") }},
		{fmt.Sprintf(`Where("n = ?", %d).Or("id = ?", %d)`, n, id), foreign, func(db *gorm.DB) *gorm.DB { return db.Where("n = ?", n).Or("id = ?", id) }},
		{fmt.Sprintf(`Not("n = ?", %d)`, n), false, func(db *gorm.DB) *gorm.DB { return db.Not("n = ?", n) }},
		{fmt.Sprintf(`Where(Where("n = ?", %d).Or("id = ?", %d))`, n, id), foreign, func(db *gorm.DB) *gorm.DB {
			return db.Where(fresh(db).Where("n = ?", n).Or("id = ?", id))
		}},
		{fmt.Sprintf(`Where("tenant_id = ?", %q)`, w.rival), true, func(db *gorm.DB) *gorm.DB { return db.Where("tenant_id = ?", w.rival) }},
		{fmt.Sprintf(`Where("1 = 1").Or("tenant_id = ?", %q)`, w.rival), true, func(db *gorm.DB) *gorm.DB { return db.Where("1 = 1").Or("tenant_id = ?", w.rival) }},
		{fmt.Sprintf(`Where("id IN (?)", Model(&Badge{}).Select("team_id").Where("n >= ?", %d))`, n), false, func(db *gorm.DB) *gorm.DB {
			return db.Where("id IN (?)", fresh(db).Model(&Badge{}).Select("team_id").Where("n >= ?", n))
		}},
		{fmt.Sprintf(`Where("id IN (?)", Table("members").Select("id").Where("tenant_id = ?", %q))`, w.rival), true, func(db *gorm.DB) *gorm.DB {
			return db.Where("id IN (?)", fresh(db).Table("members").Select("id").Where("tenant_id = ?", w.rival))
		}},
		{fmt.Sprintf(`Where("EXISTS (?)", Table("members AS m").Select("1").Where("m.id = ?", %d))`, id), foreign, func(db *gorm.DB) *gorm.DB {
			return db.Where("EXISTS (?)", fresh(db).Table("members AS m").Select("1").Where("m.id = ?", id))
		}},
	}
	return rapid.SampledFrom(conditions).Draw(t, "where")
}

// fresh returns a handle with the context and nothing else.
func fresh(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{NewDB: true}) }
