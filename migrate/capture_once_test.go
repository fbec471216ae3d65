package migrate_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// onceCase is a change through the plugin on captured tables. Each row that changed
// has to be in the trail once.
type onceCase struct {
	name   string
	before []string // SQL of a superuser's
	change func(app *gorm.DB) error
	want   []string
}

var errBack = errors.New("roll back")

// byName is an upsert onto the code of sheets.
var byName = clause.OnConflict{Columns: []clause.Column{{Name: "code"}}, DoUpdates: clause.AssignmentColumns([]string{"title"})}

// meddling is a function that writes to sheets inside of a statement.
const meddling = `CREATE FUNCTION meddle(n bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN UPDATE sheets SET views = views + 1 WHERE id = 3; RETURN n; END $$`

var onceCases = []onceCase{
	{"create", nil, func(app *gorm.DB) error { return app.Create(&Sheet{Code: "n"}).Error }, []string{"create sheets 4"}},
	{"create in batches", nil, func(app *gorm.DB) error {
		return app.CreateInBatches([]Sheet{{Code: "n1"}, {Code: "n2"}, {Code: "n3"}}, 2).Error
	}, []string{"create sheets 4", "create sheets 5", "create sheets 6"}},
	{"create with an association", nil, func(app *gorm.DB) error { return app.Create(&Sheet{Code: "n", Folder: &Folder{Name: "g"}}).Error },
		[]string{"create folders 2", "create sheets 4"}},
	{"update", nil, func(app *gorm.DB) error { return app.Model(&Sheet{ID: 1}).Update("title", "x").Error }, []string{"update sheets 1"}},
	{"update of many, of which one changes nothing", nil, func(app *gorm.DB) error {
		return app.Model(&Sheet{}).Where("1 = 1").Update("title", "t2").Error
	}, []string{"update sheets 1", "update sheets 3"}},
	{"update with RETURNING", nil, func(app *gorm.DB) error {
		return app.Model(&[]Sheet{}).Clauses(clause.Returning{}).Where("id < 3").Update("title", "x").Error
	}, []string{"update sheets 1", "update sheets 2"}},
	{"update of nothing", nil, func(app *gorm.DB) error { return app.Model(&Sheet{ID: 77}).Update("title", "x").Error }, nil},
	{"save", nil, func(app *gorm.DB) error {
		var s Sheet
		return errors.Join(app.First(&s, 2).Error, app.Save(&s).Error, app.Save(&s).Error)
	}, []string{"update sheets 2"}}, // NULLs became empty
	{"upsert of both", nil, func(app *gorm.DB) error {
		return app.Clauses(byName).Create([]Sheet{{Code: "c1", Title: "u"}, {Code: "n"}, {Code: "c2", Title: "t2"}}).Error
	}, []string{"create sheets 5", "update sheets 1"}},
	{"upsert of none", nil, func(app *gorm.DB) error {
		return app.Clauses(clause.OnConflict{DoNothing: true}).Create(&Sheet{Code: "c1"}).Error
	}, nil},
	{"delete", nil, func(app *gorm.DB) error { return app.Unscoped().Delete(&Sheet{ID: 1}).Error }, []string{"delete sheets 1"}},
	{"delete of many with RETURNING", nil, func(app *gorm.DB) error {
		return app.Unscoped().Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}}}).Where("id > 1").Delete(&[]Sheet{}).Error
	}, []string{"delete sheets 2", "delete sheets 3"}},
	{"soft delete and restore", nil, func(app *gorm.DB) error {
		return errors.Join(app.Delete(&Sheet{ID: 1}).Error, app.Unscoped().Model(&Sheet{ID: 1}).Update("deleted_at", nil).Error)
	}, []string{"restore sheets 1", "soft_delete sheets 1"}},
	{"delete with cascades into the same table", []string{`UPDATE sheets SET parent_id = id - 1 WHERE id > 1`}, func(app *gorm.DB) error {
		return app.Unscoped().Delete(&Sheet{ID: 1}).Error
	}, []string{"delete sheets 1", "delete sheets 2", "delete sheets 3"}},
	{"update of a key with cascades into the same table", []string{`UPDATE sheets SET parent_id = 1 WHERE id > 1`}, func(app *gorm.DB) error {
		return app.Model(&Sheet{}).Where("id = 1").UpdateColumn("id", 11).Error
	}, []string{"update sheets 1", "update sheets 2", "update sheets 3"}},
	{"delete with cascades into other tables", []string{`UPDATE sheets SET folder_id = 1 WHERE id < 3`, `INSERT INTO ties VALUES ('a', 1, 1)`}, func(app *gorm.DB) error {
		return app.Delete(&Folder{ID: 1}).Error
	}, []string{"delete folders 1", "delete sheets 1", "delete sheets 2", `update ties ["a","1"]`}},
	{"delete with cascades out of a table without triggers", []string{`UPDATE sheets SET folder_id = 1 WHERE id < 3`, `DROP TRIGGER courtroll_capture_delete ON folders`},
		func(app *gorm.DB) error { return app.Delete(&Folder{ID: 1}).Error }, []string{"delete folders 1", "delete sheets 1", "delete sheets 2"}},
	{"delete with cascades through another table into the same", []string{`ALTER TABLE folders ADD sheet_id bigint REFERENCES sheets ON DELETE CASCADE`,
		`UPDATE folders SET sheet_id = 1`, `UPDATE sheets SET folder_id = 1 WHERE id = 2`},
		func(app *gorm.DB) error { return app.Unscoped().Delete(&Sheet{ID: 1}).Error },
		[]string{"delete folders 1", "delete sheets 1", "delete sheets 2"}},
	{"in a savepoint that is rolled back", nil, func(app *gorm.DB) error {
		return app.Transaction(func(tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&Sheet{ID: 1}).Update("title", "x").Error, errBack)
			})
			return errors.Join(tx.Model(&Sheet{ID: 2}).Update("title", "x").Error,
				tx.Transaction(func(tx *gorm.DB) error { return tx.Model(&Sheet{ID: 3}).Update("title", "x").Error }))
		})
	}, []string{"update sheets 2", "update sheets 3"}},
	{"then SQL by hand in the same transaction", nil, func(app *gorm.DB) error {
		return app.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Model(&Sheet{ID: 1}).Update("title", "x").Error, rawExec(tx, `UPDATE sheets SET views = 7 WHERE id = 1`),
				tx.Model(&Sheet{ID: 1}).Update("title", "y").Error)
		})
	}, []string{"update sheets 1", "update sheets 1", "update sheets 1"}},
	{"then SQL by hand after a savepoint that is rolled back", nil, func(app *gorm.DB) error {
		return app.Transaction(func(tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&Sheet{ID: 1}).Update("title", "x").Error, errBack)
			})
			return rawExec(tx, `UPDATE sheets SET views = 7 WHERE id = 1`)
		})
	}, []string{"update sheets 1"}},
	{"and nothing is left over for a trigger that is enabled later", []string{`ALTER TABLE sheets DISABLE TRIGGER USER`,
		`CREATE FUNCTION on_again() RETURNS void LANGUAGE sql SECURITY DEFINER AS 'ALTER TABLE sheets ENABLE TRIGGER USER'`},
		func(app *gorm.DB) error {
			return app.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Model(&Sheet{ID: 1}).Update("title", "x").Error, rawExec(tx, `SELECT on_again()`),
					rawExec(tx, `UPDATE sheets SET views = 7 WHERE id = 2`))
			})
		}, []string{"update sheets 1", "update sheets 2"}},
	{"with a function in WHERE that writes to the table", []string{meddling}, func(app *gorm.DB) error {
		return app.Model(&Sheet{}).Where("id = 1 AND meddle(id) = 1").Update("title", "x").Error
	}, []string{"update sheets 1", "update sheets 3"}},
	{"with a function in SET that writes to the table", []string{meddling}, func(app *gorm.DB) error {
		return app.Model(&Sheet{ID: 1}).Update("views", gorm.Expr("meddle(5)")).Error
	}, []string{"update sheets 1", "update sheets 3"}},
	{"with a function in RETURNING that writes to the table", []string{meddling}, func(app *gorm.DB) error {
		return app.Model(&[]Sheet{}).Clauses(clause.Returning{Columns: []clause.Column{{Name: "meddle(id) AS id", Raw: true}}}).
			Where("id = 1").Update("title", "x").Error
	}, []string{"update sheets 1", "update sheets 3"}},
	{"with triggers that write to the table, before and after", []string{
		`CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			IF pg_trigger_depth() = 1 THEN UPDATE sheets SET views = views + 1 WHERE id = TG_ARGV[0]::bigint; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER a_before BEFORE UPDATE ON sheets FOR EACH ROW EXECUTE FUNCTION touch(2)`,
		`CREATE TRIGGER z_after AFTER UPDATE ON sheets FOR EACH ROW EXECUTE FUNCTION touch(3)`},
		func(app *gorm.DB) error { return app.Model(&Sheet{ID: 1}).Update("title", "x").Error },
		[]string{"update sheets 1", "update sheets 2", "update sheets 3"}},
	{"with a trigger that keeps rows from being changed", []string{
		`CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF OLD.id = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$`,
		`CREATE TRIGGER keep BEFORE UPDATE ON sheets FOR EACH ROW EXECUTE FUNCTION keep()`},
		func(app *gorm.DB) error { return app.Model(&Sheet{}).Where("1 = 1").Update("title", "x").Error },
		[]string{"update sheets 1", "update sheets 3"}},
	{"many to be changed", []string{`INSERT INTO terms SELECT FROM generate_series(1, 3)`}, func(app *gorm.DB) error {
		return app.Where("1 = 1").Delete(&Term{}).Error
	}, []string{"delete terms -", "delete terms -", "delete terms -"}},
}

// rawExec sends SQL past the plugins, on the transaction's connection.
func rawExec(tx *gorm.DB, query string) error {
	_, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, query)
	return err
}

func TestCaptureRecordsOnce(t *testing.T) {
	t.Parallel()
	for _, test := range onceCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, true)
			d.seedSheets(t)
			d.super.exec(t, test.before...)
			d.brief(t)
			if err := test.change(d.gorm(t)); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(test.want, d.brief(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}
