package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// stop deletes acme until the first batch is done.
func (b *bundle) stop(t *testing.T) {
	t.Helper()
	must(t, lifecycle.Suspend(b.system, b.app, "acme"))
	ctx, cancel := context.WithCancel(b.system)
	defer cancel()
	_, err := lifecycle.Delete(ctx, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast, Progress: func(p lifecycle.Progress) {
		if p.Done > 0 {
			cancel()
		}
	}})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestCreate_OldID refuses the id of a tenant of which the trail tells.
func TestCreate_OldID(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		must(t, lifecycle.Suspend(b.system, b.app, "acme"))
		_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast})
		must(t, err)
		if _, err := lifecycle.Create(b.system, b.app, models.NewTenant{ID: "acme", Name: "another", Slug: "other"}); !errors.Is(err, lifecycle.ErrTaken) {
			t.Errorf("%v, want ErrTaken", err)
		}
	})
}

// TestDeletion_NotForged has a tenant write the entries of its deletion.
func TestDeletion_NotForged(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		id := "acme"
		acme := tenancy.WithTenant(b.system, id)
		for _, action := range []string{lifecycle.ActionDeleteBegun, lifecycle.ActionDelete} {
			err := b.app.WithContext(acme).Create(&models.NewAuditLog{Action: action, ResourceType: "tenants", ResourceID: &id, TenantID: &id}).Error
			if b.form.audited && !errors.Is(err, audit.ErrAudit) {
				t.Errorf("%s by GORM: %v", action, err)
			}
			for _, ctx := range []context.Context{acme, t.Context(), b.system} {
				if err := audit.Record(ctx, b.app, audit.Event{Action: action, ResourceType: "tenants", ResourceID: id}); !errors.Is(err, audit.ErrEvent) {
					t.Errorf("%s by Record: %v, want ErrEvent", action, err)
				}
			}
			b.run(t, `INSERT INTO audit_logs (tenant_id, action, resource_type, resource_id) VALUES ('acme', 'tenant.delete_begun', 'tenants', 'acme')`)
		}
		must(t, lifecycle.Suspend(b.system, b.app, id))
		must(t, lifecycle.Resume(b.system, b.app, id))
	})
}

// TestSuspend_Deleting suspends one that somebody made active in the midst of its deletion.
func TestSuspend_Deleting(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	b.stop(t)
	b.run(t, `UPDATE tenants SET is_active = true WHERE id = 'acme'`)
	must(t, lifecycle.Suspend(b.system, b.app, "acme"))
	if err := lifecycle.Resume(b.system, b.app, "acme"); !errors.Is(err, lifecycle.ErrDeleting) {
		t.Errorf("Resume: %v, want ErrDeleting", err)
	}
	_, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast})
	must(t, err)
}
