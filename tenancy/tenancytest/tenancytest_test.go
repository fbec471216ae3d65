package tenancytest_test

import (
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
