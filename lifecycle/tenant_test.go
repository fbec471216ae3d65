package lifecycle_test

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		made, err := lifecycle.Create(b.system, b.app, models.NewTenant{ID: "new", Name: "New", Slug: "new"})
		must(t, err)
		if !made.IsActive || made.Plan != "free" || made.CreatedAt.IsZero() || made.ID != "new" {
			t.Errorf("made %+v", made)
		}
		if n := b.entries(t, "new")["create tenants"]; b.form.audited != (n == 1) {
			t.Errorf("%d entries", n)
		}
		for name, taken := range map[string]models.NewTenant{
			"id": {ID: "new", Name: "N", Slug: "other"}, "slug": {ID: "other", Name: "N", Slug: "new"},
		} {
			if _, err := lifecycle.Create(b.system, b.app, taken); !errors.Is(err, gorm.ErrDuplicatedKey) || !errors.Is(err, lifecycle.ErrTaken) {
				t.Errorf("%s is taken: %v, want ErrTaken", name, err)
			}
		}
		for field, bad := range map[string]models.NewTenant{
			"ID": {ID: " ", Name: "N", Slug: "s"}, "Name": {ID: "i", Name: "", Slug: "s"}, "Slug": {ID: "i", Name: "N", Slug: "s\x00"},
		} {
			var fault *lifecycle.FieldError
			if _, err := lifecycle.Create(b.system, b.app, bad); !errors.As(err, &fault) || fault.Field != field || !errors.Is(err, lifecycle.ErrInvalid) {
				t.Errorf("%s: %v, want ErrInvalid", field, err)
			}
		}
		if _, err := lifecycle.Create(t.Context(), b.app, models.NewTenant{ID: "i", Name: "n", Slug: "s"}); !errors.Is(err, lifecycle.ErrNoSystemScope) {
			t.Errorf("without a scope: %v", err)
		}
		if _, err := lifecycle.Create(b.system, b.super, models.NewTenant{ID: "i", Name: "n", Slug: "s"}); !errors.Is(err, tenancy.ErrNotInstalled) {
			t.Errorf("without the plugin: %v", err)
		}
	})
}

func TestSuspendResume(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		acme := b.app.WithContext(tenancy.WithTenant(b.system, "acme"))
		write := func() error { return acme.Create(&Tag{Name: "new"}).Error }
		for range 2 {
			must(t, lifecycle.Suspend(b.system, b.app, "acme"))
			if err := write(); !errors.Is(err, tenancy.ErrSuspended) {
				t.Errorf("a write of a suspended tenant: %v", err)
			}
		}
		for range 2 {
			must(t, lifecycle.Resume(b.system, b.app, "acme"))
			must(t, write())
		}
		if n := b.entries(t, "acme")["update tenants"]; b.form.audited != (n == 2) {
			t.Errorf("%d entries, want one for each change", n)
		}
		for name, f := range map[string]error{
			"suspend": lifecycle.Suspend(b.system, b.app, "nobody"), "resume": lifecycle.Resume(b.system, b.app, "nobody"),
		} {
			if !errors.Is(f, lifecycle.ErrUnknownTenant) {
				t.Errorf("%s of an unknown tenant: %v", name, f)
			}
		}
	})
}

// TestSuspend_Unchecked changes nothing where nobody would ask.
func TestSuspend_Unchecked(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	before := b.sum(t, "acme")
	if err := lifecycle.Suspend(b.system, b.open(t, tenancy.IgnoreSuspended), "acme"); !errors.Is(err, lifecycle.ErrUnchecked) {
		t.Errorf("%v, want ErrUnchecked", err)
	}
	if b.sum(t, "acme") != before {
		t.Error("rows have changed")
	}
}

// TestDelete_WaitsForWriters lets a transaction end that began before the suspension,
// and deletes what it wrote.
func TestDelete_WaitsForWriters(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		writer := b.app.WithContext(tenancy.WithTenant(b.system, "acme")).Begin()
		must(t, writer.Create(&Tag{Name: "late"}).Error)
		must(t, lifecycle.Suspend(b.system, b.app, "acme"))
		waited := false
		_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast, Progress: func(p lifecycle.Progress) {
			if p.Done == 0 && !waited {
				waited = true
				must(t, writer.Commit().Error)
			}
		}})
		must(t, err)
		if left := b.rows(t, "acme"); !waited || len(left) > 0 {
			t.Errorf("waited: %v, left: %v", waited, left)
		}
	})
}

// TestDelete_BusyWriter has a writer go on until it is refused.
func TestDelete_BusyWriter(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		started, ended := make(chan struct{}), make(chan error, 1)
		go func() {
			acme := b.app.WithContext(tenancy.WithTenant(b.system, "acme"))
			for n := 0; ; n++ {
				if err := acme.Create(&[]Tag{{Name: "a"}, {Name: "b"}}).Error; err != nil {
					ended <- err
					return
				}
				if n == 5 {
					close(started)
				}
			}
		}()
		<-started
		must(t, lifecycle.Suspend(b.system, b.app, "acme"))
		_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast})
		must(t, err)
		if err := <-ended; !errors.Is(err, tenancy.ErrSuspended) {
			t.Errorf("the writer ended with %v", err)
		}
		if left := b.rows(t, "acme"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	})
}
