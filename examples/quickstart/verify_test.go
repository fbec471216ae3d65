package main

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// failed returns the names of the checks that did not hold, up to the figures in them.
func failed(checks []check) (names []string) {
	for _, c := range checks {
		if !c.held {
			name, _, _ := strings.Cut(c.name, ": ")
			names = append(names, name)
		}
	}
	return names
}

// The checks by their names.
const (
	pageCount   = "pages"
	trailCount  = "audit rows"
	revCount    = "revisions"
	pageFigures = "every page has the length, the number of revisions and the time of its edits"
	revOrder    = "every page has its revisions, in the order of the file"
	pageUpd     = "audit rows of pages update"
	combos      = "audit rows name tenant, actor and address"
	chain       = "every old value in the trail is the new value before it"
	ends        = "the last values in the trail are those of the tables"
	place       = "every audit row is in the tenant of the row that it is about"
)

// someUpdate is an audit row with entries of the same page before and after it.
// Each edit of that page changes its length.
const someUpdate = `(SELECT id FROM audit_logs WHERE resource_type = 'pages' AND metadata->'changes'->'revisions'->>'new' = '3'
	AND resource_id = (SELECT id::text FROM pages WHERE title = 'User:Attar-Aram syria/sandbox'))`

const somePage = `(SELECT min(id) FROM pages WHERE revisions > 2)`

// TestVerify corrupts what was loaded: a verification that cannot fail is worthless.
func TestVerify(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		corrupt string
		failed  []string
	}{
		"nothing":                 {`SELECT 1`, nil},
		"an audit row is missing": {`DELETE FROM audit_logs WHERE id = ` + someUpdate, []string{trailCount, pageUpd, combos, chain}},
		"the last one is missing": {`DELETE FROM audit_logs WHERE id = (SELECT id FROM audit_logs WHERE action = 'update' ORDER BY created_at DESC LIMIT 1)`, []string{trailCount, pageUpd, combos, ends}},
		"an audit row is there twice": {`INSERT INTO audit_logs (actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
			SELECT actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at FROM audit_logs WHERE id = ` + someUpdate,
			[]string{trailCount, pageUpd, combos, chain}},
		"an old value is another": {`UPDATE audit_logs SET metadata = jsonb_set(metadata, '{changes,length,old}', '-77') WHERE id = ` + someUpdate, []string{chain}},
		"a new value is another":  {`UPDATE audit_logs SET metadata = jsonb_set(metadata, '{changes,revisions,new}', '77') WHERE id = ` + someUpdate, []string{chain}},
		"a change is missing":     {`UPDATE audit_logs SET metadata = metadata #- '{changes,revisions}' WHERE id = ` + someUpdate, []string{chain}},
		"the actor is another":    {`UPDATE audit_logs SET actor_id = 'somebody else' WHERE id = ` + someUpdate, []string{combos}},
		"the address is another":  {`UPDATE audit_logs SET ip_address = '192.0.2.1' WHERE id = ` + someUpdate, []string{combos}},
		"the tenant is another":   {`UPDATE audit_logs SET tenant_id = 'stranger' WHERE id = ` + someUpdate, []string{combos, place}},
		"a page's length":         {`UPDATE pages SET length = length + 1 WHERE id = ` + somePage, []string{pageFigures, ends}},
		"a page's tenant":         {`UPDATE pages SET tenant_id = 'stranger' WHERE id = ` + somePage, []string{pageFigures, revOrder, ends, place}},
		"a page is missing":       {`ALTER TABLE revisions DROP CONSTRAINT fk_revisions_page; DELETE FROM pages WHERE id = ` + somePage, []string{pageCount, pageFigures, revOrder, ends}},
		"a revision's comment":    {`UPDATE revisions SET comment = 'x' WHERE id = (SELECT min(id) FROM revisions)`, []string{revOrder, ends}},
		"a revision is missing":   {`DELETE FROM revisions WHERE id = (SELECT min(id) FROM revisions)`, []string{revCount, revOrder, ends}},
		"revisions change places": {`UPDATE revisions r SET delta = o.delta, comment = o.comment FROM revisions o WHERE r.page_id = o.page_id AND r.id <> o.id AND r.page_id = (SELECT page_id FROM revisions GROUP BY 1 HAVING count(*) = 2 AND count(DISTINCT delta) = 2 ORDER BY 1 LIMIT 1)`, []string{revOrder, ends}},
		"a tenant's name":         {`UPDATE tenants SET name = 'x' WHERE id = 'en.wikipedia'`, []string{ends}},
		"a tenant too many":       {`INSERT INTO tenants (id, name, slug) VALUES ('x', 'x', 'x')`, []string{"tenants", ends}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, loaded)
			exec(t, db.Owner, test.corrupt)
			checks, err := verify(t.Context(), db.Owner, expect(few(t)))
			noError(t, err)
			if got := strings.Join(failed(checks), "\n"); got != strings.Join(test.failed, "\n") {
				t.Errorf("failed:\n%s\nwant:\n%s", got, strings.Join(test.failed, "\n"))
			}
			if err := printChecks(io.Discard, checks); (err != nil) != (len(test.failed) > 0) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestShowRefusals: where the tenancy plugin is left out, no attempt passes for refused.
func TestShowRefusals(t *testing.T) {
	t.Parallel()
	for _, guarded := range []bool{true, false} {
		db := pgtest.New(t, loaded)
		app := db.OpenOwner(demo.Silent())
		if guarded {
			noError(t, app.Use(tenancy.New(tenancy.Config{})))
		}
		noError(t, app.Use(audit.New(audit.Config{})))
		page := query[wiki.Page](t, db.Owner, `SELECT * FROM pages WHERE id = `+somePage)
		checks, err := showRefusals(context.Background(), &handles{app, db.Owner}, page, "stranger", io.Discard)
		noError(t, err)
		want := 0
		if !guarded {
			want = len(checks)
		}
		if got := failed(checks); len(got) != want {
			t.Errorf("with the plugin: %t: %d of %d failed: %s", guarded, len(got), len(checks), got)
		}
	}
}

// TestLoadConcurrently: edits of one page by all workers at once lose none,
// though their order is anyone's.
func TestLoadConcurrently(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, loaded)
	app := db.OpenOwner(demo.Silent())
	noError(t, app.Use(tenancy.New(tenancy.Config{})))
	noError(t, app.Use(audit.New(audit.Config{})))
	e := few(t)[0]
	ctx := tenancy.WithTenant(t.Context(), e.tenant())
	count := func() (page wiki.Page) {
		noError(t, app.WithContext(ctx).Where("title = ?", e.Page).Take(&page).Error)
		return page
	}
	before := count()
	errs := make(chan error)
	const n = 40
	for range n {
		go func() { errs <- apply(t.Context(), app, e) }()
	}
	for range n {
		noError(t, <-errs)
	}
	if after := count(); after.Revisions != before.Revisions+n || after.Length != before.Length+n*e.Delta {
		t.Errorf("the page went from %+v to %+v", before, after)
	}
	checks, err := verifyChain(db.Owner, nil)
	noError(t, err)
	if got := failed(checks); got != nil {
		t.Error(got)
	}
}
