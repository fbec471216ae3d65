package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

const (
	topPages    = 5  // shown of a tenant
	historyPage = 10 // entries that are read at a time
	historyTop  = 8  // entries that are shown before the first one
)

var errChecks = errors.New("not every check held")

// replay loads the edits, shows what came of them, and checks it.
func replay(ctx context.Context, db *handles, edits []edit, out io.Writer) error {
	want := expect(edits)
	fmt.Fprintf(out, "Edits:    %s of %s pages in %s Wikipedias\n", number(len(edits)), number(len(want.pages)), number(len(want.tenants)))
	if err := addTenants(ctx, db.app, want.tenants); err != nil {
		return fmt.Errorf("adding the tenants: %w", err)
	}
	took, err := load(ctx, db.app, edits, out)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "Loaded:   in %s, %s edits per second\n", took.Round(time.Millisecond), number(int(float64(len(edits))/took.Seconds())))
	refusals, err := show(ctx, db, want, out)
	if err != nil {
		return err
	}
	held, err := verify(ctx, db.system, want)
	if err != nil {
		return err
	}
	found, err := migrate.Doctor(ctx, db.app)
	if err != nil {
		return err
	}
	sound := check{"migrate.Doctor finds nothing that undermines the walls", len(found) == 0, fmt.Sprint(found)}
	return printChecks(out, append(append(refusals, held...), sound))
}

// show prints what a tenant sees of its own, and what others get of it.
func show(ctx context.Context, db *handles, want *expected, out io.Writer) ([]check, error) {
	ctx = tenancy.WithTenant(ctx, want.busiest.tenant)
	page, err := showPages(ctx, db.app, want.busiest, out)
	if err != nil {
		return nil, fmt.Errorf("showing the pages: %w", err)
	}
	if err := showHistory(ctx, db.app, page, out); err != nil {
		return nil, fmt.Errorf("showing the history: %w", err)
	}
	return showRefusals(ctx, db, page, want.other(page.TenantID), out)
}

// showPages prints the tenant's most-edited pages and returns the one of that title.
func showPages(ctx context.Context, app *gorm.DB, busiest pageKey, out io.Writer) (page wiki.Page, err error) {
	var pages []wiki.Page
	if err := app.WithContext(ctx).Order("revisions DESC, title").Limit(topPages).Find(&pages).Error; err != nil {
		return page, err
	}
	t := newTable("Most-edited pages of "+busiest.tenant, "Page", "Namespace", "Edits", "Length", "Last edit")
	for _, p := range pages {
		t.row(p.Title, p.Namespace, number(int(p.Revisions)), fmt.Sprintf("%+d", p.Length), p.EditedAt.UTC().Format(time.DateTime))
	}
	t.print(out)
	err = app.WithContext(ctx).Where("title = ?", busiest.title).Take(&page).Error
	return page, err
}

// showHistory prints who changed the page, from where, when, and what.
func showHistory(ctx context.Context, app *gorm.DB, page wiki.Page, out io.Writer) error {
	entries, err := history(ctx, app, page)
	if err != nil {
		return err
	}
	t := newTable(fmt.Sprintf("History of %q: %s entries, newest first", page.Title, number(len(entries))),
		"When", "Who", "From where", "Action", "What changed")
	for i, entry := range entries {
		switch last := len(entries) - 1; {
		case i < historyTop || i == last:
			if err := addEntry(t, entry); err != nil {
				return err
			}
		case i == historyTop:
			t.row("…", fmt.Sprintf("%d more", last-historyTop))
		}
	}
	t.print(out)
	return nil
}

// history reads all entries of the page, newest first, one page of the list after the other.
func history(ctx context.Context, app *gorm.DB, page wiki.Page) (entries []models.AuditLog, err error) {
	filter := audit.Filter{ResourceType: "pages", ResourceID: strconv.FormatInt(page.ID, 10), Limit: historyPage}
	for cursor := ""; ; {
		list, err := audit.List(ctx, app, filter, cursor)
		if err != nil {
			return nil, err
		}
		entries = append(entries, list.Entries...)
		if list.Next == "" {
			return entries, nil
		}
		cursor = list.Next
	}
}

func addEntry(t *printTable, entry models.AuditLog) error {
	changes, err := audit.Changes(entry)
	if err != nil {
		return err
	}
	t.row(entry.CreatedAt.UTC().Format("15:04:05.000"), orElse(entry.ActorID, "(anonymous)"), orElse(entry.IPAddress, ""),
		entry.Action, describe(changes))
	return nil
}
