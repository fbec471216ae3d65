package tests

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func TestRecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	login := audit.Event{Action: "user.login", ResourceType: "user", ResourceID: "u_1", Outcome: audit.Failure, Data: map[string]any{"method": "sso"}}
	must(t, audit.Record(b.hal, b.app, login))
	must(t, audit.Record(context.Background(), b.app, login))
	must(t, audit.Record(b.system, b.app, audit.Event{Action: "tenant.export", ResourceType: "tenant", TenantID: "acme"}))
	rolledBack := errors.New("rolled back")
	_ = b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		must(t, audit.Record(b.hal, tx, login))
		return rolledBack
	})

	entries := b.trail(t)
	if len(entries) != 3 {
		t.Fatalf("%d entries, want 3", len(entries))
	}
	for i, want := range []string{"hal", "nil", "acme"} {
		if deref(entries[i].TenantID) != want {
			t.Errorf("entry %d: tenant %s, want %s", i, deref(entries[i].TenantID), want)
		}
	}
	m := metadata(t, entries[0])
	if m["outcome"] != "failure" || fmt.Sprint(m["data"]) != "map[method:sso]" || entries[0].ID.Version() != 7 {
		t.Errorf("metadata %v, id %s", m, entries[0].ID)
	}
	if metadata(t, entries[2])["outcome"] != "success" {
		t.Error("the default outcome is not success")
	}
	for name, event := range map[string]audit.Event{
		"no action":    {ResourceType: "user"},
		"no resource":  {Action: "user.login"},
		"other tenant": {Action: "user.login", ResourceType: "user", TenantID: "acme"},
	} {
		if err := audit.Record(b.hal, b.app, event); !errors.Is(err, audit.ErrAudit) {
			t.Errorf("%s: %v, want ErrAudit", name, err)
		}
	}
}

func TestList_Filters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.acme).Create(&Author{ID: 1, Email: "1"}).Error)
	must(t, b.as(b.hal).Create(&Author{ID: 2, Email: "2"}).Error)
	must(t, b.as(b.hal).Model(&Author{ID: 2}).Update("name", "x").Error)
	must(t, b.as(audit.WithActor(b.hal, audit.Actor{ID: "u_2"})).Delete(&Author{ID: 2}).Error)
	must(t, audit.Record(b.system, b.app, audit.Event{Action: "a.b", ResourceType: "c"}))

	for name, tc := range map[string]struct {
		ctx    context.Context
		filter audit.Filter
		want   []string
	}{
		"tenant":         {b.hal, audit.Filter{}, []string{"delete", "update", "create"}},
		"own tenant":     {b.hal, audit.Filter{TenantID: "hal"}, []string{"delete", "update", "create"}},
		"other tenant's": {b.acme, audit.Filter{}, []string{"create"}},
		"resource":       {b.hal, audit.Filter{ResourceType: "authors", ResourceID: "2"}, []string{"delete", "update", "create"}},
		"foreign key":    {b.hal, audit.Filter{ResourceType: "authors", ResourceID: "1"}, nil},
		"actor":          {b.hal, audit.Filter{ActorID: "u_2"}, []string{"delete"}},
		"action":         {b.hal, audit.Filter{Action: "update"}, []string{"update"}},
		"limit":          {b.hal, audit.Filter{Limit: 1}, []string{"delete"}},
		"system: one":    {b.system, audit.Filter{TenantID: "acme"}, []string{"create"}},
		"system: none":   {b.system, audit.Filter{WithoutTenant: true, Action: "a.b"}, []string{"a.b"}},
		"system: all":    {b.system, audit.Filter{ResourceType: "authors"}, []string{"delete", "update", "create", "create"}},
	} {
		page, err := audit.List(tc.ctx, b.app, tc.filter, "")
		must(t, err)
		var got []string
		for _, e := range page.Entries {
			got = append(got, e.Action)
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", name, got, tc.want)
		}
	}
}

func TestList_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, tc := range map[string]struct {
		ctx    context.Context
		filter audit.Filter
		cursor string
		want   error
	}{
		"no tenant":         {context.Background(), audit.Filter{}, "", tenancy.ErrNoTenant},
		"other tenant":      {b.hal, audit.Filter{TenantID: "acme"}, "", tenancy.ErrCrossTenant},
		"system events":     {b.hal, audit.Filter{WithoutTenant: true}, "", tenancy.ErrCrossTenant},
		"no time":           {b.hal, audit.Filter{From: time.Now(), To: time.Now().Add(-time.Second)}, "", audit.ErrFilter},
		"no text":           {b.hal, audit.Filter{ActorID: "\x00"}, "", audit.ErrFilter},
		"no UTF-8":          {b.hal, audit.Filter{RequestID: "\xff"}, "", audit.ErrFilter},
		"no such time":      {b.hal, audit.Filter{To: time.Unix(1<<62, 0)}, "", audit.ErrFilter},
		"no such time, too": {b.hal, audit.Filter{From: time.Date(-300000, 1, 1, 0, 0, 0, 0, time.UTC)}, "", audit.ErrFilter},
		"one and none":      {b.system, audit.Filter{TenantID: "hal", WithoutTenant: true}, "", audit.ErrFilter},
		"cursor":            {b.hal, audit.Filter{}, "x", audit.ErrCursor},
		"cursor of no size": {b.hal, audit.Filter{}, "AAAA", audit.ErrCursor},
	} {
		if _, err := audit.List(tc.ctx, b.app, tc.filter, tc.cursor); !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
}

// TestList_Pages reads page by page while entries are added, among them many of one instant.
func TestList_Pages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	instant := time.Date(2026, 1, 2, 3, 4, 5, 678_000, time.UTC)
	hal := "hal"
	for range 25 {
		must(t, b.Owner.Create(&models.NewAuditLog{TenantID: &hal, Action: "old", ResourceType: "x", CreatedAt: &instant}).Error)
	}
	var seen []string
	for cursor := ""; ; {
		page, err := audit.List(b.hal, b.app, audit.Filter{Limit: 4}, cursor)
		must(t, err)
		for _, e := range page.Entries {
			seen = append(seen, e.ID.String())
		}
		must(t, audit.Record(b.hal, b.app, audit.Event{Action: "new.entry", ResourceType: "x"}))
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	distinct := slices.Compact(slices.Sorted(slices.Values(seen)))
	if len(seen) != 25 || len(distinct) != 25 {
		t.Errorf("read %d entries, %d distinct, want 25", len(seen), len(distinct))
	}
}

// TestList_UsesIndexes explains the very statements that List sends, on a trail
// of many tenants.
func TestList_UsesIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.Owner.Exec(`INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, created_at)
		SELECT courtroll_uuidv7(), 'u_' || i % 997, nullif('t' || (i % 50), 't0'), 'update', 'pages', (i % 2000)::text, now() - i * interval '1 second'
		FROM generate_series(1, 60000) i`).Error)
	must(t, b.Owner.Exec("ANALYZE audit_logs").Error)
	sent := recordSQL(b.app)
	tenant := tenancy.WithTenant(b.hal, "t7")
	for name, tc := range map[string]struct {
		ctx    context.Context
		filter audit.Filter
		index  string
	}{
		"tenant's newest":   {tenant, audit.Filter{}, "courtroll_audit_logs_tenant"},
		"resource":          {tenant, audit.Filter{ResourceType: "pages", ResourceID: "7"}, "courtroll_audit_logs_resource"},
		"actor":             {tenant, audit.Filter{ActorID: "u_7"}, "courtroll_audit_logs_actor"},
		"system events":     {b.system, audit.Filter{WithoutTenant: true}, "courtroll_audit_logs_system"},
		"one, from outside": {b.system, audit.Filter{TenantID: "t7"}, "courtroll_audit_logs_tenant"},
	} {
		cursor := ""
		for range 2 {
			page, err := audit.List(tc.ctx, b.app, tc.filter, cursor)
			must(t, err)
			cursor = page.Next
			log := sent.take()
			var plan []string
			must(t, b.Owner.Raw("EXPLAIN "+log[len(log)-1], sent.args...).Scan(&plan).Error)
			text := strings.Join(plan, "\n")
			if !strings.Contains(text, tc.index) || strings.Contains(text, "Sort") {
				t.Errorf("%s: not read in the order of %s:\n%s", name, tc.index, text)
			}
		}
	}
}

// TestList_WithoutTenancy lists on a handle that has no tenancy plugin: the
// context's tenant narrows all the same.
func TestList_WithoutTenancy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.acme).Create(&Author{ID: 1, Email: "1"}).Error)
	page, err := audit.List(b.hal, b.OpenApp(&gorm.Config{}), audit.Filter{}, "")
	must(t, err)
	if len(page.Entries) > 0 {
		t.Errorf("hal sees %d entries of acme", len(page.Entries))
	}
}

// TestList_Key refuses cursors that another key signed, or none.
func TestList_Key(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "a.b")
	b.note(t, b.hal, "a.b")
	cursors := map[string]string{}
	for _, key := range []string{"", strings.Repeat("a", 32), strings.Repeat("b", 32)} {
		app := b.OpenApp(&gorm.Config{})
		var config audit.Config
		if key != "" {
			config.CursorKey = []byte(key)
		}
		use(t, app, audit.New(config))
		first, err := audit.List(b.hal, app, audit.Filter{Limit: 1}, "")
		must(t, err)
		for other, cursor := range cursors {
			if _, err := audit.List(b.hal, app, audit.Filter{Limit: 1}, cursor); !errors.Is(err, audit.ErrCursor) {
				t.Errorf("a cursor signed with %q where the key is %q: %v", other, key, err)
			}
		}
		if page, err := audit.List(b.hal, app, audit.Filter{Limit: 2}, first.Next); err != nil || len(page.Entries) != 1 {
			t.Errorf("the second page has %d entries, %v", len(page.Entries), err)
		}
		cursors[key] = first.Next
	}
	if err := b.OpenApp(&gorm.Config{}).Use(audit.New(audit.Config{CursorKey: []byte("short")})); err == nil {
		t.Error("a short key is accepted")
	}
}

// TestList_Cursors go on with times that moved, and with no other filter.
func TestList_Cursors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for range 3 {
		b.note(t, b.hal, "a.b")
	}
	first, err := audit.List(b.hal, b.app, audit.Filter{Limit: 1, From: time.Now().Add(-time.Hour)}, "")
	must(t, err)
	second, err := audit.List(b.hal, b.app, audit.Filter{Limit: 2, From: time.Now().Add(-time.Hour), To: time.Now().Add(time.Hour)}, first.Next)
	if err != nil || len(second.Entries) != 2 {
		t.Errorf("with times that moved, %d entries, %v", len(second.Entries), err)
	}
	for range 2 {
		must(t, audit.Record(b.system, b.app, audit.Event{Action: "a.b", ResourceType: "x"}))
	}
	system, err := audit.List(b.system, b.app, audit.Filter{Limit: 1}, "")
	must(t, err)
	for name, tc := range map[string]struct {
		ctx    context.Context
		filter audit.Filter
		cursor string
	}{
		"order":          {b.hal, audit.Filter{OldestFirst: true}, first.Next},
		"outcome":        {b.hal, audit.Filter{Outcome: audit.Success}, first.Next},
		"without tenant": {b.system, audit.Filter{WithoutTenant: true}, system.Next},
		"tenant":         {b.system, audit.Filter{TenantID: "hal"}, system.Next},
	} {
		if _, err := audit.List(tc.ctx, b.app, tc.filter, tc.cursor); !errors.Is(err, audit.ErrCursor) {
			t.Errorf("%s: %v, want ErrCursor", name, err)
		}
	}
}

// TestList_FirstOfAll has an entry at the very first place of the order.
func TestList_FirstOfAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.super.Exec(`INSERT INTO audit_logs (id, tenant_id, action, resource_type, created_at) VALUES
		('00000000-0000-0000-0000-000000000000', 'hal', 'a.b', 'x', '0001-01-01 00:00:00Z'), (DEFAULT, 'hal', 'a.b', 'x', now())`).Error)
	page, err := audit.List(b.hal, b.app, audit.Filter{OldestFirst: true, Limit: 1}, "")
	must(t, err)
	if page, err = audit.List(b.hal, b.app, audit.Filter{OldestFirst: true, Limit: 1}, page.Next); err != nil || page.Next != "" || page.Entries[0].CreatedAt.Year() == 1 {
		t.Errorf("the second page is %+v, %v", page, err)
	}
}

// TestList_NoSystemLogin reads in system scope with the app's own login behind
// row-level security, which may not even record that.
func TestList_NoSystemLogin(t *testing.T) {
	t.Parallel()
	db, r := walls{all: true}.database(t, nil, nil)
	app := db.Open(tenancy.Postgres(db.AppDSN), &gorm.Config{})
	use(t, app, tenancy.New(tenancy.Config{Rules: r, RowLevelSecurity: true}))
	use(t, app, audit.New(audit.Config{Rules: r}))
	b := newBundle(t, db, app)
	_, listErr := audit.List(b.system, app, audit.Filter{}, "")
	for name, err := range map[string]error{
		"list": listErr, "record": audit.Record(b.system, app, audit.Event{Action: "a.b", ResourceType: "x"}), "find": b.as(b.system).Find(&[]Author{}).Error,
	} {
		if !errors.Is(err, tenancy.ErrSystemLogin) {
			t.Errorf("%s: %v, want ErrSystemLogin", name, err)
		}
	}
}

// TestList_Types takes any text for a type, as what it is.
func TestList_Types(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, name := range []string{"x", "x' OR 'x", `x\' OR 1=1 --`, "x?", "@x", "x$1", "x.y-Z_1", "ü", strings.Repeat("x", 100)} {
		must(t, audit.Record(b.hal, b.app, audit.Event{Action: "a.b", ResourceType: name}))
		page, err := audit.List(b.hal, b.app, audit.Filter{ResourceType: name}, "")
		if err != nil || len(page.Entries) != 1 || page.Entries[0].ResourceType != name {
			t.Errorf("%s: %d entries, %v", name, len(page.Entries), err)
		}
	}
}
