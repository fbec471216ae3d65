package tests

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// Sheet is owned by the tenant of a column org_id of any type, and lies in a Binder.
type Sheet[T any] struct {
	ID       int64 `gorm:"primaryKey"`
	OrgID    T
	Name     string
	BinderID *int64
	Binder   *Binder[T] `gorm:"foreignKey:BinderID"`
}

// TableName implements gorm's Tabler.
func (Sheet[T]) TableName() string { return "sheets" }

// Binder has the tenant in its key.
type Binder[T any] struct {
	OrgID  T     `gorm:"primaryKey;autoIncrement:false"`
	ID     int64 `gorm:"primaryKey;autoIncrement:false"`
	Name   string
	Sheets []Sheet[T] `gorm:"foreignKey:BinderID;references:ID"`
}

// TableName implements gorm's Tabler.
func (Binder[T]) TableName() string { return "binders" }

// Types of an app's own.
type (
	orgName   string
	orgNumber int64
	uuidText  string
)

// GormDataType says that the text is a UUID.
func (uuidText) GormDataType() string { return "uuid" }

// columnTypes run an operation for each type that a tenant column may have.
var columnTypes = map[string]func(t *testing.T){
	"text":           columnTest[string]("text", words),
	"text_named":     columnTest[orgName]("text", words),
	"text_pointer":   columnTest[*string]("text", words),
	"text_null":      columnTest[sql.NullString]("text", words),
	"text_pgtype":    columnTest[pgtype.Text]("text", words),
	"varchar":        columnTest[string]("varchar(20)", words),
	"uuid":           columnTest[uuid.UUID]("uuid", uuids),
	"uuid_pointer":   columnTest[*uuid.UUID]("uuid", uuids),
	"uuid_null":      columnTest[uuid.NullUUID]("uuid", uuids),
	"uuid_text":      columnTest[uuidText]("uuid", uuids),
	"uuid_pgtype":    columnTest[pgtype.UUID]("uuid", uuids),
	"bigint":         columnTest[int64]("bigint", numbers),
	"bigint_uint":    columnTest[uint]("bigint", numbers),
	"bigint_named":   columnTest[orgNumber]("bigint", numbers),
	"bigint_pointer": columnTest[*int64]("bigint", numbers),
	"bigint_null":    columnTest[sql.NullInt64]("bigint", numbers),
	"bigint_pgtype":  columnTest[pgtype.Int8]("bigint", numbers),
	"integer":        columnTest[int32]("integer", numbers.but("2147483648")),
	"smallint":       columnTest[int16]("smallint", numbers.but("32768")),
}

// ids are those of the tenants hal and acme, and some that fit no column of the type.
type ids struct {
	hal, acme string
	bad       []string
}

var (
	words   = ids{hal: "hal", acme: "acme"}
	numbers = ids{hal: "7", acme: "8", bad: []string{"07", "+7", " 7", "7.0", "x", "9223372036854775808", "７"}}
	uuids   = ids{
		hal: "0190d3a4-0000-7000-8000-00000000000a", acme: "0190d3a4-0000-7000-8000-00000000000b",
		bad: []string{"0190D3A4-0000-7000-8000-00000000000A", "{0190d3a4-0000-7000-8000-00000000000a}", "0190d3a40000700080000000000000a0", "hal", "7"},
	}
)

// but returns ids with a further one that does not fit.
func (i ids) but(bad string) ids {
	i.bad = append(slices.Clone(i.bad), bad)
	return i
}

func TestColumn(t *testing.T) {
	t.Parallel()
	for name, run := range columnTypes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t)
		})
	}
}

func columnTest[T any](sqlType string, ids ids) func(t *testing.T) {
	schema := pgtest.Template{Name: "column-" + sqlType, Build: func(owner *gorm.DB) error {
		if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
			return err
		}
		return owner.Exec(fmt.Sprintf(`
			CREATE TABLE binders (org_id %[1]s NOT NULL, id bigint, name text, PRIMARY KEY (org_id, id));
			CREATE TABLE sheets (id bigserial PRIMARY KEY, org_id %[1]s NOT NULL, name text, binder_id bigint);
			ALTER SEQUENCE sheets_id_seq RESTART 100`, sqlType)).Error
	}}
	rules := tenancy.Rules{TenantColumn: "org_id", Models: []any{&Sheet[T]{}, &Binder[T]{}}}
	return func(t *testing.T) {
		var results [2][]string
		for i, withAcme := range []bool{false, true} {
			db := pgtest.New(t, schema)
			use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
			use(t, db.App, audit.New(audit.Config{Rules: rules}))
			b := newBundle(t, db, db.App)
			hal, acme := b.as(tenancy.WithTenant(t.Context(), ids.hal)), b.as(tenancy.WithTenant(t.Context(), ids.acme))
			must(t, tenancy.Verify(t.Context(), b.app))
			columnSeed[T](t, hal, 1)
			before := ""
			if withAcme {
				columnSeed[T](t, acme, 11)
				before = columnRows(t, b, ids.acme)
			}
			results[i] = columnOps[T](t, hal, acme)
			results[i] = append(results[i], columnRows(t, b, ids.hal))
			if withAcme && columnRows(t, b, ids.acme) != before {
				t.Error("acme's rows changed")
			}
			sent := recordSQL(b.app)
			for _, id := range ids.bad {
				columnRefused[T](t, b.as(tenancy.WithTenant(t.Context(), id)), sent)
			}
		}
		if d := diff.Diff(results[0], results[1]); d != "" {
			t.Errorf("hal alone, and beside acme:\n%s", d)
		}
	}
}

func columnSeed[T any](t *testing.T, db *gorm.DB, id int64) {
	t.Helper()
	binder := Binder[T]{ID: 1, Name: "b", Sheets: []Sheet[T]{{ID: id, Name: "a"}, {ID: id + 1, Name: "b"}}}
	must(t, db.Create(&binder).Error)
	must(t, db.Create(&Sheet[T]{ID: id + 2, Name: "c"}).Error)
}

func columnRows(t *testing.T, b *bundle, id string) string {
	t.Helper()
	var rows []string
	must(t, b.Owner.Raw(`SELECT to_jsonb(t)::text FROM (SELECT org_id, id, name, NULL::bigint FROM binders UNION ALL SELECT org_id, id, name, binder_id FROM sheets) t
		WHERE org_id::text = ? ORDER BY 1`, id).Scan(&rows).Error)
	return strings.Join(rows, "\n")
}

// columnOps runs operations as hal, with acme's handle to make values that name
// acme, and returns what each showed.
func columnOps[T any](t *testing.T, hal, acme *gorm.DB) (log []string) {
	t.Helper()
	note := func(name string, want error, result any, tx *gorm.DB) {
		t.Helper()
		if want == nil && tx.Error != nil || !errors.Is(tx.Error, want) {
			t.Errorf("%s: error %v, want %v", name, tx.Error, want)
		}
		text, _ := json.Marshal(result)
		log = append(log, fmt.Sprintf("%s: %d %s", name, tx.RowsAffected, text))
	}
	var sheets []Sheet[T]
	note("find", nil, &sheets, hal.Where("1 = 0").Or("1 = 1").Order("id").Find(&sheets))
	var joined []Sheet[T]
	note("joins", nil, &joined, hal.Joins("Binder").Order("sheets.id").Find(&joined))
	var binders []Binder[T]
	note("preload", nil, &binders, hal.Preload("Sheets", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).Find(&binders))
	var first Sheet[T]
	note("first of another's", gorm.ErrRecordNotFound, &first, hal.First(&first, 11))
	var n int64
	note("count", nil, &n, hal.Model(&Sheet[T]{}).Where("id IN (?)", hal.Model(&Sheet[T]{}).Select("id")).Count(&n))
	var maps []map[string]any
	note("table", nil, &maps, hal.Table("sheets AS s").Select("s.name").Order("s.id").Find(&maps))
	generic, err := gorm.G[Sheet[T]](hal).Where("name <> ?", "x").Order("id").Find(hal.Statement.Context)
	note("generics", nil, generic, &gorm.DB{Error: err})

	own := Sheet[T]{Name: "new"}
	note("create", nil, &own, hal.Create(&own))
	note("create with own tenant", nil, nil, hal.Create(&Sheet[T]{OrgID: own.OrgID, Name: "same"}))
	note("create by map", nil, nil, hal.Model(&Sheet[T]{}).Create(map[string]any{"name": "map"}))
	note("create maps", nil, nil, hal.Model(&Sheet[T]{}).Create(&[]map[string]any{{"name": "m1"}, {"name": "m2", "org_id": own.OrgID}}))
	note("omit", nil, nil, hal.Omit("OrgID").Create(&Sheet[T]{Name: "omitted"}))
	var foreign Sheet[T]
	acme.Session(&gorm.Session{DryRun: true}).Create(&foreign) // stamps it
	foreign.Name = "foreign"
	note("create for another", tenancy.ErrCrossTenant, nil, hal.Create(&foreign))
	note("create for another by map", tenancy.ErrCrossTenant, nil, hal.Model(&Sheet[T]{}).Create(map[string]any{"name": "x", "org_id": foreign.OrgID}))

	note("update", nil, nil, hal.Model(&Sheet[T]{}).Where("id IN ?", []int64{1, 11}).Update("name", "updated"))
	note("update tenant", tenancy.ErrTenantImmutable, nil, hal.Model(&Sheet[T]{ID: own.ID}).Update("org_id", foreign.OrgID))
	note("update own tenant", nil, nil, hal.Model(&own).Updates(map[string]any{"org_id": own.OrgID, "name": "kept"}))
	own.Name = "saved"
	note("save", nil, &own, hal.Save(&own))
	note("save without tenant", nil, nil, hal.Save(&Sheet[T]{ID: own.ID, Name: "again"}))
	foreign.ID = own.ID
	note("save for another", tenancy.ErrTenantImmutable, nil, hal.Save(&foreign))
	note("upsert", nil, nil, hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Sheet[T]{ID: own.ID, Name: "upserted"}))
	binder := Binder[T]{ID: 1, Name: "upserted"}
	note("upsert of a composite key", nil, &binder, hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&binder))
	binder.Name = "saved"
	note("save of a composite key", nil, &binder, hal.Save(&binder))
	note("append", nil, nil, &gorm.DB{Error: hal.Model(&binder).Association("Sheets").Append(&Sheet[T]{Name: "appended"})})
	n = hal.Model(&binder).Association("Sheets").Count()
	note("association", nil, &n, hal.Session(&gorm.Session{}))
	note("delete", nil, nil, hal.Delete(&Sheet[T]{}, []int64{2, 12}))
	note("delete all", nil, nil, hal.Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(&Binder[T]{}))
	page, err := audit.List(hal.Statement.Context, hal, audit.Filter{}, "")
	note("trail", nil, len(page.Entries), &gorm.DB{Error: err})
	return log
}

// columnRefused demands that a tenant whose id fits no column sends nothing.
func columnRefused[T any](t *testing.T, db *gorm.DB, sent *sentSQL) {
	t.Helper()
	for name, err := range map[string]error{
		"find":       db.Find(&[]Sheet[T]{}).Error,
		"row":        db.Model(&Sheet[T]{}).Select("1").Row().Scan(new(int)),
		"create":     db.Create(&Sheet[T]{}).Error,
		"create map": db.Model(&Sheet[T]{}).Create(map[string]any{"name": "x"}).Error,
		"update":     db.Model(&Sheet[T]{}).Where("1 = 1").Update("name", "x").Error,
		"delete":     db.Where("1 = 1").Delete(&Sheet[T]{}).Error,
		"sub-query":  db.Model(&Sheet[T]{}).Where("id IN (?)", db.Model(&Sheet[T]{}).Select("id")).Count(new(int64)).Error,
	} {
		if !errors.Is(err, tenancy.ErrTenantFormat) {
			t.Errorf("%s: %v, want ErrTenantFormat", name, err)
		}
	}
	if log := sent.take(); len(log) > 0 {
		t.Errorf("sent %q", log)
	}
}
