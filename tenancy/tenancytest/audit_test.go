package tenancytest_test

import (
	"context"
	"errors"
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
	return errors.Join(joinTable(owner), owner.AutoMigrate(append(all, &ProjectLabel{})...))
}}

// With the audit plugin too, the kit finds no hole and leaves no entry.
func TestRun_Audited(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, audited)
	tenancytest.Config{Fill: fill()}.Run(t, open(t, db, tenancy.New(tenancy.Config{}), audit.New(audit.Config{})), all...)
	var entries int64
	if err := db.Owner.Table("audit_logs").Count(&entries).Error; err != nil || entries != 0 {
		t.Errorf("%d entries are left, error %v", entries, err)
	}
}
