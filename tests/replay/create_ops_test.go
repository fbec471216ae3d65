package replay

import (
	"fmt"
	"maps"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

var creators = map[string]drawer{
	"Create": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Create(&"+show(m)+")", func(db *gorm.DB) error { m := m; return db.Create(&m).Error })
	},
	"Create slice": func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawThing), 1, 4).Draw(t, "things")
		return simple(fmt.Sprintf("Create(&%d things)", len(all)), func(db *gorm.DB) error {
			rows := append([]Thing{}, all...)
			return db.Create(&rows).Error
		})
	},
	"CreateInBatches": func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawLabel), 1, 5).Draw(t, "labels")
		return simple(fmt.Sprintf("CreateInBatches(&%d labels, 2)", len(all)), func(db *gorm.DB) error {
			rows := append([]Label{}, all...)
			return db.CreateInBatches(&rows, 2).Error
		})
	},
	"Create map": func(t *rapid.T) op {
		m, c := drawThing(t), drawValue(t)
		values := map[string]any{"id": m.ID, "tenant_id": tenant, "code": m.Code, "n": m.N, "words": m.Words, "size_width": 0, "note": ""}
		values[c.column] = c.value
		return simple("Model(&Thing{}).Create("+show(values)+")", func(db *gorm.DB) error { return db.Model(&Thing{}).Create(maps.Clone(values)).Error })
	},
	"Create maps": func(t *rapid.T) op {
		one, two := drawLabel(t), drawLabel(t)
		return simple("Model(&Label{}).Create([]map"+show(one)+show(two)+")", func(db *gorm.DB) error {
			return db.Model(&Label{}).Create([]map[string]any{
				{"id": one.ID, "tenant_id": tenant, "word": one.Word}, {"id": two.ID, "tenant_id": tenant, "word": gorm.Expr("upper(?)", two.Word)},
			}).Error
		})
	},
	"Create nested": func(t *rapid.T) op {
		o, s, l := drawOwner(t), drawSlot(t), drawLabel(t)
		s.OwnerID = nil
		return simple("Create(&"+show(o)+" with "+show(s)+" and "+show(l)+")", func(db *gorm.DB) error {
			o := o
			o.Slots, o.Labels = []Slot{s}, []Label{l}
			return db.Create(&o).Error
		})
	},
	"Create belongs-to": func(t *rapid.T) op {
		o, s := drawOwner(t), drawSlot(t)
		return simple("Create(&"+show(s)+" of "+show(o)+")", func(db *gorm.DB) error {
			o, s := o, s
			s.OwnerID, s.Owner = nil, &o
			return db.Create(&s).Error
		})
	},
	"Create generated": func(t *rapid.T) op {
		n := rapid.IntRange(1, 3).Draw(t, "tickets")
		return simple(fmt.Sprintf("Create(&%d tickets)", n), func(db *gorm.DB) error {
			rows := make([]Ticket, n)
			for i := range rows {
				rows[i] = Ticket{TenantID: tenant, Title: fmt.Sprint(i), Password: "p"}
			}
			return db.Create(&rows).Error
		})
	},
	"Create returning": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Clauses(Returning{}).Create(&"+show(m)+")", func(db *gorm.DB) error {
			m := m
			return db.Clauses(clause.Returning{}).Create(&m).Error
		})
	},
	"FirstOrCreate": func(t *rapid.T) op {
		m := drawThing(t)
		return simple("Where(Code).Attrs.FirstOrCreate("+show(m)+")", func(db *gorm.DB) error {
			return db.Where(Thing{Code: m.Code}).Attrs(m).FirstOrCreate(&Thing{}).Error
		})
	},
	"FirstOrCreate Assign": func(t *rapid.T) op {
		o := drawOwner(t)
		return simple("Where(Name).Assign.FirstOrCreate("+show(o)+")", func(db *gorm.DB) error {
			return db.Where(Owner{Name: o.Name}).Assign(Owner{TenantID: tenant, Points: o.Points}).FirstOrCreate(&Owner{}).Error
		})
	},
}

// upserter makes a drawer of upserts of things, one or several.
func upserter(name string, conflict clause.OnConflict) drawer {
	return func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawThing), 1, 3).Draw(t, "things")
		returning := rapid.IntRange(0, 3).Draw(t, "returning") == 0
		text := ""
		for _, m := range all {
			text += " " + show(m)
		}
		return simple(fmt.Sprintf("OnConflict{%s}.Create(&%s) returning=%t", name, text, returning), func(db *gorm.DB) error {
			rows := append([]Thing{}, all...)
			if returning {
				db = db.Clauses(clause.Returning{})
			}
			return db.Clauses(conflict).Create(&rows).Error
		})
	}
}

func columns(names ...string) (out []clause.Column) {
	for _, name := range names {
		out = append(out, clause.Column{Name: name})
	}
	return out
}

var byCode = columns("tenant_id", "code") // a unique key that is not the primary key

var upserts = map[string]drawer{
	"Upsert nothing":         upserter("DoNothing", clause.OnConflict{DoNothing: true}),
	"Upsert nothing by code": upserter("code: DoNothing", clause.OnConflict{Columns: byCode, DoNothing: true}),
	"Upsert all":             upserter("UpdateAll", clause.OnConflict{UpdateAll: true}),
	"Upsert all by code":     upserter("code: UpdateAll", clause.OnConflict{Columns: byCode, UpdateAll: true}),
	"Upsert columns":         upserter("id: n, words, amount, note, phone", clause.OnConflict{Columns: columns("id"), DoUpdates: clause.AssignmentColumns([]string{"n", "words", "amount", "note", "phone"})}),
	"Upsert by code": upserter("code: n += excluded.n, text ||= excluded.code, ratio = 1", clause.OnConflict{Columns: byCode, DoUpdates: clause.Assignments(map[string]any{
		"n": gorm.Expr("things.n + excluded.n"), "text": gorm.Expr("things.text || excluded.code"), "ratio": 1,
	})}),
	"Upsert where": upserter("code: n, big WHERE things.n < excluded.n", clause.OnConflict{Columns: byCode, DoUpdates: clause.AssignmentColumns([]string{"n", "big"}),
		Where: clause.Where{Exprs: []clause.Expression{gorm.Expr("things.n < excluded.n")}}}),
	"Upsert new key": upserter("code: id, n", newKey),
	"Upsert default key": func(t *rapid.T) op {
		n := drawN(t)
		return simple("upsert by code, tenant_id by default", func(db *gorm.DB) error { return byDefault(db, n) })
	},
	"Upsert restores": upserter("code: deleted_at = NULL", clause.OnConflict{Columns: byCode, DoUpdates: clause.Assignments(map[string]any{"deleted_at": nil})}),
	"Upsert traps": func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawTrap), 1, 3).Draw(t, "traps")
		return simple(fmt.Sprintf("OnConflict{UpdateAll}.Create(&%d traps)", len(all)), func(db *gorm.DB) error {
			rows := append([]Trap{}, all...)
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
		})
	},
	"Upsert composite": func(t *rapid.T) op {
		all := rapid.SliceOfN(rapid.Custom(drawSlot), 1, 4).Draw(t, "slots")
		return simple(fmt.Sprintf("OnConflict{UpdateAll}.Create(&%d slots)", len(all)), func(db *gorm.DB) error {
			rows := append([]Slot{}, all...)
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&rows).Error
		})
	},
	"Upsert generated key": func(t *rapid.T) op {
		o := drawOwner(t)
		return simple("OnConflict{name: points+}.Create(&"+show(o)+")", func(db *gorm.DB) error {
			o := o
			return db.Clauses(clause.OnConflict{Columns: columns("tenant_id", "name"),
				DoUpdates: clause.Assignments(map[string]any{"points": gorm.Expr("owners.points + 1")})}).Create(&o).Error
		})
	},
}
