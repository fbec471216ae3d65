package noninterference

import (
	"fmt"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// handReads are reads, and one change that GORM builds, with SQL of the caller's that reaches a tenant's table, and
// names no tenant. Without policies they do not run.
var handReads = map[string]drawer{
	"Raw": handRead(`Raw("SELECT * FROM members")`, func(db *gorm.DB, _ int64) (any, *gorm.DB) {
		return into(db.Raw("SELECT * FROM members"), &[]Member{})
	}),
	"Raw key": handRead(`Raw("SELECT * FROM teams WHERE id = ?")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Raw("SELECT * FROM teams WHERE id = ?", id), &[]Team{})
	}),
	"Raw UNION": handRead(`Raw("TABLE … UNION ALL …")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Raw("SELECT id, n FROM teams UNION ALL SELECT id, n FROM members WHERE id <> ?", id), &[]row{})
	}),
	"Raw aggregate": handRead(`Raw("SELECT count(*), sum(n) FROM teams, members")`, func(db *gorm.DB, _ int64) (any, *gorm.DB) {
		return into(db.Raw("SELECT count(*) AS id, coalesce(sum(t.n), 0) AS n FROM teams t CROSS JOIN members m"), &row{})
	}),
	"Raw WITH": handRead(`Raw("WITH RECURSIVE …")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Raw(`WITH RECURSIVE up AS (SELECT id, n, parent_id FROM teams WHERE id = ?
			UNION SELECT t.id, t.n, t.parent_id FROM teams t JOIN up ON t.id = up.parent_id) SELECT id, n FROM up`, id), &[]row{})
	}),
	"Raw Row": handRead(`Raw("SELECT …").Row()`, func(db *gorm.DB, _ int64) (any, *gorm.DB) {
		var n int64
		err := db.Raw("SELECT count(*) FROM notes").Row().Scan(&n)
		return n, &gorm.DB{Error: err}
	}),
	"Where sub-select": handRead(`Where("id IN (SELECT …)")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Where("id IN (SELECT team_id FROM members WHERE team_id = ?)", id), &[]Team{})
	}),
	"Select sub-select": handRead(`Select("(SELECT max(n) FROM teams)")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Model(&Member{}).Select("id, (SELECT max(n) FROM teams WHERE id <> ?) AS n", id), &[]row{})
	}),
	"Joins by hand": handRead(`Joins("JOIN teams …")`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return into(db.Joins("JOIN teams ON teams.id = ?", id), &[]Member{})
	}),
	"Set sub-select": handRead(`Update("n", Expr("(SELECT …)"))`, func(db *gorm.DB, id int64) (any, *gorm.DB) {
		return nil, db.Model(&Member{}).Where("1 = 1").Update("n", gorm.Expr("(SELECT count(*) FROM teams WHERE id <> ?)", id))
	}),
	"DB": func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		if !w.form.policies {
			return quiet() // no wall of the form stands there
		}
		return op{text: fmt.Sprintf(`DB().QueryRow("SELECT …", %d)`, id), foreign: foreign, outside: true, run: func(db *gorm.DB, _ string) (any, int64, error) {
			pool, err := db.DB()
			if err != nil {
				return nil, 0, err
			}
			var text string
			err = pool.QueryRowContext(db.Statement.Context, "SELECT coalesce(string_agg(id::text, ',' ORDER BY id), '') FROM members WHERE id <> $1", id).Scan(&text)
			return text, 0, err
		}}
	},
}

// quiet is an operation that does nothing.
func quiet() op {
	return op{text: "nothing", run: func(*gorm.DB, string) (any, int64, error) { return nil, 0, nil }}
}

func into(db *gorm.DB, rows any) (any, *gorm.DB) { return rows, db.Find(rows) }

// handWrites are writes by hand, which do not run where they are audited either.
var handWrites = map[string]drawer{
	"Exec update": handWrite(`Exec("UPDATE members SET n = n + 1")`, func(db *gorm.DB, _ int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec("UPDATE members SET n = n + 1")
	}),
	"Exec update key": handWrite(`Exec("UPDATE members SET team_id = ?")`, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec("UPDATE members SET team_id = ?", id)
	}),
	"Exec delete": handWrite(`Exec("DELETE FROM notes")`, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec("DELETE FROM notes WHERE owner_id <> ?", id)
	}),
	"Exec delete team": handWrite(`Exec("DELETE FROM teams")`, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec("DELETE FROM teams WHERE id >= ? AND name > 'a'", id)
	}),
	"Exec insert": handWrite(`Exec("INSERT INTO members …")`, func(db *gorm.DB, id int64, self string) (any, *gorm.DB) {
		return nil, db.Exec(`INSERT INTO members (id, tenant_id, name, n, team_id) SELECT max(id) + 1, ?, 'x', 0, ? FROM members HAVING max(id) IS NOT NULL`, self, id)
	}),
	"Exec insert select": handWrite(`Exec("INSERT INTO notes SELECT … FROM members")`, func(db *gorm.DB, _ int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec(`INSERT INTO notes (id, tenant_id, owner_id, owner_type, text)
			SELECT id + 100, tenant_id, id, 'members', name FROM members ON CONFLICT (id) DO UPDATE SET text = notes.text || excluded.text`)
	}),
	"Exec merge": handWrite(`Exec("MERGE INTO members …")`, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) {
		return nil, db.Exec(`MERGE INTO members m USING teams t ON m.team_id = t.id WHEN MATCHED AND t.id = ? THEN DELETE WHEN MATCHED THEN UPDATE SET n = t.n`, id)
	}),
	"Raw returning": handWrite(`Raw("UPDATE teams … RETURNING id, n")`, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) {
		return into(db.Raw("UPDATE teams SET n = n + 1 WHERE id <> ? RETURNING id, n", id), &[]row{})
	}),
	"Raw WITH delete": handWrite(`Raw("WITH gone AS (DELETE …) SELECT …")`, func(db *gorm.DB, _ int64, _ string) (any, *gorm.DB) {
		return into(db.Raw("WITH gone AS (DELETE FROM team_tags RETURNING team_id) SELECT team_id AS id, count(*) AS n FROM gone GROUP BY 1"), &[]row{})
	}),
}

func handRead(text string, do func(db *gorm.DB, id int64) (any, *gorm.DB)) drawer {
	return byHand(text, func(w world) bool { return !w.form.policies }, func(db *gorm.DB, id int64, _ string) (any, *gorm.DB) { return do(db, id) })
}

func handWrite(text string, do func(db *gorm.DB, id int64, self string) (any, *gorm.DB)) drawer {
	return byHand(text, func(w world) bool { return !w.form.policies || w.audited }, do)
}

func byHand(text string, refused func(world) bool, do func(db *gorm.DB, id int64, self string) (any, *gorm.DB)) drawer {
	return func(t *rapid.T, w world) op {
		id, foreign := w.key(t)
		o := writer(fmt.Sprintf("%s with %d", text, id), foreign, func(db *gorm.DB, _ string) (any, *gorm.DB) { return do(db, id, w.self) })
		o.refused = refused(w)
		return o
	}
}
