package tests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// TSame has hooks that say when they run, what GORM generates, and constraints of each kind.
type TSame struct {
	ID        int64 `gorm:"primaryKey"`
	TenantID  string
	Name      string
	Code      *string `gorm:"uniqueIndex:idx_t_sames_code"`
	N         int     `gorm:"default:7"`
	State     string  `gorm:"default:made"`
	PageID    *int64
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
}

const sameTable = `CREATE TABLE t_sames (id bigserial PRIMARY KEY, tenant_id text NOT NULL, name text NOT NULL, code text,
	n bigint DEFAULT 7 CHECK (n >= 0), state text DEFAULT 'made', page_id bigint REFERENCES pages (id),
	created_at timestamptz, updated_at timestamptz, deleted_at timestamptz);
	CREATE UNIQUE INDEX idx_t_sames_code ON t_sames (code)`

type logKey struct{}

func (s *TSame) say(tx *gorm.DB, hook string) error {
	log, _ := tx.Statement.Context.Value(logKey{}).(*[]string)
	if log == nil {
		return nil
	}
	line := fmt.Sprintf("%s id=%d name=%s rows=%d", hook, s.ID, s.Name, tx.RowsAffected)
	if strings.HasPrefix(hook, "Before") && strings.HasSuffix(hook, "Update") {
		line += fmt.Sprint(" changed=", tx.Statement.Changed("Name"), tx.Statement.Changed("N"), tx.Statement.Changed())
	}
	*log = append(*log, line)
	if s.Name == hook {
		return errors.New("the hook's own error")
	}
	return nil
}

// BeforeSave and the others are GORM's hooks.
func (s *TSame) BeforeSave(tx *gorm.DB) error   { return s.say(tx, "BeforeSave") }
func (s *TSame) AfterSave(tx *gorm.DB) error    { return s.say(tx, "AfterSave") }
func (s *TSame) BeforeCreate(tx *gorm.DB) error { return s.say(tx, "BeforeCreate") }
func (s *TSame) AfterCreate(tx *gorm.DB) error  { return s.say(tx, "AfterCreate") }
func (s *TSame) BeforeUpdate(tx *gorm.DB) error {
	if s.Name == "replaced" {
		tx.Statement.SetColumn("Name", "by the hook")
	}
	return s.say(tx, "BeforeUpdate")
}
func (s *TSame) AfterUpdate(tx *gorm.DB) error  { return s.say(tx, "AfterUpdate") }
func (s *TSame) BeforeDelete(tx *gorm.DB) error { return s.say(tx, "BeforeDelete") }
func (s *TSame) AfterDelete(tx *gorm.DB) error  { return s.say(tx, "AfterDelete") }

// sameCase does something and returns what it left in the caller's values. The
// table holds three rows of hal's, and there are two pages.
type sameCase struct {
	name string
	do   func(db *gorm.DB) (*gorm.DB, any)
}

func code(s string) *string { return &s }

func upsertOn(column string, do clause.OnConflict) clause.OnConflict {
	do.Columns = []clause.Column{{Name: column}}
	return do
}

var sameCases = []sameCase{
	{"create", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "a"}; return db.Create(&v), &v }},
	{"create with all values", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 90, Name: "a", Code: code("c"), N: 5, State: "s"}
		return db.Create(&v), &v
	}},
	{"create of many", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{Name: "a"}, {Name: "b", N: 2}, {Name: "c"}}
		return db.Create(&v), &v
	}},
	{"create of pointers", func(db *gorm.DB) (*gorm.DB, any) { v := []*TSame{{Name: "a"}, {Name: "b"}}; return db.Create(v), v }},
	{"create in batches", func(db *gorm.DB) (*gorm.DB, any) {
		v := make([]TSame, 7)
		return db.CreateInBatches(&v, 3), &v
	}},
	{"create of a map", func(db *gorm.DB) (*gorm.DB, any) {
		v := map[string]any{"name": "a", "n": 3}
		return db.Model(&TSame{}).Create(v), v
	}},
	{"create of maps", func(db *gorm.DB) (*gorm.DB, any) {
		v := []map[string]any{{"name": "a"}, {"name": "b"}}
		return db.Model(&TSame{}).Create(&v), v
	}},
	{"create returning all", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{Name: "a"}
		return db.Clauses(clause.Returning{}).Create(&v), &v
	}},
	{"create returning one", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{Name: "a"}
		return db.Clauses(clause.Returning{Columns: []clause.Column{{Name: "state"}}}).Create(&v), &v
	}},
	{"create with select", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{Name: "a", N: 3}
		return db.Select("Name").Create(&v), &v
	}},
	{"create of nothing", func(db *gorm.DB) (*gorm.DB, any) { v := []TSame{}; return db.Create(&v), &v }},
	{"create without hooks", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{Name: "a"}
		return db.Session(&gorm.Session{SkipHooks: true}).Create(&v), &v
	}},
	{"create, refused before", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "BeforeCreate"}; return db.Create(&v), &v }},
	{"create, refused after", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "AfterCreate"}; return db.Create(&v), &v }},
	{"create, duplicate key", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 1, Name: "a"}; return db.Create(&v), &v }},
	{"create, duplicate code", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "a", Code: code("1")}; return db.Create(&v), &v }},
	{"create, foreign key", func(db *gorm.DB) (*gorm.DB, any) {
		none := int64(99)
		v := TSame{Name: "a", PageID: &none}
		return db.Create(&v), &v
	}},
	{"create, check", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "a", N: -1}; return db.Create(&v), &v }},
	{"create, not null", func(db *gorm.DB) (*gorm.DB, any) {
		v := map[string]any{"name": nil}
		return db.Model(&TSame{}).Create(v), v
	}},
	{"upsert of one that is there", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "a"}
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&v), &v
	}},
	{"upsert of many", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {ID: 91, Name: "b"}, {ID: 1, Name: "c"}}
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&v), &v
	}},
	{"upsert returning", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {ID: 91, Name: "b"}}
		do := upsertOn("id", clause.OnConflict{DoUpdates: clause.AssignmentColumns([]string{"name"})})
		return db.Clauses(do, clause.Returning{}).Create(&v), &v
	}},
	{"upsert with a condition", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {ID: 3, Name: "b"}}
		do := upsertOn("id", clause.OnConflict{
			DoUpdates: clause.AssignmentColumns([]string{"name"}),
			Where:     clause.Where{Exprs: []clause.Expression{clause.Eq{Column: clause.Column{Table: "t_sames", Name: "id"}, Value: 3}}},
		})
		return db.Clauses(do).Create(&v), &v
	}},
	{"upsert with expressions", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "a"}
		return db.Clauses(upsertOn("id", clause.OnConflict{DoUpdates: clause.Assignments(map[string]any{"n": gorm.Expr("t_sames.n + 10")})})).Create(&v), &v
	}},
	{"upsert of nothing", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {ID: 91, Name: "b"}}
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&v), &v
	}},
	{"upsert twice of one row", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {ID: 2, Name: "b"}}
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&v), &v
	}},
	{"upsert, check", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "a", N: -1}
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&v), &v
	}},
	{"save of one that is there", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2, Name: "a", N: 1}; return db.Save(&v), &v }},
	{"save of a new one", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{Name: "a"}; return db.Save(&v), &v }},
	{"save of a new one with a key", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 92, Name: "a"}; return db.Save(&v), &v }},
	{"save of many", func(db *gorm.DB) (*gorm.DB, any) {
		v := []TSame{{ID: 2, Name: "a"}, {Name: "b"}}
		return db.Save(&v), &v
	}},
	{"update", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("name", "a"), &v }},
	{"update of a struct", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "n2"}
		return db.Model(&v).Updates(TSame{Name: "a", N: 4}), &v
	}},
	{"update of a map", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "n2", N: 7}
		return db.Model(&v).Updates(map[string]any{"name": "a", "n": 7}), &v
	}},
	{"update to the same", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "n2"}
		return db.Model(&v).Update("name", "n2"), &v
	}},
	{"update by a hook", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "replaced"}
		return db.Model(&v).Update("n", 3), &v
	}},
	{"update of all", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{}
		return db.Model(&v).Where("1 = 1").Update("n", gorm.Expr("n + id")), &v
	}},
	{"update of none", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{}
		return db.Model(&v).Where("id = 77").Update("n", 1), &v
	}},
	{"update without a condition", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{}; return db.Model(&v).Update("n", 1), &v }},
	{"update of columns", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2}
		return db.Model(&v).UpdateColumns(map[string]any{"name": "a", "n": 1}), &v
	}},
	{"update with select", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "a"}
		return db.Select("Name", "N").Updates(&v), &v
	}},
	{"update returning into a struct", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2}
		return db.Model(&v).Clauses(clause.Returning{}).Update("name", "a"), &v
	}},
	{"update returning into a slice", func(db *gorm.DB) (*gorm.DB, any) {
		var v []TSame
		return db.Model(&v).Clauses(clause.Returning{}).Where("id < 3").Update("name", "a"), &v
	}},
	{"update returning columns", func(db *gorm.DB) (*gorm.DB, any) {
		var v []TSame
		return db.Model(&v).Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "n"}}}).Where("1 = 1").Update("n", gorm.Expr("n * 2")), &v
	}},
	{"update returning nothing", func(db *gorm.DB) (*gorm.DB, any) {
		var v []TSame
		return db.Model(&v).Clauses(clause.Returning{}).Where("id = 77").Update("name", "a"), &v
	}},
	{"update, refused before", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "BeforeUpdate"}
		return db.Model(&v).Update("n", 1), &v
	}},
	{"update, refused after", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{ID: 2, Name: "AfterUpdate"}
		return db.Model(&v).Update("n", 1), &v
	}},
	{"update, duplicate", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("code", "1"), &v }},
	{"update, foreign key", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("page_id", 99), &v }},
	{"update, check", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("n", -1), &v }},
	{"update, division by zero", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{}
		return db.Model(&v).Where("1 = 1").Update("n", gorm.Expr("1 / (n - 7)")), &v
	}},
	{"update, unknown column", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("nope", 1), &v }},
	{"update, wrong type", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Model(&v).Update("n", "x"), &v }},
	{"soft delete", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Delete(&v), &v }},
	{"soft delete of all", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{}; return db.Where("1 = 1").Delete(&v), &v }},
	{"soft delete returning", func(db *gorm.DB) (*gorm.DB, any) {
		var v []TSame
		return db.Clauses(clause.Returning{}).Where("id < 3").Delete(&v), &v
	}},
	{"delete", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2}; return db.Unscoped().Delete(&v), &v }},
	{"delete by keys", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{}; return db.Unscoped().Delete(&v, []int{1, 2, 77}), &v }},
	{"delete returning", func(db *gorm.DB) (*gorm.DB, any) {
		var v []TSame
		return db.Unscoped().Clauses(clause.Returning{Columns: []clause.Column{{Name: "id"}, {Name: "name"}}}).Where("id > 1").Delete(&v), &v
	}},
	{"delete of none", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 77}; return db.Unscoped().Delete(&v), &v }},
	{"delete without a condition", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{}; return db.Delete(&v), &v }},
	{"delete, refused before", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2, Name: "BeforeDelete"}; return db.Delete(&v), &v }},
	{"delete, refused after", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{ID: 2, Name: "AfterDelete"}; return db.Delete(&v), &v }},
	{"delete, foreign key", func(db *gorm.DB) (*gorm.DB, any) { v := Page{ID: 1}; return db.Unscoped().Delete(&v), v.ID }},
	{"first of none", func(db *gorm.DB) (*gorm.DB, any) { v := TSame{}; return db.First(&v, 77), &v }},
	{"first or create", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{}
		return db.Where(TSame{Name: "a"}).Attrs(TSame{N: 3}).FirstOrCreate(&v), &v
	}},
	{"first or create of one that is there", func(db *gorm.DB) (*gorm.DB, any) {
		v := TSame{}
		return db.Where(TSame{ID: 2}).Assign(TSame{N: 3}).FirstOrCreate(&v), &v
	}},
}

// result is what a case is compared by.
type result struct {
	Value, Rows, Error string
	Is                 []string
	Affected           int64
	Hooks              []string
}

var translated = map[string]error{
	"ErrDuplicatedKey": gorm.ErrDuplicatedKey, "ErrForeignKeyViolated": gorm.ErrForeignKeyViolated,
	"ErrCheckConstraintViolated": gorm.ErrCheckConstraintViolated, "ErrRecordNotFound": gorm.ErrRecordNotFound,
	"ErrMissingWhereClause": gorm.ErrMissingWhereClause, "ErrEmptySlice": gorm.ErrEmptySlice,
}

func (c sameCase) run(t *testing.T, b *bundle, session gorm.Session) result {
	t.Helper()
	var r result
	for i, ddl := range []string{"TRUNCATE t_sames" /* the order of the rows is the same each time */, "DELETE FROM pages", "SELECT setval('t_sames_id_seq', 1, false), setval('pages_id_seq', 1, false)",
		"INSERT INTO pages (tenant_id, title) VALUES ('hal', 'p1'), ('hal', 'p2')",
		`INSERT INTO t_sames (tenant_id, name, code, page_id, created_at, updated_at)
			SELECT 'hal', 'n' || i, i::text, 1, '2026-01-01', '2026-01-01' FROM generate_series(1, 3) i`} {
		if err := b.super.Exec(ddl).Error; err != nil {
			t.Fatal(i, err)
		}
	}
	session.NowFunc = func() time.Time { return time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC) }
	db := b.as(b.hal).Session(&session)
	tx, value := c.do(db.WithContext(context.WithValue(b.hal, logKey{}, &r.Hooks)))
	text, err := json.Marshal(value)
	must(t, err)
	r.Value, r.Affected, r.Rows = string(text), tx.RowsAffected, b.text(t, "SELECT t_sames::text FROM t_sames ORDER BY id")
	if tx.Error == nil {
		return r
	}
	r.Error = tx.Error.Error()
	var pg *pgconn.PgError
	if errors.As(tx.Error, &pg) {
		r.Error = strings.Join([]string{pg.Code, pg.TableName, pg.ColumnName, pg.ConstraintName, pg.Detail}, "|")
		if !strings.HasPrefix(pg.Code, "42") { // a name that is not there is not there in another place
			r.Error += pg.Message
		}
	}
	for name, err := range translated {
		if errors.Is(tx.Error, err) {
			r.Is = append(r.Is, name)
		}
	}
	return r
}

// TestSameResults runs each case with the audit plugin and without it: the
// caller's own results must not tell which.
func TestSameResults(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		plain := w.with(t, true, []any{&TSame{}}, nil, sameTable)
		audited := w.with(t, false, []any{&TSame{}}, nil, sameTable)
		for mode, session := range map[string]gorm.Session{"": {}, "/skip_default_transaction": {SkipDefaultTransaction: true}} {
			for _, c := range sameCases {
				want, got := c.run(t, plain, session), c.run(t, audited, session)
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s%s: -without audit +with it:\n%s", c.name, mode, diff)
				}
			}
		}
	})
}
