package noninterference

import (
	"encoding/json"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"pgregory.net/rapid"
)

// row is what Team and Member have in common, for smaller structs and maps.
type row struct {
	ID int64
	N  int
}

// reader makes a drawer of a read with a condition.
func reader(text string, read func(db *gorm.DB) (any, int64, error)) drawer {
	return func(t *rapid.T, w world) op {
		c := where(t, w)
		return op{text: c.text + "." + text, foreign: c.foreign, run: func(db *gorm.DB, _ string) (any, int64, error) {
			return read(c.on(db).Session(&gorm.Session{}))
		}}
	}
}

// readers are the finishers that read T.
func readers[T any](model string) map[string]drawer {
	table := map[string]string{"Team": "teams", "Member": "members"}[model]
	all := map[string]drawer{
		"Find": reader("Find(&[]"+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var rows []T
			tx := db.Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"First": reader("First(&"+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var one T
			tx := db.First(&one)
			return one, tx.RowsAffected, tx.Error
		}),
		"Last": reader("Last(&"+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var one T
			tx := db.Last(&one)
			return one, tx.RowsAffected, tx.Error
		}),
		"Count": reader("Model(&"+model+"{}).Count(&n)", func(db *gorm.DB) (any, int64, error) {
			var n int64
			tx := db.Model(new(T)).Count(&n)
			return n, 0, tx.Error
		}),
		"Pluck": reader("Model(&"+model+`{}).Pluck("id", &ids)`, func(db *gorm.DB) (any, int64, error) {
			var ids []int64
			tx := db.Model(new(T)).Pluck("id", &ids)
			return ids, tx.RowsAffected, tx.Error
		}),
		"Scan": reader("Model(&"+model+"{}).Scan(&rows)", func(db *gorm.DB) (any, int64, error) {
			var rows []row
			tx := db.Model(new(T)).Scan(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Rows": reader("Model(&"+model+"{}).Rows()", func(db *gorm.DB) (any, int64, error) {
			cursor, err := db.Model(new(T)).Rows()
			if err != nil {
				return nil, 0, err
			}
			defer func() { _ = cursor.Close() }()
			var rows []T
			for cursor.Next() {
				var one T
				if err := db.ScanRows(cursor, &one); err != nil {
					return nil, 0, err
				}
				rows = append(rows, one)
			}
			return rows, 0, cursor.Err()
		}),
		"Row": reader("Model(&"+model+`{}).Select("coalesce(sum(n), 0)").Row()`, func(db *gorm.DB) (any, int64, error) {
			var sum int
			err := db.Model(new(T)).Select("coalesce(sum(n), 0)").Row().Scan(&sum)
			return sum, 0, err
		}),
		"FindInBatches": reader("FindInBatches(&[]"+model+"{}, 2, …)", func(db *gorm.DB) (any, int64, error) {
			var rows []T
			text := ""
			tx := db.FindInBatches(&rows, 2, func(_ *gorm.DB, batch int) error {
				text += ordered(rows)
				if batch == 5 { // with an Or, GORM finds the same rows without end
					return gorm.ErrInvalidData
				}
				return nil
			})
			return text, tx.RowsAffected, tx.Error
		}),
		"Order": reader(`Order("n DESC, id").Limit(2).Find(&[]`+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var rows []T
			tx := db.Order("n DESC, id").Limit(2).Find(&rows)
			return ordered(rows), tx.RowsAffected, tx.Error
		}),
		"Group": reader("Model(&"+model+`{}).Select("n, count(*) AS id").Group("n").Having("count(*) > 0").Find(&rows)`, func(db *gorm.DB) (any, int64, error) {
			var rows []row
			tx := db.Model(new(T)).Select("n, count(*) AS id").Group("n").Having("count(*) > 0").Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Unscoped": reader("Unscoped().Find(&[]"+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var rows []T
			tx := db.Unscoped().Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Table": reader(`Table("`+table+`").Find(&rows)`, func(db *gorm.DB) (any, int64, error) {
			var rows []row
			tx := db.Table(table).Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Table map": reader(`Table("`+table+` AS x").Select("x.id").Find(&[]map[string]any{})`, func(db *gorm.DB) (any, int64, error) {
			var rows []map[string]any
			tx := db.Table(table + " AS x").Select("x.id").Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Table of a sub-query": reader(`Table("(?) AS s", …).Find(&rows)`, func(db *gorm.DB) (any, int64, error) {
			var rows []row
			tx := fresh(db).Table("(?) AS s", db.Model(new(T)).Select("id", "n")).Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"Locking": reader("Clauses(clause.Locking{Strength: \"UPDATE\"}).Find(&[]"+model+"{})", func(db *gorm.DB) (any, int64, error) {
			var rows []T
			tx := db.Clauses(clause.Locking{Strength: "UPDATE"}).Find(&rows)
			return rows, tx.RowsAffected, tx.Error
		}),
		"G.Find": reader("gorm.G["+model+"].Find(ctx)", func(db *gorm.DB) (any, int64, error) {
			rows, err := gorm.G[T](fresh(db)).Where("id IN (?)", db.Model(new(T)).Select("id")).Find(db.Statement.Context)
			return rows, 0, err
		}),
		"G.Count": reader("gorm.G["+model+`].Count(ctx, "*")`, func(db *gorm.DB) (any, int64, error) {
			n, err := gorm.G[T](fresh(db)).Where("id IN (?)", db.Model(new(T)).Select("id")).Count(db.Statement.Context, "*")
			return n, 0, err
		}),
		"Take": func(t *rapid.T, w world) op {
			id, foreign := w.key(t)
			return op{text: fmt.Sprintf("Take(&%s{}, %d)", model, id), foreign: foreign, run: func(db *gorm.DB, _ string) (any, int64, error) {
				var one T
				tx := db.Take(&one, id)
				return one, tx.RowsAffected, tx.Error
			}}
		},
	}
	named := map[string]drawer{}
	for finisher, d := range all {
		named[model+": "+finisher] = d
	}
	return named
}

func ordered(rows any) string {
	raw, _ := json.Marshal(rows)
	return instant.ReplaceAllString(string(raw), `"T"`)
}

// relationReaders read along associations.
var relationReaders = map[string]drawer{
	"Preload": reader(`Preload("Members.Notes").Preload("Tags").Preload("Badge").Preload("Notes").Preload("Parent").Find(&[]Team{})`, func(db *gorm.DB) (any, int64, error) {
		var rows []Team
		tx := db.Preload("Members.Notes").Preload("Tags").Preload("Badge").Preload("Notes").Preload("Parent").Find(&rows)
		return rows, tx.RowsAffected, tx.Error
	}),
	"Preload with OR": reader(`Preload("Members", func(db) { return db.Where("n = 1").Or("1 = 1") }).Find(&[]Team{})`, func(db *gorm.DB) (any, int64, error) {
		var rows []Team
		tx := db.Preload("Members", func(db *gorm.DB) *gorm.DB { return db.Where("n = 1").Or("1 = 1") }).Find(&rows)
		return rows, tx.RowsAffected, tx.Error
	}),
	"Joins":       joiner(`Joins("Team")`, func(db *gorm.DB) *gorm.DB { return db.Joins("Team") }),
	"Joins ON":    joiner(`Joins("Team", Where("1 = 1").Or("1 = 0"))`, func(db *gorm.DB) *gorm.DB { return db.Joins("Team", fresh(db).Where("1 = 1").Or("1 = 0")) }),
	"InnerJoins":  joiner(`InnerJoins("Team")`, func(db *gorm.DB) *gorm.DB { return db.InnerJoins("Team") }),
	"Joins Joins": joiner(`Joins("Team.Parent").Joins("Team.Badge")`, func(db *gorm.DB) *gorm.DB { return db.Joins("Team").Joins("Team.Parent").Joins("Team.Badge") }),
}

func joiner(text string, join func(db *gorm.DB) *gorm.DB) drawer {
	return func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		n := small(t)
		return op{text: fmt.Sprintf(`%s.Where("members.n >= ?", %d).Or("members.id = ?", %d).Find(&[]Member{})`, text, n, id), foreign: foreign,
			run: func(db *gorm.DB, _ string) (any, int64, error) {
				var rows []Member
				tx := join(db).Where("members.n >= ?", n).Or("members.id = ?", id).Find(&rows)
				return rows, tx.RowsAffected, tx.Error
			}}
	}
}
