package tenancytest_test

import (
	"context"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
	"github.com/courtroll/courtroll/tenancy/tenancytest"
)

var audited = pgtest.Template{Name: "audited", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	return owner.AutoMigrate(&Project{}, &Board{}, &Task{}, &Asset{})
}}

// With the audit plugin too, the kit finds no hole and leaves no entry.
func TestRun_Audited(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, audited)
	for _, plugin := range []gorm.Plugin{tenancy.New(tenancy.Config{}), audit.New(audit.Config{})} {
		if err := db.App.Use(plugin); err != nil {
			t.Fatal(err)
		}
	}
	tenancytest.Config{Fill: fill}.Run(t, db.App, all...)
	var entries int64
	if err := db.Owner.Table("audit_logs").Count(&entries).Error; err != nil || entries != 0 {
		t.Errorf("%d entries are left, error %v", entries, err)
	}
}
