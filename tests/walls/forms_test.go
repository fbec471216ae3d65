package walls

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tenancy"
)

// TestForms does what an app does, in each way of putting one together.
func TestForms(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		before := b.rows(t, "hal")
		acme := b.app.WithContext(b.acme)
		shelf := Shelf{Name: "low", Books: []Book{{Title: "c"}, {Title: "d"}}}
		must(t, acme.Create(&shelf).Error)
		must(t, acme.Model(&Book{}).Where("title = ?", "c").Update("copies", gorm.Expr("copies + 1")).Error)
		must(t, acme.Save(&shelf).Error)
		must(t, acme.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Book{ID: shelf.Books[0].ID, Title: "e"}).Error)
		must(t, acme.Transaction(func(tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error {
				must(t, tx.Create(&Book{Title: "lost"}).Error)
				return errors.New("back to the savepoint")
			})
			return tx.Create(&Book{Title: "kept"}).Error
		}))
		must(t, acme.Where("title = ?", "d").Delete(&Book{}).Error)
		var got []Shelf
		must(t, acme.Preload("Books", func(db *gorm.DB) *gorm.DB { return db.Order("id") }).Order("id").Find(&got).Error)
		titles := map[string][]string{}
		for _, s := range got {
			for _, book := range s.Books {
				titles[s.Name] = append(titles[s.Name], book.Title)
			}
		}
		if diff := cmp.Diff(map[string][]string{"top": {"a"}}, titles); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		var n int64
		must(t, acme.Model(&Book{}).Count(&n).Error)
		if n != 4 { // a, b, e, kept
			t.Errorf("acme counts %d books, want 4", n)
		}
		if diff := cmp.Diff(before, b.rows(t, "hal")); diff != "" {
			t.Errorf("hal's rows changed: -before +after:\n%s", diff)
		}
		must(t, b.app.WithContext(b.system).Model(&Book{}).Count(&n).Error)
		if n != 6 {
			t.Errorf("system scope counts %d books, want 6", n)
		}
		if err := b.app.WithContext(t.Context()).Find(&[]Book{}).Error; !errors.Is(err, tenancy.ErrNoTenant) {
			t.Errorf("without a tenant: got %v, want ErrNoTenant", err)
		}
	})
}
