package lifecycle_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// fast takes no rest.
var fast = lifecycle.Pace{Rest: -1}

func byTable(counts []lifecycle.Count) map[string]int64 {
	found := map[string]int64{}
	for _, c := range counts {
		if c.Rows > 0 {
			found[c.Table] += c.Rows
		}
	}
	return found
}

func TestDelete(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		had, other, trail := b.rows(t, "acme"), b.sum(t, "hal"), b.entries(t, "acme")
		dry, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{DryRun: true})
		if diff := cmp.Diff(had, byTable(dry)); diff != "" || err != nil {
			t.Fatalf("dry run: %v\n%s", err, diff)
		}
		if diff := cmp.Diff(had, b.rows(t, "acme")); diff != "" {
			t.Fatalf("a dry run changed rows: %s", diff)
		}
		must(t, lifecycle.Suspend(b.system, b.app, "acme"))
		counts, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "contract ended", Pace: fast})
		must(t, err)
		if diff := cmp.Diff(had, byTable(counts)); diff != "" {
			t.Errorf("counts: %s", diff)
		}
		b.checkGone(t, had, trail)
		if b.sum(t, "hal") != other {
			t.Error("rows of the other tenant have changed")
		}
	})
}

// checkGone demands that nothing of acme is left but its trail, and that this tells all.
func (b *bundle) checkGone(t *testing.T, had, before map[string]int64) {
	t.Helper()
	if left := b.rows(t, "acme"); len(left) > 0 {
		t.Errorf("rows are left: %v", left)
	}
	var tenants int64
	must(t, b.super.Model(&models.Tenant{}).Where("id = ?", "acme").Count(&tenants).Error)
	if tenants != 0 {
		t.Error("the row of tenants is left")
	}
	want := map[string]int64{"tenant.delete_begun tenants": 1, "tenant.delete tenants": 1}
	if b.form.audited {
		want["delete tenants"], want["update tenants"] = 1, 1
		want["update teams"], want["update tasks"] = 4, 2
		for table, n := range had {
			want["delete "+table] = n
		}
	}
	for name, n := range before {
		want[name] += n
	}
	got := b.entries(t, "acme")
	if b.form.audited { // how many keys of a circle had to be cut is the batches' to say
		want["update tasks"] = got["update tasks"]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the trail: %s", diff)
	}
	b.checkAccount(t, had)
}

func (b *bundle) checkAccount(t *testing.T, had map[string]int64) {
	t.Helper()
	var entry models.AuditLog
	must(t, b.super.Where("action = ?", lifecycle.ActionDelete).Take(&entry).Error)
	metadata, err := audit.ReadMetadata(entry)
	must(t, err)
	if metadata.Reason != "contract ended" || *entry.ActorID != "ops" || *entry.ResourceID != "acme" || entry.TenantID != nil {
		t.Errorf("the entry is %s", text(entry))
	}
	var data struct{ Rows map[string]int64 }
	must(t, entryData(entry, &data))
	for table, n := range had {
		if data.Rows[table] != n {
			t.Errorf("the entry says %d of %s, want %d", data.Rows[table], table, n)
		}
	}
}

// TestDelete_Refused changes nothing.
func TestDelete_Refused(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	before := b.sum(t, "acme")
	good := lifecycle.Deletion{Reason: "r", Pace: fast}
	noScope := tenancy.WithTenant(t.Context(), "acme")
	must(t, b.super.Exec(`UPDATE tenants SET is_active = false WHERE id = 'hal'`).Error)
	for name, c := range map[string]struct {
		ctx  context.Context
		mode tenancy.Suspended
		id   string
		d    lifecycle.Deletion
		want error
	}{
		"ErrNotSuspended":  {b.system, tenancy.RefuseSuspended, "acme", good, lifecycle.ErrNotSuspended},
		"ErrNoReason":      {b.system, tenancy.RefuseSuspended, "hal", lifecycle.Deletion{Reason: " "}, lifecycle.ErrNoReason},
		"ErrUnknownTenant": {b.system, tenancy.RefuseSuspended, "nobody", good, lifecycle.ErrUnknownTenant},
		"ErrUnchecked":     {b.system, tenancy.IgnoreSuspended, "hal", good, lifecycle.ErrUnchecked},
		"ErrNoSystemScope": {noScope, tenancy.RefuseSuspended, "acme", good, lifecycle.ErrNoSystemScope},
	} {
		if _, err := lifecycle.Delete(c.ctx, b.open(t, c.mode), c.id, c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	tx := b.app.WithContext(b.system).Begin()
	if _, err := lifecycle.Delete(b.system, tx, "hal", good); !errors.Is(err, lifecycle.ErrInTransaction) {
		t.Errorf("ErrInTransaction: %v", err)
	}
	must(t, tx.Rollback().Error)
	if b.sum(t, "acme") != before || len(b.rows(t, "hal")) != len(owned) {
		t.Error("rows have changed")
	}
}

// TestDelete_Stopped ends the context after each batch, the first, the second and so
// on, and goes on with the next call.
func TestDelete_Stopped(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		had, other, trail := b.rows(t, "acme"), b.sum(t, "hal"), b.entries(t, "acme")
		must(t, lifecycle.Suspend(b.system, b.app, "acme"))
		stops := 0
		for {
			ctx, cancel := context.WithCancel(b.system)
			_, err := lifecycle.Delete(ctx, b.app, "acme", lifecycle.Deletion{
				Reason: "contract ended", Pace: fast, Progress: func(p lifecycle.Progress) {
					if p.Done > 0 {
						cancel()
					}
				},
			})
			cancel()
			if err == nil {
				break
			}
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			stops++
			if err := lifecycle.Resume(b.system, b.app, "acme"); !errors.Is(err, lifecycle.ErrDeleting) {
				t.Fatalf("resuming what is half deleted: %v, want ErrDeleting", err)
			}
		}
		if stops < len(had) {
			t.Errorf("it was stopped %d times, and there are %d tables", stops, len(had))
		}
		b.checkGone(t, had, trail)
		if b.sum(t, "hal") != other {
			t.Error("rows of the other tenant have changed")
		}
	})
}
