package walls

import (
	"cmp"
	"encoding/json"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// smallBook is a model that has drifted from its table: it can hold hal's id and
// not acme's. GORM scans the columns in their order, and stops at the first that fails.
type smallBook struct {
	ID       int8
	TenantID string
	Title    string
	ShelfID  *int64
	Shelf    *Shelf
}

func (smallBook) TableName() string { return "books" }

// smallPart is no model, but what is read of one.
type smallPart struct {
	ID       int8
	TenantID string
	Title    string
}

// smallJSON has a field whose values GORM keeps elsewhere.
type smallJSON struct {
	ID       int8
	TenantID string
	Title    string `gorm:"serializer:json"`
}

func (smallJSON) TableName() string { return "books" }

// TestStale: a row that cannot be read leaves nothing in the struct that was
// another tenant's. GORM scans into values that it has used before, and gives
// what they hold to the struct also where the scan fails.
func TestStale(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{ours, plain, oursAudited}, func(t *testing.T, f form) {
		b := f.setup(t)
		shelf := Shelf{TenantID: "hal", Name: "shelf of hal"}
		must(t, b.super.Create(&shelf).Error)
		must(t, b.super.Create(&Book{ID: 1, TenantID: "hal", Title: `"book of hal"`, ShelfID: &shelf.ID}).Error)
		must(t, b.super.Create(&[]Book{{ID: 1000, TenantID: "acme", Title: `"a"`}, {ID: 1001, TenantID: "acme", Title: `"b"`}}).Error)
		must(t, b.super.Exec(`SELECT setval(pg_get_serial_sequence('books', 'id'), 2000)`).Error)

		for name, read := range staleReads {
			if f.name == plain.name && strings.HasPrefix(name, "scan") {
				continue // it needs a transaction, and the driver does not say when it is read
			}
			t.Run(name, func(t *testing.T) {
				runtime.LockOSThread() // the values are kept for each processor
				defer runtime.UnlockOSThread()
				for range 30 {
					if got, err := read(b.app.WithContext(b.hal)); err != nil || !strings.Contains(got, "book of hal") {
						t.Fatalf("hal got %s with the error %v", got, err)
					}
					got, err := read(b.app.WithContext(b.acme))
					if err == nil || strings.Contains(got, "hal") {
						t.Fatalf("acme got %s with the error %v", got, err)
					}
				}
			})
		}
		t.Run("create", func(t *testing.T) {
			var books []smallBook
			for range 30 {
				must(t, b.app.WithContext(b.hal).Find(&books).Error)
				book := smallBook{Title: "new"}
				err := b.app.WithContext(b.acme).Clauses(clause.Returning{}).Create(&book).Error
				if err == nil || strings.Contains(asJSON(book), "hal") {
					t.Fatalf("acme got %s with the error %v", asJSON(book), err)
				}
			}
		})
	})
}

var staleReads = map[string]func(db *gorm.DB) (string, error){
	"find":             into(func(db *gorm.DB, dest *[]smallBook) error { return db.Find(dest).Error }),
	"find, pointers":   into(func(db *gorm.DB, dest *[]*smallBook) error { return db.Find(dest).Error }),
	"find, array":      into(func(db *gorm.DB, dest *[2]smallBook) error { return db.Find(dest).Error }),
	"find, serialized": into(func(db *gorm.DB, dest *[]smallJSON) error { return db.Find(dest).Error }),
	"find, of a model": into(func(db *gorm.DB, dest *[]smallPart) error { return db.Model(&Book{}).Find(dest).Error }),
	"find, of a table": into(func(db *gorm.DB, dest *[]smallPart) error { return db.Table("books").Find(dest).Error }),
	"find by hand":     into(func(db *gorm.DB, dest *[]smallPart) error { return db.Raw(`SELECT * FROM books`).Find(dest).Error }),
	"take":             into(func(db *gorm.DB, dest *smallBook) error { return db.Take(dest).Error }),
	"take, of a model": into(func(db *gorm.DB, dest *smallPart) error { return db.Model(&Book{}).Take(dest).Error }),
	"joins":            into(func(db *gorm.DB, dest *[]smallBook) error { return db.Joins("Shelf").Find(dest).Error }),
	"scan by hand":     into(func(db *gorm.DB, dest *[]smallPart) error { return db.Raw(`SELECT * FROM books`).Scan(dest).Error }),
	"scan one by hand": into(func(db *gorm.DB, dest *smallPart) error { return db.Raw(`SELECT * FROM books`).Scan(dest).Error }),
	"scan, of a model": into(func(db *gorm.DB, dest *[]smallPart) error { return db.Model(&Book{}).Scan(dest).Error }),
	"scan, of a table": into(func(db *gorm.DB, dest *[]smallPart) error { return db.Table("books").Scan(dest).Error }),
	"scan, of itself":  into(func(db *gorm.DB, dest *[]smallBook) error { return db.Model(&smallBook{}).Scan(dest).Error }),
	"update": into(func(db *gorm.DB, dest *[]smallBook) error {
		return db.Model(dest).Clauses(clause.Returning{}).Where("id > ?", 0).Update("shelf_id", nil).Error
	}),
	"delete": into(func(db *gorm.DB, dest *[]smallBook) error { // hal's are put back
		return db.Transaction(func(tx *gorm.DB) error {
			err := tx.Clauses(clause.Returning{}).Where("id > ?", 0).Delete(dest).Error
			return cmp.Or(err, tx.Create(dest).Error)
		})
	}),
}

func into[D any](read func(db *gorm.DB, dest *D) error) func(db *gorm.DB) (string, error) {
	return func(db *gorm.DB) (string, error) {
		var dest D
		err := read(db, &dest)
		return asJSON(dest), err
	}
}

// asJSON shows what pointers lead to.
func asJSON(value any) string {
	text, err := json.Marshal(value)
	return cmp.Or(string(text), fmt.Sprint(err))
}
