package replay

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// op is one operation.
type op struct {
	kind  string
	text  string // as GORM code, for whoever reads a failure
	tx    bool   // it is a transaction, with operations of its own
	inner []op
	run   func(db *gorm.DB) error
}

// drawer draws one kind of operation.
type drawer func(t *rapid.T) op

var drawers = sync.OnceValue(func() map[string]drawer {
	all := map[string]drawer{}
	for _, group := range []map[string]drawer{creators, upserts, updates, setUpdates, savers, deleters, associations, others} {
		maps.Copy(all, group)
	}
	return all
})

// kinds are the names of the drawers.
var kinds = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(drawers())) })

// drawPlain draws an operation of any kind, all of which are as likely.
func drawPlain(t *rapid.T) op {
	kind := kinds()[evenly(t, len(kinds()))]
	o := drawers()[kind](t)
	o.kind = kind
	if o.text == "" {
		o.text = kind
	}
	return o
}

// evenly draws a number below n, which rapid's own ranges do not: they prefer
// small ones, and the last kinds would hardly run.
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

func drawID(t *rapid.T) int64 { return rapid.Int64Range(1, 9).Draw(t, "id") }

// drawN draws a number that now and then a CHECK refuses.
func drawN(t *rapid.T) int {
	return pick(t, "n", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 1, 2, 3, 100})
}

func drawCode(t *rapid.T) string {
	return pick(t, "code", []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k"})
}

func drawRoom(t *rapid.T) string { return pick(t, "room", rooms) }

func drawNumber(t *rapid.T) int { return rapid.IntRange(1, 4).Draw(t, "number") }

func drawOwner(t *rapid.T) Owner {
	return Owner{TenantID: tenant, Name: drawCode(t), Points: drawN(t) - rapid.IntRange(0, 1).Draw(t, "less")}
}

func drawSlot(t *rapid.T) Slot {
	s := Slot{Room: drawRoom(t), Number: drawNumber(t), TenantID: tenant, Text: pick(t, "text", refs), Seats: rapid.IntRange(0, 2).Draw(t, "seats")}
	if rapid.Bool().Draw(t, "owned") {
		s.OwnerID = ptr(drawID(t))
	}
	return s
}

func drawLabel(t *rapid.T) Label {
	return Label{ID: drawID(t), TenantID: tenant, Word: pick(t, "word", texts)}
}

func drawTrap(t *rapid.T) Trap {
	m := Trap{ID: rapid.Int64Range(1, 4).Draw(t, "id"), TenantID: tenant, W: rapid.IntRange(0, 3).Draw(t, "w"), Auto: rapid.Bool().Draw(t, "auto")}
	m.K, m.Order, m.Mixed, m.Quoted, m.Foreign = m.W, pick(t, "order", texts), pick(t, "mixed", texts), pick(t, "quoted", texts), pick(t, "foreign", texts)
	if m.Auto {
		m.New, m.Changes = ptr(m.W), m.Order
	}
	return m
}

// condition is a WHERE on things, of none, one or many rows.
type condition struct {
	text string
	on   func(db *gorm.DB) *gorm.DB
}

func drawWhere(t *rapid.T) condition {
	id, n, code := drawID(t), drawN(t), drawCode(t)
	return pick(t, "where", []condition{
		{fmt.Sprintf("id = %d", id), func(db *gorm.DB) *gorm.DB { return db.Where("id = ?", id) }},
		{fmt.Sprintf("id >= %d", id), func(db *gorm.DB) *gorm.DB { return db.Where("id >= ?", id) }},
		{"1 = 1", func(db *gorm.DB) *gorm.DB { return db.Where("1 = 1") }},
		{fmt.Sprintf("n < %d OR code = %s", n, code), func(db *gorm.DB) *gorm.DB { return db.Where("n < ?", n).Or("code = ?", code) }},
		{fmt.Sprintf("NOT n = %d", n), func(db *gorm.DB) *gorm.DB { return db.Not("n = ?", n) }},
		{fmt.Sprintf("EXISTS a child of n >= %d", n), func(db *gorm.DB) *gorm.DB {
			return db.Where("EXISTS (?)", fresh(db).Table("things AS child").Select("1").Where("child.parent_id = things.id AND child.n >= ?", n))
		}},
		{fmt.Sprintf("id IN those of n = %d", n), func(db *gorm.DB) *gorm.DB {
			return db.Where("id IN (?)", fresh(db).Model(&Thing{}).Select("id").Where("n = ?", n))
		}},
	})
}

// fresh returns a handle with the context and nothing else.
func fresh(db *gorm.DB) *gorm.DB { return db.Session(&gorm.Session{NewDB: true}) }

// simple makes an operation without a text of its own.
func simple(text string, run func(db *gorm.DB) error) op { return op{text: text, run: run} }
