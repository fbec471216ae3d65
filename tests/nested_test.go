package tests

import (
	"context"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// lookedUp is a value that a statement of its own finds while the statement
// around it is built, as GORM's GormValuerInterface offers.
type lookedUp struct{ write bool } //nolint:recvcheck // to scan it needs a pointer, to be a value none

// GormDataType implements schema.GormDataTypeInterface.
func (lookedUp) GormDataType() string { return "text" }

// Scan implements sql.Scanner.
func (*lookedUp) Scan(any) error { return nil }

// GormValue implements gorm.Valuer.
func (l lookedUp) GormValue(_ context.Context, db *gorm.DB) clause.Expr {
	db = db.Session(&gorm.Session{NewDB: true})
	if l.write {
		_ = db.AddError(db.Create(&Page{Title: "written inside"}).Error)
	}
	var titles []string
	_ = db.AddError(db.Model(&Page{}).Order("title").Pluck("title", &titles).Error)
	return gorm.Expr("?", strings.Join(titles, ","))
}

type TFound struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Found    lookedUp
}

func TestStatementInsideOfAStatement(t *testing.T) {
	t.Parallel()
	for _, noAudit := range []bool{false, true} {
		b := walls{}.with(t, noAudit, []any{&TFound{}}, nil, "CREATE TABLE t_founds (id bigint PRIMARY KEY, tenant_id text, found text)")
		seed(t, b)
		hal := b.as(b.hal)
		must(t, hal.Create(&TFound{ID: 1}).Error)
		must(t, hal.Create(&TFound{ID: 2, Found: lookedUp{write: true}}).Error)
		must(t, hal.Where("found = ?", lookedUp{}).Find(&[]TFound{}).Error)
		must(t, hal.Model(&TFound{}).Where("id = 1").Update("found", lookedUp{}).Error)
		if rows := b.text(t, "SELECT concat_ws(' ', tenant_id, found) FROM t_founds ORDER BY id"); rows != "hal hal page,written inside; hal hal page,written inside" {
			t.Errorf("rows are %s", rows)
		}
	}
}
