package tenancytest_test

import (
	"context"
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
	"github.com/courtroll/courtroll/tenancy/tenancytest"
)

var rules = tenancy.Rules{Models: append([]any{&ProjectLabel{}}, all...)}

var protected = pgtest.Template{Name: "kit, protected", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
	ctx := context.Background()
	m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	_, upErr := m.Up(ctx)
	if err := errors.Join(upErr, joinTable(owner), owner.AutoMigrate(rules.Models...)); err != nil {
		return err
	}
	_, err := m.Protect(ctx)
	return err
}}

// TestRun_Walls: the kit changes tenants in one transaction, which row-level
// security has to follow.
func TestRun_Walls(t *testing.T) {
	t.Parallel()
	for name, dialector := range map[string]func(dsn string) gorm.Dialector{"tenancy.Postgres": tenancy.Postgres, "postgres.Open": postgres.Open} {
		for _, audited := range []bool{false, true} {
			if audited {
				name += ", audited"
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, protected)
				app := db.Open(dialector(db.AppDSN), &gorm.Config{TranslateError: true})
				system := db.Open(dialector(db.SystemDSN), nil)
				plugin := tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, RequireConfinedRole: true, System: system})
				if err := errors.Join(joinTable(app), app.Use(plugin)); err != nil {
					t.Fatal(err)
				}
				if audited {
					if err := app.Use(audit.New(audit.Config{Rules: rules})); err != nil {
						t.Fatal(err)
					}
				}
				if err := tenancy.Verify(t.Context(), app); err != nil {
					t.Fatal(err)
				}
				tenancytest.Config{Rules: rules, Fill: fill()}.Run(t, app, all...)
				nothingLeft(t, db.Open(postgres.Open(db.SuperDSN), nil))
			})
		}
	}
}

func nothingLeft(t *testing.T, super *gorm.DB) {
	t.Helper()
	for _, model := range all {
		var left int64
		if err := super.Unscoped().Model(model).Count(&left).Error; err != nil || left != 0 {
			t.Errorf("%d rows of %T are left, error %v", left, model, err)
		}
	}
}
