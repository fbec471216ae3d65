package noninterference

import (
	"fmt"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// opaques are statements with SQL of the caller's that reaches a tenant's table.
// A tenant does not meet another's rows through them: they do not run.
var opaques = map[string]drawer{
	"Raw":  opaque(`Raw("SELECT * FROM members")`, func(db *gorm.DB, _ int64) *gorm.DB { return db.Raw("SELECT * FROM members").Find(&[]Member{}) }),
	"Exec": opaque(`Exec("UPDATE members SET n = 9")`, func(db *gorm.DB, id int64) *gorm.DB { return db.Exec("UPDATE members SET n = 9 WHERE id = ?", id) }),
	"Where sub-select": opaque(`Where("id IN (SELECT id FROM members)")`, func(db *gorm.DB, id int64) *gorm.DB {
		return db.Where("id IN (SELECT team_id FROM members WHERE team_id = ?)", id).Find(&[]Team{})
	}),
	"Select sub-select": opaque(`Select("(SELECT max(n) FROM teams)")`, func(db *gorm.DB, id int64) *gorm.DB {
		return db.Model(&Member{}).Select("id, (SELECT max(n) FROM teams WHERE id = ?) AS n", id).Find(&[]row{})
	}),
	"Joins by hand": opaque(`Joins("JOIN teams ON true")`, func(db *gorm.DB, id int64) *gorm.DB {
		return db.Joins("JOIN teams ON teams.id = ?", id).Find(&[]Member{})
	}),
	"Set sub-select": opaque(`Update("n", Expr("(SELECT …)"))`, func(db *gorm.DB, id int64) *gorm.DB {
		return db.Model(&Member{}).Where("1 = 1").Update("n", gorm.Expr("(SELECT max(n) FROM teams WHERE id = ?)", id))
	}),
}

func opaque(text string, run func(db *gorm.DB, id int64) *gorm.DB) drawer {
	return func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		o := writer(fmt.Sprintf("%s id=%d", text, id), foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) { return nil, run(db, id) })
		o.opaque = true
		return o
	}
}
