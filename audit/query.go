package audit

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
)

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// Page is one page of the trail.
type Page struct {
	Entries []models.AuditLog
	// Next is the cursor of the page after this one, empty if this is the last.
	Next string
}

// List returns the entries of the trail that match the filter, newest first,
// from the cursor of an earlier page or, where it is empty, from the start. A
// tenant's context sees the entries of that tenant, a system scope sees all;
// any other context is [tenancy.ErrNoTenant].
//
// Pages do not shift while writers insert: what was there when the first page was
// read comes once. A cursor is good for the tenant and the filter that it was
// returned for, whose times and Limit alone may change, and is [ErrCursor] elsewhere.
// A filter that cannot be used is [ErrFilter].
func List(ctx context.Context, db *gorm.DB, filter Filter, cursor string) (Page, error) {
	page, err := list(ctx, db, filter, cursor)
	if err != nil {
		return Page{}, fmt.Errorf("audit: listing: %w", err)
	}
	return page, nil
}

const listed = "list"

func list(ctx context.Context, db *gorm.DB, filter Filter, cursor string) (page Page, err error) {
	r, err := filter.read(ctx, db)
	if err != nil {
		return page, err
	}
	after, err := r.open(listed, cursor)
	if err != nil {
		return page, err
	}
	limit := filter.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	if err := r.page(bare(ctx, db), after.position, limit+1).Find(&page.Entries).Error; err != nil {
		return Page{}, err
	}
	if len(page.Entries) > limit {
		page.Entries = page.Entries[:limit]
		page.Next = r.seal(listed, mark{position: positionOf(page.Entries[limit-1])})
	}
	return page, nil
}
