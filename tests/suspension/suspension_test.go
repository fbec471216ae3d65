package suspension

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// TestRefuse refuses each operation of a suspended tenant, changes nothing, and lets
// the other tenant work.
func TestRefuse(t *testing.T) {
	t.Parallel()
	eachForm(t, tenancy.RefuseSuspended, func(t *testing.T, b *bundle) {
		b.suspend(t, true)
		before := b.state(t)
		for _, op := range operations {
			if !op.runs(b.form) {
				continue
			}
			want := tenancy.ErrSuspended
			if b.needsTransaction(op) {
				want = tenancy.ErrNeedsTransaction
			}
			err := op.do(b.app.WithContext(b.acme), b.acme)
			if !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", op.name, err, want)
			}
			var refused *tenancy.StatementError
			if !op.raw && !op.rows && !errors.As(err, &refused) {
				t.Errorf("%s: %v is no StatementError", op.name, err)
			}
		}
		if b.state(t) != before {
			t.Error("a refused statement changed a row")
		}
		b.works(t, b.app, "hal")
		b.suspend(t, false)
		b.works(t, b.app, "acme")
	})
}

// needsTransaction reports whether the form refuses the operation whoever's it is.
func (b *bundle) needsTransaction(op operation) bool {
	return b.form.walled && !b.form.isOurs() && op.rows
}

// works runs each operation for a tenant that is not suspended.
func (b *bundle) works(t *testing.T, app *gorm.DB, tenant string) {
	t.Helper()
	ctx := tenancy.WithTenant(b.acme, tenant)
	for _, op := range operations {
		if !op.runs(b.form) || b.needsTransaction(op) {
			continue
		}
		err := op.do(app.WithContext(ctx), ctx)
		if errors.Is(err, gorm.ErrForeignKeyViolated) || errors.Is(err, gorm.ErrDuplicatedKey) || errors.Is(err, gorm.ErrRecordNotFound) {
			continue // shelf 1 is acme's
		}
		if err != nil {
			t.Errorf("%s of %s: %v", op.name, tenant, err)
		}
	}
}

// TestReadOnly refuses the writes of a suspended tenant, and lets it read.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	eachForm(t, tenancy.ReadOnlySuspended, func(t *testing.T, b *bundle) {
		b.works(t, b.app, "hal")
		b.suspend(t, true)
		before := b.state(t)
		for _, op := range operations {
			if !op.runs(b.form) {
				continue
			}
			var want error
			switch {
			case op.writes:
				want = tenancy.ErrSuspended
			case op.rows && !b.form.isOurs():
				want = tenancy.ErrNeedsTransaction
			}
			if err := op.do(b.app.WithContext(b.acme), b.acme); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", op.name, err, want)
			}
		}
		if b.state(t) != before {
			t.Error("a refused statement changed a row")
		}
	})
}

// TestIgnore is the default: nobody is asked.
func TestIgnore(t *testing.T) {
	t.Parallel()
	eachForm(t, tenancy.IgnoreSuspended, func(t *testing.T, b *bundle) {
		b.suspend(t, true)
		b.works(t, b.app, "acme")
	})
}

// TestUnknownTenant refuses an id that the register does not have, and lets system scope through.
func TestUnknownTenant(t *testing.T) {
	t.Parallel()
	eachForm(t, tenancy.RefuseSuspended, func(t *testing.T, b *bundle) {
		b.suspend(t, true)
		must(t, b.super.Exec(`DELETE FROM tenants WHERE id = 'hal'`).Error)
		if err := b.app.WithContext(tenancy.WithTenant(t.Context(), "hal")).Create(&Book{Title: "late"}).Error; !errors.Is(err, tenancy.ErrSuspended) {
			t.Errorf("a tenant without a row: %v", err)
		}
		var n int64
		must(t, b.app.WithContext(tenancy.AsSystem(b.acme, "to look")).Model(&Book{}).Where("tenant_id = ?", "acme").Count(&n).Error)
		if n != 2 {
			t.Errorf("system scope sees %d books of a suspended tenant, want 2", n)
		}
	})
}

// TestTransaction refuses the next statement of a transaction that began before.
func TestTransaction(t *testing.T) {
	t.Parallel()
	for _, mode := range []tenancy.Suspended{tenancy.RefuseSuspended, tenancy.ReadOnlySuspended} {
		eachForm(t, mode, func(t *testing.T, b *bundle) {
			err := b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
				must(t, tx.Create(&Book{Title: "before"}).Error)
				b.suspend(t, true)
				err := tx.Create(&Book{Title: "after"}).Error
				if !errors.Is(err, tenancy.ErrSuspended) {
					t.Errorf("the next statement: %v, want ErrSuspended", err)
				}
				return err
			})
			if !errors.Is(err, tenancy.ErrSuspended) {
				t.Errorf("the transaction: %v, want ErrSuspended", err)
			}
			b.suspend(t, false)
			if n := b.count(t); n != 4 {
				t.Errorf("%d books are left, want 4", n)
			}
		})
	}
}

func (b *bundle) count(t *testing.T) (n int64) {
	t.Helper()
	must(t, b.super.Model(&Book{}).Count(&n).Error)
	return n
}

// TestConfig refuses a database without the function, a login that may not call it,
// and a value that means nothing.
func TestConfig(t *testing.T) {
	t.Parallel()
	b := setup(t, forms[0], tenancy.IgnoreSuspended)
	try := func(mode tenancy.Suspended) error {
		return b.Open(tenancy.Postgres(b.AppDSN), nil).Use(tenancy.New(tenancy.Config{Rules: rules, Suspended: mode}))
	}
	must(t, try(tenancy.RefuseSuspended))
	must(t, b.super.Exec(`REVOKE EXECUTE ON FUNCTION courtroll_admit FROM `+b.AppRole).Error)
	if err := try(tenancy.ReadOnlySuspended); !errors.Is(err, tenancy.ErrCannotAsk) {
		t.Errorf("not granted: %v, want ErrCannotAsk", err)
	}
	must(t, b.super.Exec(`DROP FUNCTION courtroll_admit`).Error)
	if err := try(tenancy.RefuseSuspended); !errors.Is(err, tenancy.ErrCannotAsk) {
		t.Errorf("not there: %v, want ErrCannotAsk", err)
	}
	must(t, try(tenancy.IgnoreSuspended))
	if err := try(9); err == nil {
		t.Error("a mode that means nothing was taken")
	}
}
