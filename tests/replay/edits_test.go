package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tests/realdata"
)

// Page is a page of a Wikipedia, which is its tenant.
type Page struct {
	ID        int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string `gorm:"not null;uniqueIndex:pages_title,priority:1"`
	Title     string `gorm:"not null;uniqueIndex:pages_title,priority:2"`
	Namespace string `gorm:"not null"`
	Length    int64  `gorm:"not null"`
	Revisions int64  `gorm:"not null"`
	EditedAt  time.Time
}

// edit is a line of the file. Number and Round are of its page, and of the edit
// among those of its page.
type edit struct {
	Time                           time.Time
	Channel, Namespace, Page, User string
	Delta                          int64

	number int64
	round  int
}

func (e edit) tenant() string { return strings.TrimPrefix(e.Channel, "#") }

func (e edit) page() Page {
	return Page{ID: e.number, TenantID: e.tenant(), Title: e.Page, Namespace: e.Namespace, Length: e.Delta, Revisions: 1, EditedAt: e.Time}
}

func readEdits(t *testing.T) []edit {
	t.Helper()
	var edits []edit
	numbers, rounds := map[string]int64{}, map[string]int{}
	text, err := realdata.Open(*editFile, realdata.SampleEdits)
	must(t, err)
	for decoder := json.NewDecoder(text); decoder.More(); {
		var e edit
		must(t, decoder.Decode(&e))
		of := e.Channel + " " + e.Page
		if numbers[of] == 0 {
			numbers[of] = int64(len(numbers) + 1)
		}
		e.number, e.round = numbers[of], rounds[of]
		rounds[of]++
		edits = append(edits, e)
	}
	return edits
}

// TestEdits makes real edits one by one, by upserts of many, and by updates of
// whole sets: each way has to leave the same trail, with the same values in the
// same order.
func TestEdits(t *testing.T) {
	t.Parallel()
	edits := readEdits(t)
	var want map[string][]string
	for _, way := range []struct {
		name string
		form form
		make func(l *lab, edits []edit) error
	}{
		{"one by one", both, editOneByOne}, {"upserts", both, editByUpserts}, {"upserts, the audit plugin alone", alone, editByUpserts}, {"sets", alone, editBySets},
	} {
		start := time.Now()
		l := way.form.openData(t)
		must(t, way.make(l, edits))
		got := l.histories(t)
		t.Logf("%s: %d edits in %s", way.name, len(edits), time.Since(start).Round(time.Millisecond))
		if want == nil {
			want = got
			l.wantPages(t, edits, got)
		}
		sameHistories(t, way.name, got, want)
	}
}

// wantPages compares the pages and the lengths of their histories with the file.
func (l *lab) wantPages(t *testing.T, edits []edit, histories map[string][]string) {
	t.Helper()
	want := map[int64]Page{}
	for _, e := range edits {
		p := e.page()
		p.Length += want[p.ID].Length
		p.Revisions += want[p.ID].Revisions
		p.Namespace = cmp.Or(want[p.ID].Namespace, p.Namespace)
		want[p.ID] = p
	}
	var pages []Page
	must(t, l.super.Find(&pages).Error)
	for _, p := range pages {
		p.EditedAt = p.EditedAt.UTC()
		if p != want[p.ID] || len(histories[p.TenantID+" "+number(p.ID)]) != int(p.Revisions) {
			t.Fatalf("the page is %+v with %d entries, want %+v", p, len(histories[p.TenantID+" "+number(p.ID)]), want[p.ID])
		}
	}
	if len(pages) != len(want) || len(histories) != len(want) {
		t.Errorf("%d pages, %d histories, want %d", len(pages), len(histories), len(want))
	}
}

func editOneByOne(l *lab, edits []edit) error {
	return perTenant(edits, edit.tenant, func(tenant string, part []edit) error {
		for _, e := range part {
			db, p := l.as(tenant, e.User), e.page()
			var err error
			if e.round == 0 {
				err = db.Create(&p).Error
			} else {
				err = db.Model(&Page{}).Where("title = ?", e.Page).Updates(map[string]any{
					"length": gorm.Expr("length + ?", e.Delta), "revisions": gorm.Expr("revisions + 1"), "edited_at": e.Time,
				}).Error
			}
			if err != nil {
				return fmt.Errorf("%s of %s: %w", e.Page, tenant, err)
			}
		}
		return nil
	})
}

// inRounds calls f with the first edits of all pages of a tenant, then with the
// second ones, and so on.
func inRounds(edits []edit, f func(tenant string, round int, part []edit) error) error {
	return perTenant(edits, edit.tenant, func(tenant string, part []edit) error {
		part = slices.Clone(part)
		slices.SortStableFunc(part, func(a, b edit) int { return a.round - b.round })
		for len(part) > 0 {
			n := slices.IndexFunc(part, func(e edit) bool { return e.round != part[0].round })
			if n < 0 {
				n = len(part)
			}
			if err := f(tenant, part[0].round, part[:n]); err != nil {
				return fmt.Errorf("round %d of %s: %w", part[0].round, tenant, err)
			}
			part = part[n:]
		}
		return nil
	})
}

func pagesOf(edits []edit) (pages []Page) {
	for _, e := range edits {
		pages = append(pages, e.page())
	}
	return pages
}

func editByUpserts(l *lab, edits []edit) error {
	onTitle := clause.OnConflict{Columns: columns("tenant_id", "title"), DoUpdates: clause.Assignments(map[string]any{
		"length": gorm.Expr("pages.length + excluded.length"), "revisions": gorm.Expr("pages.revisions + 1"), "edited_at": gorm.Expr("excluded.edited_at"),
	})}
	return inRounds(edits, func(tenant string, _ int, part []edit) error {
		pages := pagesOf(part)
		return l.as(tenant, "upserts").Clauses(onTitle).CreateInBatches(&pages, 700).Error
	})
}

// editBySets updates from a table that holds what is to be done.
func editBySets(l *lab, edits []edit) error {
	type staged struct {
		PageID   int64
		Round    int
		Delta    int64
		EditedAt time.Time
	}
	rows := make([]staged, len(edits))
	for i, e := range edits {
		rows[i] = staged{e.number, e.round, e.Delta, e.Time}
	}
	if err := l.Owner.Exec(`CREATE TABLE staged (page_id bigint, round int, delta bigint, edited_at timestamptz, PRIMARY KEY (page_id, round))`).Error; err != nil {
		return err
	}
	if err := l.Owner.Table("staged").CreateInBatches(&rows, 1000).Error; err != nil {
		return err
	}
	return inRounds(edits, func(tenant string, round int, part []edit) error {
		db := l.as(tenant, "sets")
		if round == 0 {
			pages := pagesOf(part)
			return db.CreateInBatches(&pages, 700).Error
		}
		return db.Model(&Page{}).Where("tenant_id = ? AND id IN (?)", tenant, fresh(db).Table("staged").Select("page_id").Where("round = ?", round)).
			Updates(map[string]any{
				"length":    gorm.Expr("length + (SELECT delta FROM staged WHERE page_id = pages.id AND round = ?)", round),
				"edited_at": gorm.Expr("(SELECT edited_at FROM staged WHERE page_id = pages.id AND round = ?)", round),
				"revisions": gorm.Expr("revisions + 1"),
			}).Error
	})
}
