package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/tenancy"
)

// attempt is something that must be refused: with that error, or where there is
// none, by reaching no row.
type attempt struct {
	what string
	try  func(db *gorm.DB) *gorm.DB
	want error
}

// attempts are ways to read or to take over a page of another tenant.
func attempts(page wiki.Page) []attempt {
	return []attempt{
		{"read it by its id", func(db *gorm.DB) *gorm.DB { return db.Take(&wiki.Page{}, page.ID) }, gorm.ErrRecordNotFound},
		{"read its revisions", func(db *gorm.DB) *gorm.DB { return db.Where("page_id = ?", page.ID).Find(&[]wiki.Revision{}) }, nil},
		{"save a page with its id", func(db *gorm.DB) *gorm.DB { return db.Save(&wiki.Page{ID: page.ID, Title: "Taken over"}) }, gorm.ErrDuplicatedKey},
		{"save the page itself, changed", func(db *gorm.DB) *gorm.DB {
			changed := page
			changed.Title = "Taken over"
			return db.Save(&changed)
		}, tenancy.ErrCrossTenant},
		{"update it by its id", func(db *gorm.DB) *gorm.DB {
			return db.Model(&wiki.Page{}).Where("id = ?", page.ID).Update("title", "Taken over")
		}, nil},
		{"update it with OR", func(db *gorm.DB) *gorm.DB {
			return db.Model(&wiki.Page{}).Where("title = ?", "No such page").Or("id = ?", page.ID).Update("title", "Taken over")
		}, nil},
		{"delete it by its id", func(db *gorm.DB) *gorm.DB { return db.Delete(&wiki.Page{}, page.ID) }, nil},
	}
}

// withoutTenant are statements that belong to nobody.
func withoutTenant() []attempt {
	return []attempt{
		{"create a page", func(db *gorm.DB) *gorm.DB { return db.Create(&wiki.Page{Title: "Nobody's"}) }, tenancy.ErrNoTenant},
		{"list all pages", func(db *gorm.DB) *gorm.DB { return db.Find(&[]wiki.Page{}) }, tenancy.ErrNoTenant},
	}
}

// showRefusals lets another tenant try to read and to overwrite the page, and
// looks whether the row is still the same, byte for byte.
func showRefusals(ctx context.Context, db *handles, page wiki.Page, other string, out io.Writer) ([]check, error) {
	before, err := rowOf(ctx, db.system, page)
	if err != nil {
		return nil, err
	}
	intruder, nobody := tenancy.WithTenant(ctx, other), tenancy.WithTenant(ctx, "")
	checks := tryAll(intruder, db.app, fmt.Sprintf("What %s gets of the page %q of %s", other, page.Title, page.TenantID), attempts(page), out)
	checks = append(checks, tryAll(nobody, db.app, "What a request without a tenant gets", withoutTenant(), out)...)
	after, err := rowOf(ctx, db.system, page)
	return append(checks, check{"the page's row is the same, byte for byte", before == after, ""}), err
}

func tryAll(ctx context.Context, app *gorm.DB, title string, list []attempt, out io.Writer) []check {
	var checks []check
	t := newTable(title, "Attempt", "Answer")
	for _, a := range list {
		result := a.try(app.WithContext(ctx))
		answer := fmt.Sprintf("%d rows", result.RowsAffected)
		if result.Error != nil {
			answer = strings.ReplaceAll(result.Error.Error(), "\n", "; ")
		}
		t.row(a.what, answer)
		refused := errors.Is(result.Error, a.want) && result.RowsAffected == 0
		checks = append(checks, check{"refused: " + a.what, refused, answer})
	}
	t.print(out)
	return checks
}

// rowOf returns the row as the database holds it, with its version and its
// place: a row that was written again, with whatever values, has others.
func rowOf(ctx context.Context, system *gorm.DB, page wiki.Page) (row string, err error) {
	err = system.WithContext(ctx).Raw("SELECT concat_ws(' ', xmin, ctid, p) FROM pages p WHERE id = ?", page.ID).Scan(&row).Error
	return row, err
}
