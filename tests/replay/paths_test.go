package replay

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// shape is a call of GORM's, on n rows, which begin at first.
type shape struct {
	name string
	call func(db *gorm.DB, n int) *gorm.DB
}

const first = 1001

func thingsOf(n int) []Thing {
	all := make([]Thing, n)
	for i := range all {
		all[i] = Thing{ID: int64(first + i), TenantID: tenant, Code: fmt.Sprint("code ", first+i), N: 50}
	}
	return all
}

func onThings(db *gorm.DB, n int) *gorm.DB {
	return db.Where("id BETWEEN ? AND ?", first, first+n-1).Session(&gorm.Session{})
}

// shapes are the documented ones. All find n things, and two children of the first
// owner.
var shapes = []shape{
	{"create", func(db *gorm.DB, n int) *gorm.DB { return db.Create(labelsOf(n)) }},
	{"create maps", func(db *gorm.DB, n int) *gorm.DB {
		var all []map[string]any
		for _, l := range *labelsOf(n) {
			all = append(all, map[string]any{"id": l.ID, "tenant_id": tenant, "word": "w"})
		}
		return db.Model(&Label{}).Create(all)
	}},
	{"upsert nothing", func(db *gorm.DB, n int) *gorm.DB {
		all := thingsOf(n + 1)
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&all)
	}},
	{"upsert all", func(db *gorm.DB, n int) *gorm.DB {
		all := thingsOf(n + 1)
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&all)
	}},
	{"upsert by code", func(db *gorm.DB, n int) *gorm.DB {
		all := thingsOf(n)
		return db.Clauses(clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"n"})}).Create(&all)
	}},
	{"update", func(db *gorm.DB, n int) *gorm.DB { return onThings(db, n).Model(&Thing{}).Update("text", "x") }},
	{"update of nothing", func(db *gorm.DB, n int) *gorm.DB { return onThings(db, n).Model(&Thing{}).Update("n", gorm.Expr("n")) }},
	{"update by expression", func(db *gorm.DB, n int) *gorm.DB {
		return onThings(db, n).Model(&Thing{}).Updates(map[string]any{"n": gorm.Expr("n + 1"), "code": gorm.Expr("code || 'x'")})
	}},
	{"update of keys", func(db *gorm.DB, n int) *gorm.DB {
		return onThings(db, n).Model(&Thing{}).UpdateColumn("id", gorm.Expr("id + 100000"))
	}},
	{"update returning", func(db *gorm.DB, n int) *gorm.DB {
		return onThings(db, n).Model(&[]Thing{}).Clauses(clause.Returning{}).Update("text", "x")
	}},
	{"soft delete", func(db *gorm.DB, n int) *gorm.DB { return onThings(db, n).Delete(&Thing{}) }},
	{"delete", func(db *gorm.DB, n int) *gorm.DB { return onThings(db, n).Unscoped().Delete(&Thing{}) }},
	{"delete returning", func(db *gorm.DB, n int) *gorm.DB {
		return onThings(db, n).Unscoped().Clauses(clause.Returning{}).Delete(&[]Thing{})
	}},
	{"save", func(db *gorm.DB, _ int) *gorm.DB { return db.Save(&thingsOf(1)[0]) }},
	{"save slice", func(db *gorm.DB, n int) *gorm.DB { all := thingsOf(n); return db.Save(&all) }},
	{"create nested", func(db *gorm.DB, n int) *gorm.DB {
		o := Owner{TenantID: tenant, Name: "nested", Labels: *labelsOf(n)}
		for i := range n {
			o.Slots = append(o.Slots, Slot{Room: "nested", Number: i, TenantID: tenant, Seats: 1})
		}
		return db.Create(&o)
	}},
}

func labelsOf(n int) *[]Label {
	all := make([]Label, n)
	for i := range all {
		all[i] = Label{ID: int64(first + i), TenantID: tenant, Word: "w"}
	}
	return &all
}

// TestPaths counts what is sent for a call: for one row and for many the same
// number of statements, which is plain GORM's. The catalogue, which is read once for
// a table, is left out. As many rows are affected as with plain GORM, and each leaves an entry.
func TestPaths(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			l, bare := f.open(t), newLab(t, plain, alone)
			must(t, setupJoin(bare.app))
			for _, s := range shapes {
				l.tryShape(t, bare, s, gorm.Session{}, 1, 100)
				l.tryShape(t, bare, s, gorm.Session{SkipDefaultTransaction: true}, 10)
				l.tryShape(t, bare, s, gorm.Session{PrepareStmt: true}, 10)
			}
		})
	}
}

func (l *lab) tryShape(t *testing.T, bare *lab, s shape, mode gorm.Session, sizes ...int) {
	t.Helper()
	for _, n := range sizes {
		want, wantSent := bare.call(t, s, mode, n)
		got, sent := l.call(t, s, mode, n)
		if got != want {
			t.Errorf("%s of %d: %d rows affected, want %d", s.name, n, got, want)
		}
		if len(sent.sent) != len(wantSent.sent) {
			t.Errorf("%s of %d: %d statements were sent, plain GORM sends %d:\n%s", s.name, n, len(sent.sent), len(wantSent.sent), strings.Join(sent.sent, "\n"))
		}
		if fault := sent.fault(); fault != "" {
			t.Errorf("%s of %d: %s", s.name, n, fault)
		}
		if fault := l.check(&coverage{actions: map[string]int{}}); fault != "" {
			t.Errorf("%s of %d: %s", s.name, n, fault)
		}
	}
}

// call makes the call on n things that are there, and returns what was sent.
func (l *lab) call(t *testing.T, s shape, mode gorm.Session, n int) (affected int64, sent *traffic) {
	t.Helper()
	must(t, l.reset())
	must(t, l.super.Exec(fmt.Sprintf(`SET LOCAL session_replication_role = replica; INSERT INTO things (id, tenant_id, code, n, size_width)
		SELECT i, 'acme', 'code ' || i, 1, 0 FROM generate_series(%d, %d) AS i`, first, first+n-1)).Error)
	var err error
	l.start, err = l.rows()
	must(t, err)
	l.wire.take()
	tx := s.call(l.app.WithContext(l.context(context.Background(), s.name)).Session(&mode), n)
	if tx.Error != nil {
		t.Fatalf("%s of %d: %v", s.name, n, tx.Error)
	}
	sent = l.wire.take()[s.name]
	if sent == nil {
		t.Fatalf("%s of %d: nothing was sent", s.name, n)
	}
	return tx.RowsAffected, sent
}
