package replay

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// generic runs a call of GORM's generic interface, which takes its context anew.
func generic(text string, call func(ctx context.Context, db *gorm.DB) error) op {
	return simple(text, func(db *gorm.DB) error { return call(db.Statement.Context, db) })
}

// others are ways of calling GORM that are less common.
var others = map[string]drawer{
	"Generic create": func(t *rapid.T) op {
		m := drawThing(t)
		return generic("G[Thing].Create("+show(m)+")", func(ctx context.Context, db *gorm.DB) error {
			m := m
			return gorm.G[Thing](db).Create(ctx, &m)
		})
	},
	"Generic update": func(t *rapid.T) op {
		id, c := drawID(t), drawChange(t)
		return generic(fmt.Sprintf("G[Thing].Where(id >= %d).Update(%s, %s)", id, c.column, show(c.value)), func(ctx context.Context, db *gorm.DB) error {
			_, err := gorm.G[Thing](db).Where("id >= ?", id).Update(ctx, c.column, c.value)
			return err
		})
	},
	"Generic delete": func(t *rapid.T) op {
		number := drawNumber(t)
		return generic(fmt.Sprintf("G[Slot].Where(number = %d).Delete", number), func(ctx context.Context, db *gorm.DB) error {
			_, err := gorm.G[Slot](db).Where("number = ?", number).Delete(ctx)
			return err
		})
	},
	"Generic upsert": func(t *rapid.T) op {
		m := drawThing(t)
		return generic("G[Thing](OnConflict{UpdateAll}).Create("+show(m)+")", func(ctx context.Context, db *gorm.DB) error {
			m := m
			return gorm.G[Thing](db, clause.OnConflict{UpdateAll: true}).Create(ctx, &m)
		})
	},
	"Updates of a slice": func(t *rapid.T) op {
		one, two, c := drawID(t), drawID(t), drawChange(t)
		return simple(fmt.Sprintf("Model(&[]Thing{%d %d}).Update(%s, %s)", one, two, c.column, show(c.value)), func(db *gorm.DB) error {
			return db.Model(&[]Thing{{ID: one}, {ID: two}}).Update(c.column, c.value).Error
		})
	},
	"Updates of all columns": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Select(*).Omit(CreatedAt).Updates("+show(m)+")", func(db *gorm.DB) error {
			m := m
			return db.Model(&Thing{ID: m.ID}).Select("*").Omit("CreatedAt").Updates(&m).Error
		})
	},
	"Update by alias": func(t *rapid.T) op {
		n, c := drawN(t), drawChange(t)
		return simple(fmt.Sprintf("Table(things AS t).Where(t.n <= %d).Update(%s, %s)", n, c.column, show(c.value)), func(db *gorm.DB) error {
			return db.Table("things AS t").Where("t.n <= ?", n).Updates(map[string]any{c.column: c.value}).Error
		})
	},
	"Belongs-to replace": func(t *rapid.T) op {
		s, o := drawSlot(t), drawOwner(t)
		return simple(fmt.Sprintf("Model(%s).Association(Owner).Replace(%s)", show(s), show(o)), func(db *gorm.DB) error {
			s, o := s, o
			return db.Model(&s).Association("Owner").Replace(&o)
		})
	},
	"Belongs-to clear": func(t *rapid.T) op {
		s := drawSlot(t)
		return simple(fmt.Sprintf("Model(%s).Association(Owner).Clear()", show(s)), func(db *gorm.DB) error {
			s := s
			return db.Model(&s).Association("Owner").Clear()
		})
	},
	"Upsert partial": func(t *rapid.T) op {
		m := drawTrap(t)
		return simple("OnConflict{w WHERE auto}.Create("+show(m)+")", func(db *gorm.DB) error {
			m := m
			return db.Clauses(clause.OnConflict{Columns: columns("tenant_id", "w"), DoUpdates: clause.AssignmentColumns([]string{"k", "order"}),
				TargetWhere: clause.Where{Exprs: []clause.Expression{gorm.Expr("auto")}}}).Create(&m).Error
		})
	},
	"Delete where join": func(t *rapid.T) op {
		word := pick(t, "word", texts)
		return simple("Where(label_id IN labels of "+word+").Delete(&OwnerLabel{})", func(db *gorm.DB) error {
			return db.Where("label_id IN (?)", fresh(db).Model(&Label{}).Select("id").Where("word = ?", word)).Delete(&OwnerLabel{}).Error
		})
	},
	"Save zero key": func(t *rapid.T) op {
		o := drawOwner(t)
		return simple("Save("+show(o)+")", func(db *gorm.DB) error { o := o; return db.Save(&o).Error })
	},
}
