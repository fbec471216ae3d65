package plugins

import (
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/hints"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// TestHints puts comments at each clause at which GORM itself takes one from gorm.io/hints,
// also around a WHERE that has no condition but ours.
func TestHints(t *testing.T) {
	t.Parallel()
	for name, comment := range map[string]func(name, text string) hints.Hints{
		"before": hints.CommentBefore, "after": hints.CommentAfter,
	} {
		for _, place := range []string{"select", "from", "where", "insert", "values", "update", "delete", "order by"} {
			t.Run(name+"_"+place, func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, schema)
				r := tenancy.Rules{Models: []any{&Note{}, &Folder{}}}
				must(t, errors.Join(db.App.Use(tenancy.New(tenancy.Config{Rules: r})), db.App.Use(audit.New(audit.Config{Rules: r}))))
				acme := db.App.WithContext(tenancy.WithTenant(t.Context(), "acme"))
				hal := db.App.WithContext(tenancy.WithTenant(t.Context(), "hal"))
				must(t, acme.Create(&Note{Body: "b"}).Error)

				hinted := hal.Clauses(comment(place, "hint")).Session(&gorm.Session{AllowGlobalUpdate: true})
				own := Note{Body: "b"}
				must(t, hinted.Create(&own).Error)
				var notes []Note
				must(t, hinted.Find(&notes).Error)
				must(t, hinted.Order("id").Find(&notes, "body = ?", "b").Error)
				updated := hinted.Model(&notes).Clauses(clause.Returning{}).Update("body", "new")
				deleted := hinted.Where("body = ?", "new").Delete(&Note{})
				must(t, errors.Join(updated.Error, deleted.Error))
				if len(notes) != 1 || updated.RowsAffected != 1 || deleted.RowsAffected != 1 {
					t.Errorf("read %d rows, updated %d, deleted %d, want 1 each", len(notes), updated.RowsAffected, deleted.RowsAffected)
				}
				var n int64
				must(t, acme.Model(&Note{}).Where("body = ?", "b").Count(&n).Error)
				if n != 1 {
					t.Error("the other tenant's row changed")
				}
			})
		}
	}
}
