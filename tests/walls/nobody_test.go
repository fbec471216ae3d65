package walls

import (
	"errors"
	"slices"
	"testing"

	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
)

// TestNobodysChanges writes a shared table in a context of no tenant: the app's
// login may not write nobody's entries, and they are written all the same.
func TestNobodysChanges(t *testing.T) {
	t.Parallel()
	eachForm(t, forms[2:], func(t *testing.T, f form) {
		b := f.setup(t)
		must(t, b.super.Exec("GRANT ALL ON genres TO "+b.AppRole).Error)
		app := b.app.WithContext(actor(t.Context()))
		must(t, app.Create(&[]Genre{{Code: "sf"}, {Code: "crime"}}).Error)
		must(t, app.Model(&Genre{}).Where("code = ?", "sf").Update("code", "scifi").Error)
		must(t, app.Clauses(clause.OnConflict{DoNothing: true}).Create(&[]Genre{{Code: "crime"}, {Code: "noir"}}).Error)
		deleted := app.Clauses(clause.Returning{}).Where("code <> ?", "noir").Delete(&[]Genre{})
		if must(t, deleted.Error); deleted.RowsAffected != 2 {
			t.Errorf("%d rows deleted, want 2", deleted.RowsAffected)
		}
		var got []string
		must(t, b.super.Raw(`SELECT action || ' ' || resource_id || ' ' || actor_id || ' ' || coalesce(tenant_id, '-') FROM audit_logs
			WHERE resource_type = 'genres' ORDER BY created_at, resource_id`).Scan(&got).Error)
		want := []string{"create sf u_1 -", "create crime u_1 -", "update sf u_1 -", "create noir u_1 -", "delete crime u_1 -", "delete scifi u_1 -"}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}

		must(t, b.super.Exec("REVOKE EXECUTE ON FUNCTION courtroll_record_event FROM "+b.AppRole).Error)
		if err := app.Create(&Genre{Code: "lost"}).Error; !errors.Is(err, audit.ErrAudit) {
			t.Errorf("without the right to record: %v, want ErrAudit", err)
		}
		var n int64
		must(t, b.super.Model(&Genre{}).Where("code = ?", "lost").Count(&n).Error)
		if n != 0 {
			t.Error("a row was written without an entry")
		}
	})
}
