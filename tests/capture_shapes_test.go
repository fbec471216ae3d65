package tests

import (
	"errors"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
)

// setupTables is setup with further tables, which the app may use.
func setupTables(t *testing.T, ddl ...string) *bundle {
	t.Helper()
	b := setup(t)
	for _, text := range ddl {
		must(t, b.Owner.Exec(text).Error)
	}
	must(t, b.Owner.Exec("GRANT ALL ON ALL TABLES IN SCHEMA public TO "+b.AppRole).Error)
	return b
}

type SWork struct {
	ID       int64
	TenantID string
	Title    string
	Price    int
	Gross    int    `gorm:"->"`
	Slug     string `gorm:"->"`
}

func (SWork) TableName() string { return "s_works" }

const sWorks = `CREATE TABLE s_works (id bigserial PRIMARY KEY, tenant_id text, title text, price int,
	gross int GENERATED ALWAYS AS (price * 2) STORED, slug text, CONSTRAINT s_title UNIQUE (tenant_id, title))`

// TestCapture_OtherColumns: a column that the statement does not name is recorded
// where an expression or a trigger changed it, also one made after the table was read.
func TestCapture_OtherColumns(t *testing.T) {
	t.Parallel()
	b := setupTables(t, sWorks)
	hal := b.as(b.hal)
	must(t, hal.Create(&SWork{Title: "A", Price: 1}).Error)
	must(t, hal.Model(&SWork{}).Where("id = 1").Update("price", 2).Error)

	must(t, b.Owner.Exec(`CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.slug := lower(NEW.title) || NEW.price; RETURN NEW; END $$;
		CREATE TRIGGER slug BEFORE INSERT OR UPDATE ON s_works FOR EACH ROW EXECUTE FUNCTION slug()`).Error)
	again := func(change func() *gorm.DB) {
		t.Helper()
		before := b.text(t, "SELECT s::text FROM s_works s")
		if err := change().Error; !errors.Is(err, audit.ErrAudit) { // once: the table was altered
			t.Errorf("error %v, want ErrAudit", err)
		}
		if after := b.text(t, "SELECT s::text FROM s_works s"); after != before {
			t.Errorf("a row was changed without an entry: %s", after)
		}
		must(t, change().Error)
	}
	again(func() *gorm.DB { return hal.Model(&SWork{}).Where("id = 1").Update("price", 3) })
	must(t, b.Owner.Exec(`ALTER TABLE s_works ADD COLUMN added text DEFAULT 'new'`).Error)
	again(func() *gorm.DB { return hal.Create(&SWork{Title: "B", Price: 1}) })
	must(t, hal.Clauses(clause.OnConflict{OnConstraint: "s_title", DoUpdates: clause.AssignmentColumns([]string{"price"})}).
		Create(&[]SWork{{Title: "A", Price: 5}, {Title: "C", Price: 6}}).Error)
	got := strings.Join(lines(t, b.trail(t)), "\n")
	for _, want := range []string{
		`create s_works 1: gross null→2, id null→1, price null→1, tenant_id null→"hal", title null→"A"`,
		`update s_works 1: gross 2→4, price 1→2`,
		`update s_works 1: gross 4→6, price 2→3, slug null→"a3"`,
		`added null→"new", gross null→2,`,
		`update s_works 1: gross 6→10, price 3→5, slug "a3"→"a5"`,
		`price null→6, slug null→"c6", tenant_id null→"hal", title null→"C"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("not in the trail: %s\n%s", want, got)
		}
	}
}

// TestCapture_AlteredOnThisHandle: DDL that the handle itself sends is noticed before a statement fails.
func TestCapture_AlteredOnThisHandle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owner := b.Open(postgres.Open(b.OwnerDSN), nil)
	use(t, owner, audit.New(audit.Config{Rules: rules}))
	must(t, owner.Exec(sWorks).Error)
	must(t, owner.Create(&SWork{Title: "A"}).Error)
	must(t, owner.Migrator().DropColumn(&SWork{}, "slug"))
	must(t, owner.Exec(`ALTER TABLE s_works ADD COLUMN added text DEFAULT 'new'`).Error)
	must(t, owner.Omit("slug").Create(&SWork{Title: "B"}).Error)
	if got := lines(t, b.trail(t)); len(got) != 2 || !strings.Contains(got[1], `added null→"new"`) {
		t.Errorf("%q", got)
	}
}

type SLine struct{ TenantID, Word string }

func (SLine) TableName() string { return "s_lines" }

// TestCapture_Keyless changes rows that no key tells apart.
func TestCapture_Keyless(t *testing.T) {
	t.Parallel()
	b := setupTables(t, `CREATE TABLE s_lines (tenant_id text, word text)`)
	hal := b.as(b.hal)
	must(t, hal.Create(&[]SLine{{Word: "a"}, {Word: "a"}, {Word: "b"}}).Error)
	b.forget(t)
	updated := hal.Model(&SLine{}).Where("word = 'a'").Update("word", gorm.Expr("word || 'x'"))
	if must(t, updated.Error); updated.RowsAffected != 2 {
		t.Errorf("%d rows, want 2", updated.RowsAffected)
	}
	must(t, hal.Where("word = 'b'").Delete(&SLine{}).Error)
	b.wantTrail(t, `update s_lines nil: word "a"→"ax"`, `update s_lines nil: word "a"→"ax"`, `delete s_lines nil: tenant_id "hal"→null, word "b"→null`)
}

// TestCapture_UpdateFrom joins another table, of which a row may match several times.
func TestCapture_UpdateFrom(t *testing.T) {
	t.Parallel()
	b := setup(t)
	use := b.OpenApp(&gorm.Config{TranslateError: true})
	must(t, use.Use(audit.New(audit.Config{Rules: rules}))) // the tenancy plugin has its own view of a FROM
	seedAuthors(t, b)
	must(t, use.WithContext(b.hal).Create(&[]Revision{{TenantID: "hal", PageID: 1, Number: 2, Text: "t"}, {TenantID: "hal", PageID: 2, Number: 1, Text: "u"}}).Error)
	b.forget(t)
	changed := use.WithContext(b.hal).Model(&Page{}).
		Clauses(clause.From{Tables: []clause.Table{{Name: "revisions"}}}).
		Where("revisions.page_id = pages.id AND revisions.text = 't'").UpdateColumn("title", gorm.Expr("revisions.text || 'x'"))
	if must(t, changed.Error); changed.RowsAffected != 1 {
		t.Errorf("%d rows, want 1", changed.RowsAffected)
	}
	b.wantTrail(t, `update pages 1: title "p1"→"tx"`)
}

type SShelf struct {
	TenantID string `gorm:"primaryKey"`
	ID       int64  `gorm:"primaryKey"`
	Name     string
}

func (SShelf) TableName() string { return "s_shelves" }

// TestCapture_Partitioned moves a row from one partition to another.
func TestCapture_Partitioned(t *testing.T) {
	t.Parallel()
	b := setupTables(t, `CREATE TABLE s_shelves (tenant_id text, id bigint, name text, PRIMARY KEY (tenant_id, id)) PARTITION BY RANGE (id);
		CREATE TABLE s_shelves_low PARTITION OF s_shelves FOR VALUES FROM (0) TO (10);
		CREATE TABLE s_shelves_high PARTITION OF s_shelves FOR VALUES FROM (10) TO (100)`)
	hal := b.as(b.hal)
	must(t, hal.Create(&SShelf{ID: 1, Name: "a"}).Error)
	must(t, hal.Model(&SShelf{}).Where("id = 1").Updates(map[string]any{"name": "b"}).Error)
	must(t, hal.Where("name = 'b'").Delete(&SShelf{}).Error)
	b.wantTrail(t,
		`create s_shelves ["hal","1"]: id null→1, name null→"a", tenant_id null→"hal"`,
		`update s_shelves ["hal","1"]: name "a"→"b"`,
		`delete s_shelves ["hal","1"]: id 1→null, name "b"→null, tenant_id "hal"→null`)
	err := hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&SShelf{ID: 1, Name: "a"}).Error
	if b.version(t) < 18 && !errors.Is(err, audit.ErrUnaudited) {
		t.Errorf("upsert: %v, want ErrUnaudited", err)
	} else if b.version(t) >= 18 {
		must(t, err)
	}
}

// version is the server's.
func (b *bundle) version(t *testing.T) (n int) {
	t.Helper()
	must(t, b.Owner.Raw("SELECT current_setting('server_version_num')::int / 10000").Scan(&n).Error)
	return n
}

type SDraft struct {
	ID       int64
	TenantID string
	Title    string
	Gone     softFlag
}

func (SDraft) TableName() string { return "s_drafts" }

// TestCapture_SoftDeleteByFlag: what GORM sets in place of deleting need not be gorm.DeletedAt.
func TestCapture_SoftDeleteByFlag(t *testing.T) {
	t.Parallel()
	b := setupTables(t, `CREATE TABLE s_drafts (id bigserial PRIMARY KEY, tenant_id text, title text, gone bigint DEFAULT 0)`)
	hal := b.as(b.hal)
	must(t, hal.Create(&SDraft{Title: "a"}).Error)
	must(t, hal.Delete(&SDraft{ID: 1}).Error)
	must(t, hal.Model(&SDraft{}).Where("id = 1").Update("gone", 0).Error)
	must(t, hal.Model(&SDraft{}).Where("id = 1").Update("title", "b").Error)
	var actions []string
	for _, e := range b.trail(t) {
		actions = append(actions, e.Action)
	}
	if got := strings.Join(actions, " "); got != "create soft_delete restore update" {
		t.Error(got)
	}
}

type SRate struct {
	TenantID string `gorm:"primaryKey"`
	Currency string `gorm:"primaryKey"`
	Day      string `gorm:"primaryKey"`
	Value    int
}

func (SRate) TableName() string { return "s_rates" }

// TestCapture_UpsertByKeysOfTypes: the conflict's values are compared as their columns' types.
func TestCapture_UpsertByKeysOfTypes(t *testing.T) {
	t.Parallel()
	b := setupTables(t, `CREATE TABLE s_rates (tenant_id varchar(10), currency char(3), day date, value int, PRIMARY KEY (tenant_id, currency, day))`)
	rates := func(value int) *[]SRate {
		return &[]SRate{{Currency: "EUR", Day: "2026-01-02", Value: value}, {Currency: "EGP", Day: "2026-01-02", Value: value}}
	}
	must(t, b.as(b.hal).Create(rates(1)).Error)
	b.forget(t)
	sent := recordSQL(b.app)
	must(t, b.as(b.hal).Clauses(clause.OnConflict{UpdateAll: true}).Create(rates(2)).Error)
	b.wantTrail(t, `update s_rates ["hal","EUR","2026-01-02"]: value 1→2`, `update s_rates ["hal","EGP","2026-01-02"]: value 1→2`)
	if text := strings.Join(sent.take(), ""); b.version(t) < 18 && !strings.Contains(text, "::bpchar") {
		t.Errorf("sent %s", text)
	}
}
