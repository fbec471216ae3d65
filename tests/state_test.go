package tests

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// now is the database's clock.
func (b *bundle) now(t *testing.T) (at time.Time) {
	t.Helper()
	must(t, b.super.Raw("SELECT clock_timestamp()").Scan(&at).Error)
	return at
}

// moment is a row as it was at a time, nil where it was not there.
type moment struct {
	at  time.Time
	row map[string]any
}

func (b *bundle) moment(t *testing.T) moment {
	t.Helper()
	var rows []string
	must(t, b.super.Raw(`SELECT jsonb_strip_nulls(to_jsonb(r) - '{api_token,updated_at}'::text[])::text FROM pages r WHERE id = 1`).Scan(&rows).Error)
	m := moment{at: b.now(t)}
	if len(rows) > 0 {
		must(t, json.Unmarshal([]byte(rows[0]), &m.row))
	}
	return m
}

// fields are those of a state that are not null, without those that the trail does
// not have as they are.
func fields(t *testing.T, s audit.State) map[string]any {
	t.Helper()
	var row map[string]any
	text, err := json.Marshal(s.Fields)
	must(t, err)
	must(t, json.Unmarshal(text, &row))
	maps.DeleteFunc(row, func(name string, value any) bool { return value == nil || name == "api_token" || name == "updated_at" })
	return row
}

var firstPage = audit.Resource{Type: "pages", ID: "1"}

// TestAsOf_Life changes a page in random ways and compares what the trail says of
// each moment with what the table had.
func TestAsOf_Life(t *testing.T) {
	t.Parallel()
	b := setup(t)
	moments := []moment{b.moment(t)}
	random := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		b.touch(t, random)
		moments = append(moments, b.moment(t))
	}
	for i, m := range moments {
		s, err := audit.AsOf(b.hal, b.app, firstPage, m.at)
		must(t, err)
		if s.Exists != (m.row != nil) || s.Partial || len(s.Gaps) > 0 || fmt.Sprint(fields(t, s)) != fmt.Sprint(m.row) {
			t.Fatalf("moment %d: %+v %v, want %v", i, s, fields(t, s), m.row)
		}
		if s.SoftDeleted != (m.row != nil && m.row["deleted_at"] != nil) {
			t.Errorf("moment %d: soft-deleted is %v", i, s.SoftDeleted)
		}
	}
	b.wantPartial(t, moments)
}

// touch makes one random change of page 1.
func (b *bundle) touch(t *testing.T, random *rand.Rand) {
	t.Helper()
	page, db := &Page{ID: 1}, b.as(b.hal)
	switch n := random.IntN(10); n {
	case 0:
		must(t, db.Unscoped().Delete(page).Error)
	case 1:
		must(t, db.Delete(page).Error)
	case 2:
		must(t, db.Unscoped().Model(page).Update("deleted_at", nil).Error)
	case 3, 4:
		must(t, db.Unscoped().Model(page).Update("views", gorm.Expr("views + 1")).Error)
	default:
		created := db.Unscoped().Where(page).Attrs(&Page{Title: "new", Views: n}).FirstOrCreate(page)
		must(t, created.Error)
		must(t, db.Unscoped().Model(page).Updates(map[string]any{"title": fmt.Sprint("title ", random.IntN(3)), "author_id": nil}).Error)
	}
}

// wantPartial cuts the trail off at the front, entry by entry: what is known of each
// moment is what the table had.
func (b *bundle) wantPartial(t *testing.T, moments []moment) {
	t.Helper()
	partial := 0
	for i := range 20 {
		var cut time.Time
		must(t, b.super.Raw(`DELETE FROM audit_logs WHERE id = (SELECT id FROM audit_logs ORDER BY created_at, id LIMIT 1) RETURNING created_at`).Scan(&cut).Error)
		for _, m := range moments {
			s, err := audit.AsOf(b.hal, b.app, firstPage, m.at)
			must(t, err)
			if m.at.Before(cut) {
				continue // nobody knows
			}
			if s.Partial {
				partial++
			}
			for name, value := range fields(t, s) {
				if fmt.Sprint(m.row[name]) != fmt.Sprint(value) {
					t.Fatalf("%d entries cut off: %s is %v, was %v", i+1, name, value, m.row[name])
				}
			}
			if s.Exists && !s.Partial && len(fields(t, s)) != len(m.row) {
				t.Fatalf("%d entries cut off: %v is said to be whole, was %v", i+1, fields(t, s), m.row)
			}
		}
	}
	if partial == 0 {
		t.Error("no state was partial")
	}
}

// TestAsOf_Columns has columns that come, go and change their type, and their name.
func TestAsOf_Columns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Page{ID: 1, Title: "a", Views: 1}).Error)
	first := b.now(t)
	for _, ddl := range []string{
		`ALTER TABLE pages ADD COLUMN state text DEFAULT 'draft'`, `ALTER TABLE pages RENAME COLUMN title TO headline`,
		`ALTER TABLE pages ALTER COLUMN views TYPE text`,
	} {
		must(t, b.Owner.Exec(ddl).Error)
	}
	type Renamed struct {
		ID       int64
		TenantID string
		State    string
		Headline string
		Views    string
	}
	update := func() error {
		return b.as(b.hal).Table("pages").Model(&Renamed{ID: 1}).Updates(&Renamed{State: "sent", Headline: "b", Views: "2"}).Error
	}
	if err := update(); !errors.Is(err, audit.ErrAudit) { // once, for the table was altered
		must(t, err)
	} else {
		must(t, update())
	}
	before, err := audit.AsOf(b.hal, b.app, firstPage, first)
	must(t, err)
	after, err := audit.AsOf(b.hal, b.app, firstPage, b.now(t))
	must(t, err)
	diff := before.Diff(after)
	for name, want := range map[string]string{"state": `null "sent"`, "headline": `null "b"`, "views": `1 "2"`} {
		if got := string(diff[name].Old) + " " + string(diff[name].New); got != want {
			t.Errorf("%s differs by %s, want %s", name, got, want)
		}
	}
	if len(diff) != 3 || len(before.Gaps) > 0 {
		t.Errorf("the difference is %v, the gaps %v", slices.Sorted(maps.Keys(diff)), before.Gaps)
	}
	var altered []string // of which the trail did not have the value before; of the one with another type it did
	for _, gap := range after.Gaps {
		altered = append(altered, gap.Field)
	}
	if slices.Sort(altered); !slices.Equal(altered, []string{"headline", "state"}) {
		t.Errorf("the gaps are %v", altered)
	}
}

// TestAsOf_Gaps finds changes that left no entry.
func TestAsOf_Gaps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "1", Name: "a"}).Error)
	must(t, b.Owner.Exec(`UPDATE authors SET name = 'by hand'`).Error)
	must(t, b.as(b.hal).Model(&Author{ID: 1}).Update("name", "b").Error)
	must(t, b.Owner.Exec(`DELETE FROM authors`).Error)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "1", Name: "a"}).Error)
	s, err := audit.AsOf(b.hal, b.app, audit.Resource{Type: "authors", ID: "1"}, b.now(t))
	must(t, err)
	entries := b.trail(t)
	want := []audit.Gap{{Entry: entries[1].ID, Field: "name"}, {Entry: entries[2].ID}}
	if !slices.Equal(s.Gaps, want) {
		t.Errorf("the gaps are %v, want %v", s.Gaps, want)
	}
}

// TestAsOf_SoftDeleted knows it of rows that no entry says it of: one that was made
// so, and one that was before the trail began.
func TestAsOf_SoftDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	past := gorm.DeletedAt{Time: time.Now().Add(-time.Hour), Valid: true}
	must(t, b.as(b.hal).Create(&Page{ID: 1, DeletedAt: past}).Error)
	must(t, b.super.Create(&Page{ID: 2, TenantID: "hal", DeletedAt: past}).Error)
	begin := b.now(t)
	must(t, b.as(b.hal).Unscoped().Delete(&Page{ID: 2}).Error)
	other := models.NewAuditLog{Action: "viewed", ResourceType: "pages", ResourceID: new(string), TenantID: new(string)}
	*other.ResourceID, *other.TenantID = "1", "hal"
	must(t, b.super.Create(&other).Error)
	for id, at := range map[string]time.Time{"1": {}, "2": begin} {
		s, err := audit.AsOf(b.hal, b.app, audit.Resource{Type: "pages", ID: id}, at)
		must(t, err)
		if !s.Exists || !s.SoftDeleted || s.Partial || len(s.Gaps) > 0 {
			t.Errorf("page %s is %+v", id, s)
		}
	}
}

// TestAsOf_Forms has values that were recorded in one form and are read in another.
func TestAsOf_Forms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	forms := []struct {
		before, old string
		gap         bool
	}{
		{`"a"`, `"a"`, false}, {`"a"`, `"b"`, true}, {`1.0`, `1.00`, false}, {`1`, `2`, true}, {`5`, `"5"`, false}, {`true`, `"true"`, false},
		{`"a"`, `"[redacted]"`, false}, {`"[redacted]"`, `"a"`, false}, {`"a"`, `"hmac-sha256:00"`, false}, {`"aaa"`, `"a...[cut from 3 characters]"`, false},
		{`null`, `""`, true}, {`""`, `null`, true}, {`null`, `"null"`, true}, {`{"a": 1}`, `{"a": 2}`, true},
	}
	for i, f := range forms {
		for step, changes := range map[string]string{"create": `null, "new": ` + f.before, "update": f.old + `, "new": "z"`} {
			must(t, b.super.Exec(`INSERT INTO audit_logs (tenant_id, action, resource_type, resource_id, metadata, created_at)
				VALUES ('hal', ?, 'x', ?, ?::jsonb, timestamptz '2026-01-01' + CASE ? WHEN 'update' THEN interval '1 s' ELSE '0' END)`,
				step, fmt.Sprint(i), `{"changes": {"f": {"old": `+changes+`}}}`, step).Error)
		}
		s, err := audit.AsOf(b.hal, b.app, audit.Resource{Type: "x", ID: fmt.Sprint(i)}, time.Time{})
		must(t, err)
		if (len(s.Gaps) > 0) != f.gap || !s.Exists || string(s.Fields["f"]) != `"z"` {
			t.Errorf("%s, then %s: the gaps are %v", f.before, f.old, s.Gaps)
		}
	}
}

func TestAsOf_Scopes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Page{ID: 1, Revisions: []Revision{{Number: 2, Text: "hal's"}}}).Error)
	b.note(t, b.hal, "pages.read")
	shared := models.NewAuditLog{Action: "update", ResourceType: "x", ResourceID: new(string)}
	*shared.ResourceID = "1"
	for _, tenant := range []string{"hal", "acme"} {
		shared.TenantID = &tenant
		must(t, b.Owner.Create(&shared).Error)
		shared.ID = nil
	}
	now := b.now(t)
	revision := audit.Resource{Type: "revisions", ID: audit.ResourceID("hal", "1", "2")}
	s, err := audit.AsOf(b.hal, b.app, revision, now)
	must(t, err)
	if !s.Exists || string(s.Fields["text"]) != `"hal's"` || s.Last.Action != "create" {
		t.Errorf("hal's revision is %+v", s)
	}
	if s, err = audit.AsOf(b.acme, b.app, revision, now); err != nil || s.Exists || s.Last != nil {
		t.Errorf("acme sees %+v, %v", s, err)
	}
	if _, err = audit.AsOf(b.hal, b.app, audit.Resource{TenantID: "acme", Type: "x", ID: "1"}, now); !errors.Is(err, tenancy.ErrCrossTenant) {
		t.Errorf("another tenant's resource: %v", err)
	}
	if _, err = audit.AsOf(b.system, b.app, audit.Resource{Type: "x", ID: "1"}, now); !errors.Is(err, audit.ErrFilter) {
		t.Errorf("a resource of two tenants: %v", err)
	}
	if s, err = audit.AsOf(b.system, b.app, audit.Resource{TenantID: "acme", Type: "x", ID: "1"}, now); err != nil || !s.Exists || !s.Partial {
		t.Errorf("one of them, by name: %+v, %v", s, err)
	}
	if _, err = audit.AsOf(b.hal, b.app, audit.Resource{Type: "x"}, now); !errors.Is(err, audit.ErrFilter) {
		t.Errorf("a resource without an id: %v", err)
	}
}

// TestResourceID makes ids as the database makes them.
func TestResourceID(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var all []rune
	for r := rune(1); r < 0x3000; r++ {
		all = append(all, r)
	}
	keys := []string{string(all), "", `a","b\`, "<&>😀"}
	var want string
	must(t, b.super.Raw(`SELECT array_to_json(ARRAY[?, ?, ?, ?]::text[])::text`, keys[0], keys[1], keys[2], keys[3]).Scan(&want).Error)
	if got := audit.ResourceID(keys...); got != want {
		t.Errorf("the id is %q, want %q", got, want)
	}
	if got := audit.ResourceID("7"); got != "7" {
		t.Errorf("the id of one key is %q", got)
	}
}
