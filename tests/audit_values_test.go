package tests

import (
	"testing"
	"time"

	"gorm.io/datatypes"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// Sample has a column of each kind.
type Sample struct {
	ID       int64
	TenantID string
	At       time.Time
	Exact    time.Time `gorm:"type:timestamptz(3)"`
	Wall     time.Time `gorm:"type:timestamp"`
	Day      time.Time `gorm:"type:date"`
	Clock    string    `gorm:"type:time without time zone"`
	Big      int64
	Amount   string `gorm:"type:numeric"`
	Ratio    float64
	Raw      []byte
	Doc      datatypes.JSON
	Old      string `gorm:"type:json"`
	Tags     string `gorm:"type:text[]"`
	Flag     *bool
	Place    string `gorm:"type:point"`
	During   string `gorm:"type:tstzrange"`
	Spans    string `gorm:"type:tstzmultirange"`
}

// TestAudit_Values changes every column, and folds the trail: after each entry
// it must give the row as the database renders it in UTC, whatever the zone of
// the sessions.
func TestAudit_Values(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.Owner.AutoMigrate(&Sample{}))
	must(t, b.Owner.Exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET timezone = ''America/New_York''', current_database()); END $$`).Error)
	app := b.OpenApp(&gorm.Config{TranslateError: true})
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, app, audit.New(audit.Config{Rules: rules}))

	yes, at := true, time.Date(2026, 7, 1, 12, 0, 0, 123_456_000, time.UTC)
	rows := []Sample{{
		At: at, Exact: at, Wall: at, Day: at, Clock: "12:30:00", Big: 1 << 60, Amount: "1.0", Ratio: 0.1, Raw: []byte{0, 255},
		Doc: datatypes.JSON(`{"b": [1, null], "a": "é"}`), Old: `{"b":1, "a":2}`, Tags: `{a,"b c"}`, Place: "(1,2)",
		During: "[2026-07-01 12:00+02,infinity)", Spans: "{[-infinity,1999-01-01 10:00+00],[2026-07-01 12:00+02,)}",
	}, {
		ID: 1, At: at.Add(time.Microsecond), Exact: at.Add(time.Millisecond), Wall: at.Add(1e9), Day: at.AddDate(0, 0, 1), Clock: "12:30:01",
		Big: 1<<60 + 1, Amount: "1.00", Ratio: 0.3, Raw: []byte{}, Doc: datatypes.JSON(`[]`), Old: `{}`, Tags: `{}`, Flag: &yes, Place: "(1,3)",
		During: "(0044-03-15 12:00+00 BC,2026-07-01 12:00:00.5+02]", Spans: "{}",
	}}
	var images []string
	for i := range rows {
		must(t, app.WithContext(b.hal).Save(&rows[i]).Error)
		var image string
		must(t, b.Owner.Transaction(func(tx *gorm.DB) error {
			must(t, tx.Exec("SET LOCAL timezone = 'UTC'").Error)
			return tx.Raw("SELECT jsonb_strip_nulls(to_jsonb(s)) FROM samples s").Scan(&image).Error
		}))
		images = append(images, image)
	}
	entries := b.trail(t)
	if len(entries) != len(images) {
		t.Fatalf("%d entries, want %d", len(entries), len(images))
	}
	for i, e := range entries {
		var folded string
		must(t, b.Owner.Raw(`SELECT jsonb_strip_nulls(jsonb_object_agg(key, new)) FROM (
			SELECT DISTINCT ON (key) key, value->'new' AS new FROM audit_logs, jsonb_each(metadata->'changes')
			WHERE created_at <= ? ORDER BY key, created_at DESC) AS last`, e.CreatedAt).Scan(&folded).Error)
		if folded != images[i] {
			t.Errorf("after entry %d the trail says\n%s\nthe row was\n%s", i, folded, images[i])
		}
	}
	changed, err := audit.Changes(entries[1])
	must(t, err)
	if string(changed["amount"].Old) != "1.0" || string(changed["amount"].New) != "1.00" {
		t.Errorf("numeric %s → %s, want 1.0 → 1.00", changed["amount"].Old, changed["amount"].New)
	}
}
