package replay

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// deleter makes a drawer of what is done to the things that a condition finds.
func deleter(text string, remove func(db *gorm.DB) error) drawer {
	return func(t *rapid.T) op {
		w := drawWhere(t)
		return simple(text+" "+w.text, func(db *gorm.DB) error { return remove(w.on(db).Session(&gorm.Session{})) })
	}
}

var deleters = map[string]drawer{
	"Delete":          deleter("soft delete", func(db *gorm.DB) error { return db.Delete(&Thing{}).Error }),
	"Delete unscoped": deleter("delete", func(db *gorm.DB) error { return db.Unscoped().Delete(&Thing{}).Error }),
	"Restore": deleter("restore", func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).Update("deleted_at", nil).Error
	}),
	"Restore column": deleter("restore by UpdateColumn", func(db *gorm.DB) error {
		return db.Unscoped().Model(&Thing{}).UpdateColumns(map[string]any{"deleted_at": gorm.Expr("NULL"), "n": 1}).Error
	}),
	"Delete returning": deleter("soft delete returning", func(db *gorm.DB) error {
		return db.Clauses(clause.Returning{}).Delete(&[]Thing{}).Error
	}),
	"Delete unscoped returning": deleter("delete returning", func(db *gorm.DB) error {
		return db.Unscoped().Clauses(clause.Returning{Columns: columns("id", "code")}).Delete(&[]Thing{}).Error
	}),
	"Delete key": func(t *rapid.T) op {
		id := drawID(t)
		return simple(fmt.Sprintf("Delete(&Thing{}, %d)", id), func(db *gorm.DB) error { return db.Delete(&Thing{}, id).Error })
	},
	"Delete slots": func(t *rapid.T) op {
		room, number := drawRoom(t), drawNumber(t)
		return simple(fmt.Sprintf("Where(room=%s).Or(number=%d).Delete(&Slot{})", room, number), func(db *gorm.DB) error {
			return db.Where("room = ?", room).Or("number = ?", number).Delete(&Slot{}).Error
		})
	},
	"Delete composite": func(t *rapid.T) op {
		room, number := drawRoom(t), drawNumber(t)
		return simple(fmt.Sprintf("Delete(&Slot{%s %d})", room, number), func(db *gorm.DB) error {
			return db.Delete(&Slot{Room: room, Number: number}).Error
		})
	},
	"Delete slice": func(t *rapid.T) op {
		one, two := drawID(t), drawID(t)
		return simple(fmt.Sprintf("Delete(&[]Label{%d %d})", one, two), func(db *gorm.DB) error {
			return db.Delete(&[]Label{{ID: one}, {ID: two}}).Error
		})
	},
	"Delete owner": func(t *rapid.T) op { // which a slot may refer to
		id := drawID(t)
		return simple(fmt.Sprintf("Delete(&Owner{}, %d)", id), func(db *gorm.DB) error { return db.Delete(&Owner{}, id).Error })
	},
	"Delete with": func(t *rapid.T) op {
		id := drawID(t)
		return simple(fmt.Sprintf("Select(Associations).Delete(&Owner{ID: %d})", id), func(db *gorm.DB) error {
			return db.Select(clause.Associations).Delete(&Owner{ID: id}).Error
		})
	},
	"Delete traps": func(t *rapid.T) op {
		w := rapid.IntRange(0, 3).Draw(t, "w")
		return simple(fmt.Sprintf("Where(w = %d).Delete(&Trap{})", w), func(db *gorm.DB) error { return db.Where("w = ?", w).Delete(&Trap{}).Error })
	},
	"Delete tickets": func(t *rapid.T) op {
		allow := rapid.Bool().Draw(t, "AllowGlobalUpdate")
		return simple(fmt.Sprintf("AllowGlobalUpdate=%t Delete(&Ticket{})", allow), func(db *gorm.DB) error {
			return db.Session(&gorm.Session{AllowGlobalUpdate: allow}).Delete(&Ticket{}).Error
		})
	},
}

// associator makes a drawer of a call in association mode, on slots or labels.
func associator(method string, call func(a *gorm.Association, row any) error) drawer {
	return func(t *rapid.T) op {
		id, slot, label := drawID(t), drawSlot(t), drawLabel(t)
		slot.OwnerID = nil
		many, unscoped := rapid.Bool().Draw(t, "many2many"), rapid.IntRange(0, 3).Draw(t, "unscoped") == 0
		name := "Slots"
		if many {
			name = "Labels"
		}
		return simple(fmt.Sprintf("Model(&Owner{ID: %d}).Association(%s).%s(%s %s) unscoped=%t", id, name, method, show(slot), show(label), unscoped), func(db *gorm.DB) error {
			slot, label := slot, label
			a := db.Model(&Owner{ID: id, TenantID: tenant}).Association(name)
			if unscoped {
				a = a.Unscoped()
			}
			if many {
				return call(a, &label)
			}
			return call(a, &slot)
		})
	}
}

var associations = map[string]drawer{
	"Association Append":  associator("Append", func(a *gorm.Association, row any) error { return a.Append(row) }),
	"Association Replace": associator("Replace", func(a *gorm.Association, row any) error { return a.Replace(row) }),
	"Association Delete":  associator("Delete", func(a *gorm.Association, row any) error { return a.Delete(row) }),
	"Association Clear":   associator("Clear", func(a *gorm.Association, _ any) error { return a.Clear() }),
}
