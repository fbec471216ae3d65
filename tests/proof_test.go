package tests

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// A text that was found confined is not checked again, but its arguments are.
func TestKnownText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed(t, b)
	raw := func(ctx context.Context, tenant any) error {
		return b.as(ctx).Raw(`SELECT * FROM "pages" WHERE "pages"."tenant_id" = ?`, tenant).Find(&[]Page{}).Error
	}
	bound := b.as(b.hal).Session(&gorm.Session{DryRun: true}).Unscoped().Find(&[]Page{}).Statement.Vars[0]
	for range 2 {
		must(t, raw(b.hal, bound))
		for name, tc := range map[string]struct {
			ctx    context.Context
			tenant any
			want   error
		}{
			"another tenant": {b.acme, bound, tenancy.ErrCrossTenant},
			"by hand":        {b.hal, "hal", tenancy.ErrOpaqueSQL},
			"no tenant":      {context.Background(), bound, tenancy.ErrNoTenant},
			"nothing":        {context.Background(), nil, tenancy.ErrNoTenant},
			"blank tenant":   {tenancy.WithTenant(context.Background(), " "), bound, tenancy.ErrNoTenant},
		} {
			if err := raw(tc.ctx, tc.tenant); !errors.Is(err, tc.want) {
				t.Errorf("%s: %v, want %v", name, err, tc.want)
			}
		}
	}
}

// A value of ours that a caller took from a dry run hides no OR of his.
func TestBorrowedValue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bound := b.as(b.hal).Session(&gorm.Session{DryRun: true}).Unscoped().Find(&[]Page{}).Statement.Vars[0]
	for _, condition := range []string{
		`title = ? OR "pages"."tenant_id" = ?`,
		`1 = 1 OR title = ? AND "pages"."tenant_id" = ?`,
		`1 = 1 OR pages.title = ? AND "pages"."tenant_id" = ?`,
		`NOT pages.title = ? AND "pages"."tenant_id" = ? OR true`,
		`"pages"."tenant_id" = ? AND left('a', 1) = ? OR true`,
		`"pages"."tenant_id" = ? AND (1 = 1) = ? OR true`,
		`"pages"."tenant_id" = ? AND (1 = 1) IS NOT NULL OR title = ?`,
	} {
		err := b.as(b.hal).Raw(`SELECT * FROM "pages" WHERE `+condition, bound, bound).Find(&[]Page{}).Error
		if !errors.Is(err, tenancy.ErrOpaqueSQL) {
			t.Errorf("%s: %v, want ErrOpaqueSQL", condition, err)
		}
	}
}

// What is learnt of a table later holds for texts that passed before.
func TestKnownText_TableLearntLater(t *testing.T) {
	t.Parallel()
	type Thing struct {
		ID       int64
		TenantID string
	}
	db := pgtest.New(t, pgtest.Template{Name: "things", Build: func(owner *gorm.DB) error { return owner.AutoMigrate(&Thing{}) }})
	use(t, db.App, tenancy.New(tenancy.Config{Rules: tenancy.Rules{Shared: []any{"things"}}}))
	hal := db.App.WithContext(tenancy.WithTenant(t.Context(), "hal"))
	count := func() error { return hal.Raw("SELECT count(*) FROM things").Scan(new(int)).Error }
	must(t, count())
	must(t, hal.Find(&[]Thing{}).Error) // its model has the tenant column: declared shared or not, it is owned
	if err := count(); !errors.Is(err, tenancy.ErrOpaqueSQL) {
		t.Errorf("%v, want ErrOpaqueSQL", err)
	}
}
