package tenancytest_test

import (
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
	"github.com/courtroll/courtroll/tenancy/tenancytest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type Project struct {
	ID       uint
	TenantID string
	Name     string
	Code     string `gorm:"uniqueIndex;not null"`
	Deleted  gorm.DeletedAt
}

type Task struct {
	TenantID  int64 `gorm:"primaryKey;autoIncrement:false"`
	Number    int   `gorm:"primaryKey;autoIncrement:false"`
	Title     string
	BoardID   int64
	Board     *Board
	CountryID *string
}

type Board struct {
	ID       int64
	TenantID int64
	Name     string
	Tasks    []Task
}

type Asset struct {
	ID       string `gorm:"type:uuid;primaryKey"`
	TenantID string `gorm:"type:uuid"`
	State    string `gorm:"check:state IN ('new','old')"`
}

var schema = pgtest.Template{Name: "kit", Build: func(owner *gorm.DB) error {
	return owner.AutoMigrate(&Project{}, &Board{}, &Task{}, &Asset{})
}}

func fill(row any) {
	if asset, ok := row.(*Asset); ok {
		asset.State = "new"
	}
}

var all = []any{&Project{}, &Board{}, &Task{}, &Asset{}}

func TestRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	if err := db.App.Use(tenancy.New(tenancy.Config{})); err != nil {
		t.Fatal(err)
	}
	tenancytest.Config{Fill: fill}.Run(t, db.App, all...)
	var left int64
	if err := db.Owner.Raw("SELECT (SELECT count(*) FROM projects) + (SELECT count(*) FROM tasks) + (SELECT count(*) FROM boards) + (SELECT count(*) FROM assets)").Scan(&left).Error; err != nil || left != 0 {
		t.Errorf("%d rows are left, error %v", left, err)
	}
}

// Without the plugin every scenario finds its hole.
func TestRun_NoPlugin(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	for name, err := range tenancytest.Failures(t, tenancytest.Config{Fill: fill}, db.App, all...) {
		if err == nil {
			t.Errorf("%s found nothing", name)
		}
	}
}

// naive is the usual plugin of callbacks: a condition before queries, updates
// and deletes, and the tenant set before creates.
type naive struct{}

func (naive) Name() string { return "naive" }

func (naive) Initialize(db *gorm.DB) error {
	filter := func(db *gorm.DB) {
		tenant, err := tenancy.FromContext(db.Statement.Context)
		if err != nil {
			_ = db.AddError(tenancy.ErrNoTenant)
			return
		}
		db.Where("tenant_id = ?", tenant)
	}
	stamp := func(db *gorm.DB) {
		tenant, err := tenancy.FromContext(db.Statement.Context)
		if err != nil {
			_ = db.AddError(tenancy.ErrNoTenant)
			return
		}
		db.Statement.SetColumn("TenantID", tenant, true)
	}
	return errors.Join(
		db.Callback().Query().Before("gorm:query").Register("naive:query", filter),
		db.Callback().Update().Before("gorm:update").Register("naive:update", filter),
		db.Callback().Delete().Before("gorm:delete").Register("naive:delete", filter),
		db.Callback().Create().Before("gorm:create").Register("naive:create", stamp),
	)
}

func TestRun_NaivePlugin(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	if err := db.App.Use(naive{}); err != nil {
		t.Fatal(err)
	}
	found := tenancytest.Failures(t, tenancytest.Config{}, db.App, &Project{})
	for name, wantHole := range map[string]bool{
		"find": false, "count": false, "find_by_key": false, "update_by_key": false, "delete_by_key": false,
		"or": true, "rows": true, "save_row": true, "save_key": true, "upsert_key": true, "move_to_other": true, "create_for_other": true,
	} {
		if err := found["Project/"+name]; (err != nil) != wantHole {
			t.Errorf("%s: error %v, want a hole: %t", name, err, wantHole)
		}
	}
}

func TestRun_CannotSeed(t *testing.T) {
	t.Parallel()
	type Loose struct{ ID uint }
	db := pgtest.New(t, schema)
	for name, c := range map[string]struct {
		model any
		want  []string
	}{
		"Check":          {&Asset{}, []string{"model Asset", `column "state"`, "Config.Fill"}},
		"NoTenantColumn": {&Loose{}, []string{"model Loose", `no column "tenant_id"`, "Config.Shared"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tenancytest.OpenError(tenancytest.Config{}, db.App, c.model)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}
