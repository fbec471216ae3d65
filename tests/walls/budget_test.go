package walls

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/pgtest/wire"
)

// operation is something whose round trips are counted: n is how often it ran before.
type operation struct {
	name string
	// with is what it takes with tenancy.Postgres, not audited and audited, alone
	// what it takes with a dialector that binds in transactions alone.
	with, audited, alone int
	do                   func(db *gorm.DB, n int) error
}

// n statements of a transaction, for the rows that have one.
const statements = 5

var budget = []operation{
	{"read", 1, 1, 4, func(db *gorm.DB, _ int) error { return db.Limit(1).Find(&[]Book{}).Error }},
	{"count", 1, 1, 4, func(db *gorm.DB, _ int) error { var n int64; return db.Model(&Book{}).Count(&n).Error }},
	{"raw read", 1, 1, 4, func(db *gorm.DB, _ int) error { return db.Raw("SELECT * FROM books LIMIT ?", 1).Find(&[]Book{}).Error }},
	{"create", 2, 2, 4, func(db *gorm.DB, _ int) error { return db.Create(&Book{Title: "n"}).Error }},
	{"create of ten", 2, 2, 4, func(db *gorm.DB, _ int) error { ten := make([]Book, 10); return db.Create(&ten).Error }},
	{"update", 2, 2, 4, func(db *gorm.DB, n int) error {
		return db.Model(&Book{}).Where("title = ?", "a").Update("copies", n+1).Error
	}},
	{"update of all", 2, 2, 4, func(db *gorm.DB, _ int) error {
		return db.Model(&Book{}).Where("1 = 1").UpdateColumn("copies", gorm.Expr("copies + 1")).Error
	}},
	{"upsert", 2, 2, 4, func(db *gorm.DB, _ int) error {
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).
			Create(&Shelf{Name: "top"}).Error
	}},
	{"upsert of nothing", 2, 2, 4, func(db *gorm.DB, _ int) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&Shelf{Name: "top"}).Error
	}},
	{"delete", 2, 2, 4, func(db *gorm.DB, _ int) error { return db.Where("title = ?", "n").Delete(&Book{}).Error }},
	{"transaction of reads", statements + 1, statements + 1, statements + 3, func(db *gorm.DB, _ int) error {
		return db.Transaction(func(tx *gorm.DB) (err error) {
			for range statements {
				err = errors.Join(err, tx.Limit(1).Find(&[]Book{}).Error)
			}
			return err
		})
	}},
	{"transaction of updates", statements + 1, statements + 1, statements + 3, func(db *gorm.DB, n int) error {
		return db.Transaction(func(tx *gorm.DB) (err error) {
			for i := range statements {
				err = errors.Join(err, tx.Model(&Book{}).Where("title = ?", "a").Update("copies", n*statements+i).Error)
			}
			return err
		})
	}},
	{"transaction with a savepoint", 5, 5, 9, func(db *gorm.DB, _ int) error {
		return db.Transaction(func(tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error { return errors.New("back") })
			return errors.Join(tx.Limit(1).Find(&[]Book{}).Error, tx.Limit(1).Find(&[]Shelf{}).Error)
		})
	}},
	{"nothing but a rollback", 0, 0, 2, func(db *gorm.DB, _ int) error { return db.Begin().Rollback().Error }},
}

// TestBudget counts what is sent and then waited for, with the tenant changing on every call.
func TestBudget(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		form form
		want func(operation) int
	}{
		{ours, func(op operation) int { return op.with }},
		{oursAudited, func(op operation) int { return op.audited }},
		{plain, func(op operation) int { return op.alone }},
	} {
		t.Run(c.form.name, func(t *testing.T) {
			t.Parallel()
			var proxy *wire.Proxy
			b := c.form.setupOn(t, func(dsn string) string { proxy = wire.Listen(t, dsn); return proxy.DSN() })
			b.seed(t)
			pool, err := b.app.DB()
			must(t, err)
			pool.SetMaxOpenConns(1) // one statement cache
			for _, op := range budget {
				for n, tenant := range []context.Context{b.acme, b.hal, b.acme, b.hal, b.acme} {
					proxy.Reset()
					if err := op.do(b.app.WithContext(tenant), n); err != nil {
						t.Fatalf("%s: %v", op.name, err)
					}
					if got := proxy.RoundTrips(); n >= 2 && got != c.want(op) {
						t.Errorf("%s: %d round trips, want %d: %q", op.name, got, c.want(op), proxy.Statements())
						break
					}
				}
			}
		})
	}
}
