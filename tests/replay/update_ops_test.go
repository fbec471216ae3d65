package replay

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// expressions set what Go has no value for, and what depends on the row. They are
// made anew for each draw.
func expressions() []change {
	all := []change{}
	for _, c := range [][2]string{
		{"n", "n + 1"}, {"n", "n * 2 - id"}, {"until", "'infinity'"}, {"until", "'-infinity'"}, {"until", "at"}, {"at", "at + interval '1 hour'"},
		{"words", "'{a,NULL}'"}, {"words", "words || 'x'::text"}, {"words", "'{{a},{b}}'"}, {"numbers", "'[0:1]={1,2}'"}, {"numbers", "array_append(numbers, NULL)"},
		{"amount", "amount * 10"}, {"amount", "'Infinity'"}, {"ratio", "ratio + 0.1"}, {"day", "day + 1"},
		{"doc", "jsonb_build_object('n', n)"}, {"span", "span * 2"}, {"blob", "decode('00ff', 'hex')"}, {"status", "DEFAULT"}, {"text", "text || code"},
		{"at", "now()"}, {"api_token", "md5(code)"}, {"phone", "code"},
	} {
		all = append(all, change{c[0], gorm.Expr(c[1])})
	}
	return append(all, change{"until", gorm.Expr("'0044-03-15 12:00Z BC'")})
}

// updater makes a drawer of updates of one column of the things that a condition finds.
func updater(text string, update func(db *gorm.DB, c change) error) drawer {
	return func(t *rapid.T) op {
		w, c := drawWhere(t), drawChange(t)
		return simple(fmt.Sprintf("%s on %s: %s = %s", text, w.text, c.column, show(c.value)), func(db *gorm.DB) error {
			return update(w.on(db).Session(&gorm.Session{}), c)
		})
	}
}

var setUpdates = map[string]drawer{
	"Update":       updater("Update", func(db *gorm.DB, c change) error { return db.Model(&Thing{}).Update(c.column, c.value).Error }),
	"UpdateColumn": updater("UpdateColumn", func(db *gorm.DB, c change) error { return db.Model(&Thing{}).UpdateColumn(c.column, c.value).Error }),
	"Updates map": updater("Updates", func(db *gorm.DB, c change) error {
		return db.Model(&Thing{}).Updates(map[string]any{c.column: c.value, "size_height": gorm.Expr("n")}).Error
	}),
	"Updates unscoped": updater("Unscoped.Updates", func(db *gorm.DB, c change) error {
		return db.Unscoped().Model(&Thing{}).Updates(map[string]any{c.column: c.value}).Error
	}),
	"Update by table": updater("Table.Updates", func(db *gorm.DB, c change) error {
		return db.Table("things").Updates(map[string]any{c.column: c.value}).Error
	}),
	"Update returning": updater("Returning.Update", func(db *gorm.DB, c change) error {
		return db.Model(&[]Thing{}).Clauses(clause.Returning{}).Update(c.column, c.value).Error
	}),
	"Update returning columns": updater("Returning(id, n).Update", func(db *gorm.DB, c change) error {
		return db.Model(&[]Thing{}).Clauses(clause.Returning{Columns: columns("id", "n")}).Update(c.column, c.value).Error
	}),
	"Update sub-query": updater("Update count", func(db *gorm.DB, _ change) error {
		return db.Model(&Thing{}).Update("n", gorm.Expr("(?)", fresh(db).Table("things AS other").Select("count(*)").Where("other.n > things.n"))).Error
	}),
	"Update of all": func(t *rapid.T) op {
		allow := rapid.Bool().Draw(t, "AllowGlobalUpdate")
		return simple(fmt.Sprintf("AllowGlobalUpdate=%t, points+1 of all owners", allow), func(db *gorm.DB) error {
			return db.Session(&gorm.Session{AllowGlobalUpdate: allow}).Model(&Owner{}).Update("points", gorm.Expr("points + 1")).Error
		})
	},
	"Update of none": func(t *rapid.T) op { // of nothing but the time
		id := drawID(t)
		return simple(fmt.Sprintf("Model(Thing %d).Update(n, n)", id), func(db *gorm.DB) error {
			return db.Model(&Thing{ID: id}).Update("n", gorm.Expr("n")).Error
		})
	},
	"Update slots": func(t *rapid.T) op {
		room, text := drawRoom(t), pick(t, "text", refs)
		return simple(fmt.Sprintf("Where(room=%s).Updates(text=%s seats+1)", room, show(text)), func(db *gorm.DB) error {
			return db.Model(&Slot{}).Where("room = ?", room).Updates(map[string]any{"text": text, "seats": gorm.Expr("seats + 1")}).Error
		})
	},
}

var updates = map[string]drawer{
	"Updates struct": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Model.Updates("+show(m)+")", func(db *gorm.DB) error { m := m; return db.Model(&Thing{ID: m.ID}).Updates(m).Error })
	},
	"Updates selected": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Select(N Meta Text APIToken Size).Updates("+show(m)+")", func(db *gorm.DB) error {
			m := m
			return db.Model(&Thing{}).Where("id = ?", m.ID).Select("N", "Meta", "Text", "APIToken", "Width", "Price").Updates(&m).Error
		})
	},
	"Updates omitted": func(t *rapid.T) op {
		o := drawOwner(t)
		id := drawID(t)
		return simple(fmt.Sprintf("Omit(Name).Updates(%s) of %d", show(o), id), func(db *gorm.DB) error {
			o := o
			return db.Model(&Owner{ID: id}).Omit("Name").Updates(o).Error
		})
	},
	"Update key": func(t *rapid.T) op {
		from, to := drawID(t), drawID(t)
		return simple(fmt.Sprintf("Model(Thing %d).Update(id, %d)", from, to), func(db *gorm.DB) error {
			return db.Model(&Thing{ID: from}).Update("id", to).Error
		})
	},
	"Update keys": func(t *rapid.T) op {
		by := pick(t, "by", []int{100, -100})
		return simple(fmt.Sprintf("Where(id).Update(id, id + %d)", by), func(db *gorm.DB) error {
			return db.Model(&Thing{}).Where("id BETWEEN ? AND ?", 10-by, 90-by).Or("id BETWEEN 1 AND 3 AND ? > 0", by).
				UpdateColumn("id", gorm.Expr("id + ?", by)).Error
		})
	},
	"Update composite key": func(t *rapid.T) op {
		from, to := drawSlot(t), drawSlot(t)
		return simple(fmt.Sprintf("Model(%s).Updates(%s)", show(from), show(to)), func(db *gorm.DB) error {
			return db.Model(&Slot{}).Where("room = ? AND number = ?", from.Room, from.Number).
				Updates(map[string]any{"room": to.Room, "number": to.Number, "text": to.Text}).Error
		})
	},
	"Update keys of a room": func(t *rapid.T) op {
		from, to := drawRoom(t), drawRoom(t)
		return simple(fmt.Sprintf("Where(room=%s).Update(room, %s)", from, to), func(db *gorm.DB) error {
			return db.Model(&Slot{}).Where("room = ?", from).Update("room", to).Error
		})
	},
	"Update traps": func(t *rapid.T) op {
		m := drawTrap(t)
		returning := rapid.Bool().Draw(t, "returning")
		return simple(fmt.Sprintf("returning=%t Where(w < %d).Updates(%s)", returning, m.W+2, show(m)), func(db *gorm.DB) error {
			if returning {
				db = db.Clauses(clause.Returning{Columns: columns("k", "old", "a \"b\"")})
			}
			return db.Model(&[]Trap{}).Where("w < ?", m.W+2).Updates(map[string]any{
				"k": gorm.Expr("w"), "old": gorm.Expr(`"new"`), "new": m.New, "auto": m.Auto, "order": m.Order, "MixedCase": m.Mixed, `a "b"`: m.Quoted, "été": m.Foreign,
			}).Error
		})
	},
	"Update ticket": func(t *rapid.T) op {
		text := pick(t, "text", texts)
		return simple("Updates(title, password = "+text+")", func(db *gorm.DB) error {
			return db.Model(&Ticket{}).Where("title <> ?", "b").Updates(Ticket{Title: text, Password: text}).Error
		})
	},
	"Update found": func(t *rapid.T) op {
		c := drawChange(t)
		return simple(fmt.Sprintf("First, then Update(%s, %s)", c.column, show(c.value)), func(db *gorm.DB) error {
			var m Thing
			if err := fresh(db).Select("id", "n", "code", "text").Order("n DESC, id").First(&m).Error; err != nil {
				return err
			}
			return db.Model(&m).Update(c.column, c.value).Error
		})
	},
}

var savers = map[string]drawer{
	"Save": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Save(&"+show(m)+")", func(db *gorm.DB) error { m := m; return db.Save(&m).Error })
	},
	"Save slice": func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawThing), 1, 3).Draw(t, "things")
		return simple(fmt.Sprintf("Save(&%d things)", len(all)), func(db *gorm.DB) error {
			rows := append([]Thing{}, all...)
			return db.Save(&rows).Error
		})
	},
	"Save slot": func(t *rapid.T) op {
		s := drawSlot(t)
		return simple("Save(&"+show(s)+")", func(db *gorm.DB) error { s := s; return db.Save(&s).Error })
	},
	"Save owner": func(t *rapid.T) op {
		o := drawOwner(t)
		o.ID = drawID(t)
		return simple("Save(&"+show(o)+")", func(db *gorm.DB) error { o := o; return db.Save(&o).Error })
	},
	"Save all": func(t *rapid.T) op {
		o, s, l := drawOwner(t), drawSlot(t), drawLabel(t)
		o.ID, s.OwnerID = drawID(t), nil
		return simple("FullSaveAssociations.Save(&"+show(o)+" with "+show(s)+" and "+show(l)+")", func(db *gorm.DB) error {
			o := o
			o.Slots, o.Labels = []Slot{s}, []Label{l}
			return db.Session(&gorm.Session{FullSaveAssociations: true}).Save(&o).Error
		})
	},
	"Save read": func(t *rapid.T) op {
		n := drawN(t)
		return simple(fmt.Sprintf("First, then Save with n = %d", n), func(db *gorm.DB) error {
			var o Owner
			if err := fresh(db).Order("id").First(&o).Error; err != nil {
				return err
			}
			o.Points = n
			return db.Save(&o).Error
		})
	},
}
