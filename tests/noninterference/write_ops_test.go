package noninterference

import (
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// writer makes an operation of a write.
func writer(text string, foreign bool, write func(db *gorm.DB, tenantID string) (any, *gorm.DB)) op {
	return op{text: text, foreign: foreign, run: func(db *gorm.DB, tenantID string) (any, int64, error) {
		result, tx := write(db, tenantID)
		return result, tx.RowsAffected, tx.Error
	}}
}

// member draws a member of the tenant's; its team may be another's.
func member(t *rapid.T, w world) (build func(tenantID string) Member, text string, foreign bool) {
	m := Member{ID: w.own(t), Name: name(t), N: small(t)}
	if rapid.Bool().Draw(t, "in a team") {
		id, isForeign := w.key(t)
		m.TeamID, foreign = &id, isForeign
		text = fmt.Sprintf(" TeamID: %d", id)
	}
	return func(tenantID string) Member { m := m; m.TenantID = tenantID; return m },
		fmt.Sprintf("Member{ID: %d Name: %s N: %d%s}", m.ID, m.Name, m.N, text), foreign
}

var creators = map[string]drawer{
	"Create": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		return writer("Create(&"+text+")", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			return &m, db.Create(&m)
		})
	},
	"Create slice": func(t *rapid.T, w world) op {
		one, text1, foreign1 := member(t, w)
		two, text2, foreign2 := member(t, w)
		return writer("Create(&[]"+text1+text2+")", foreign1 || foreign2, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			rows := []Member{one(tenantID), two(tenantID)}
			return &rows, db.Create(&rows)
		})
	},
	"CreateInBatches": func(t *rapid.T, w world) op {
		one, text1, foreign1 := member(t, w)
		two, text2, foreign2 := member(t, w)
		return writer("CreateInBatches(&[]"+text1+text2+", 1)", foreign1 || foreign2, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			a, b := one(tenantID), two(tenantID)
			rows := []*Member{&a, &b}
			return &rows, db.CreateInBatches(&rows, 1)
		})
	},
	"Create map": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		return writer("Model(&Member{}).Create(map "+text+")", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			row := map[string]any{"id": m.ID, "name": m.Name, "n": m.N, "TeamID": m.TeamID}
			if tenantID != "" {
				row["tenant_id"] = tenantID
			}
			return nil, db.Model(&Member{}).Create(row)
		})
	},
	"Create nested": func(t *rapid.T, w world) op {
		id, title, n := w.own(t), name(t), small(t)
		build, text, _ := member(t, w)
		return writer(fmt.Sprintf("Create(&Team{ID: %d Name: %s Badge Notes Tags Members: %s})", id, title, text), false, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			m.TeamID = nil
			team := Team{ID: id, TenantID: tenantID, Name: title, N: n, Badge: &Badge{TenantID: tenantID, N: n}, Members: []Member{m},
				Notes: []Note{{ID: id, TenantID: tenantID, Text: title}}, Tags: []Tag{{ID: id, TenantID: tenantID, Name: title}}}
			return &team, db.Create(&team)
		})
	},
	"FirstOrCreate": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		return writer("Where(Member{Name}).Attrs("+text+").FirstOrCreate(&Member{})", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m, found := build(tenantID), Member{}
			return &found, db.Where(Member{Name: m.Name}).Attrs(m).FirstOrCreate(&found)
		})
	},
	"FirstOrCreate Assign": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		return writer("Where(Member{ID}).Assign("+text+").FirstOrCreate(&Member{})", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m, found := build(tenantID), Member{}
			return &found, db.Where(Member{ID: m.ID}).Assign(Member{Name: m.Name, N: m.N, TenantID: tenantID}).FirstOrCreate(&found)
		})
	},
	"FirstOrInit": func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		return writer(fmt.Sprintf("FirstOrInit(&Member{}, %d)", id), foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) {
			var found Member
			return &found, db.Where("id = ?", id).FirstOrInit(&found)
		})
	},
	"Upsert nothing": upsert("DoNothing", clause.OnConflict{DoNothing: true}),
	"Upsert columns": upsert("DoUpdates: n", clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"n"})}),
	"Upsert by name": upsert("DoUpdates: n on name", clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"n"})}),
	"Upsert all":     upsert("UpdateAll", clause.OnConflict{UpdateAll: true}),
}

func upsert(text string, conflict clause.OnConflict) drawer {
	return func(t *rapid.T, w world) op {
		build, member, foreign := member(t, w)
		return writer("OnConflict{"+text+"}.Create(&"+member+")", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			return &m, db.Clauses(conflict).Create(&m)
		})
	}
}

var savers = map[string]drawer{
	"Save": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		return writer("Save(&"+text+")", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			return &m, db.Save(&m)
		})
	},
	"Save slice": func(t *rapid.T, w world) op {
		one, text, foreign := member(t, w)
		return writer("Save(&[]"+text+")", foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			rows := []Member{one(tenantID)}
			return &rows, db.Save(&rows)
		})
	},
	"Save all": func(t *rapid.T, w world) op {
		build, text, foreign := member(t, w)
		id, title := w.own(t), name(t)
		return writer(fmt.Sprintf("FullSaveAssociations.Save(&%s with Team{ID: %d Name: %s})", text, id, title), foreign, func(db *gorm.DB, tenantID string) (any, *gorm.DB) {
			m := build(tenantID)
			m.TeamID, m.Team = nil, &Team{ID: id, TenantID: tenantID, Name: title}
			return &m, db.Session(&gorm.Session{FullSaveAssociations: true}).Save(&m)
		})
	},
}

// changer makes a drawer of a change with a condition.
func changer(text string, change func(db *gorm.DB, n int) (any, *gorm.DB)) drawer {
	return func(t *rapid.T, w world) op {
		c, n := where(t, w), small(t)
		return writer(fmt.Sprintf("%s.%s n=%d", c.text, text, n), c.foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) {
			return change(c.on(db).Session(&gorm.Session{}), n)
		})
	}
}

// changers are the finishers that update and delete T.
func changers[T any](model string) map[string]drawer {
	table := map[string]string{"Team": "teams", "Member": "members"}[model]
	all := map[string]drawer{
		"Update": changer(`Update("n")`, func(db *gorm.DB, n int) (any, *gorm.DB) { return nil, db.Model(new(T)).Update("n", n) }),
		"Updates map": changer(`Updates(map)`, func(db *gorm.DB, n int) (any, *gorm.DB) {
			return nil, db.Model(new(T)).Updates(map[string]any{"n": gorm.Expr("n + ?", n)})
		}),
		"Updates sub-query": changer(`Updates(count of members)`, func(db *gorm.DB, _ int) (any, *gorm.DB) {
			return nil, db.Model(new(T)).Update("n", gorm.Expr("(?)", fresh(db).Model(&Member{}).Select("count(*)")))
		}),
		"UpdateColumn": changer(`UpdateColumn("n")`, func(db *gorm.DB, n int) (any, *gorm.DB) { return nil, db.Model(new(T)).UpdateColumn("n", n) }),
		"Table Updates": changer(`Table("`+table+`").Updates(map)`, func(db *gorm.DB, n int) (any, *gorm.DB) {
			return nil, db.Table(table).Updates(map[string]any{"n": n})
		}),
		"Returning": changer("Clauses(clause.Returning{}).Update(\"n\")", func(db *gorm.DB, n int) (any, *gorm.DB) {
			var rows []T
			tx := db.Model(&rows).Clauses(clause.Returning{}).Update("n", n)
			return rows, tx
		}),
		"Delete": changer("Delete(&"+model+"{})", func(db *gorm.DB, _ int) (any, *gorm.DB) { return nil, db.Delete(new(T)) }),
		"Delete all": func(t *rapid.T, _ world) op {
			global := rapid.Bool().Draw(t, "AllowGlobalUpdate")
			return writer(fmt.Sprintf("AllowGlobalUpdate=%t Delete(&Note{}), then Update of all %s", global, model), false, func(db *gorm.DB, _ string) (any, *gorm.DB) {
				db = db.Session(&gorm.Session{AllowGlobalUpdate: global})
				deleted := db.Delete(&Note{})
				return []any{deleted.RowsAffected, errorKind(deleted.Error)}, db.Model(new(T)).Update("n", 1)
			})
		},
		"Delete key": func(t *rapid.T, w world) op {
			id, foreign := w.key(t)
			unscoped := rapid.Bool().Draw(t, "Unscoped")
			return writer(fmt.Sprintf("Unscoped=%t Delete(&%s{}, %d)", unscoped, model, id), foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) {
				if unscoped {
					db = db.Unscoped()
				}
				return nil, db.Delete(new(T), id)
			})
		},
	}
	named := map[string]drawer{}
	for finisher, d := range all {
		named[model+": "+finisher] = d
	}
	return named
}
