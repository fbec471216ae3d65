package tests

import (
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
)

// TLarge has columns that hold large values, or such as jsonb cannot.
type TLarge struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	Text     string
	Raw      []byte
	Doc      sql.NullString `gorm:"type:json"`
	Docb     sql.NullString `gorm:"type:jsonb"`
	N        int
}

const largeTable = `CREATE TABLE t_larges (id bigint PRIMARY KEY, tenant_id text NOT NULL, text text, raw bytea, doc json, docb jsonb, n bigint)`

func valid(s string) sql.NullString { return sql.NullString{String: s, Valid: true} }

// largeValues are rows; what the database says of each without the plugin it has
// to say with it.
var largeValues = map[string]TLarge{
	"10 MB of text":               {Text: strings.Repeat("0123456789", 1<<20)},
	"1 MB of quotes":              {Text: strings.Repeat("\"\\\n\x01é", 1<<18)},
	"5 MB of bytes":               {Raw: []byte(strings.Repeat("\x00\xff\\x", 5<<18))},
	"1 MB of jsonb":               {Docb: valid(`["` + strings.Repeat("0123456789", 1<<17) + `"]`)},
	"1 MB of json":                {Doc: valid(`["` + strings.Repeat("0123456789", 1<<17) + `"]`)},
	"NUL in json":                 {Doc: valid(`{"a": "x\u0000y"}`)},
	"NUL in a key of json":        {Doc: valid(`{"\u0000": 1}`)},
	"NUL in jsonb":                {Docb: valid(`{"a": "x\u0000y"}`)},
	"escaped backslash in json":   {Doc: valid(`{"a": "x\\u0000y"}`)},
	"NUL in text":                 {Text: "x\x00y"},
	"invalid UTF-8 in text":       {Text: "x\xffy"},
	"high surrogate in json":      {Doc: valid(`{"a": "\ud800"}`)},
	"low surrogate in json":       {Doc: valid(`{"a": "\udc00x"}`)},
	"pair the wrong way in json":  {Doc: valid(`{"a": "\udc00\ud800"}`)},
	"surrogate in jsonb":          {Docb: valid(`{"a": "\ud800"}`)},
	"pair in json":                {Doc: valid(`{"a": "\ud83d\ude00"}`)},
	"deep json":                   {Doc: valid(strings.Repeat("[", 5000) + strings.Repeat("]", 5000))},
	"deep jsonb":                  {Docb: valid(strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000))},
	"too deep json":               {Doc: valid(strings.Repeat("[", 500_000) + strings.Repeat("]", 500_000))},
	"number too large in json":    {Doc: valid(`{"n": 1e200000}`)},
	"long number in json":         {Doc: valid(`{"n": ` + strings.Repeat("9", 10_000) + `}`)},
	"number too large in jsonb":   {Docb: valid(`{"n": 1e200000}`)},
	"keys twice in json":          {Doc: valid(`{"a": 1, "a": 2}`)},
	"spaces in json":              {Doc: valid("{ \"b\" : 1 ,\n \"a\" : [ ] }")},
	"json of a text":              {Doc: valid(`"x"`)},
	"json null":                   {Doc: valid(`null`), Docb: valid(`null`)},
	"broken json":                 {Doc: valid(`{"a":`)},
	"all that is special in text": {Text: "\u2028\u2029\ufeff\ufffe\uffff\U0010ffff\x7f\x1b'\"\\$1 ?"},
	"an escape that is none":      {Text: `\u0000 \ud800`},
	"bytes that look like an NUL": {Raw: []byte(`\u0000`)},
	"a key of jsonb of 1 MB":      {Docb: valid(`{"` + strings.Repeat("k", 1<<20) + `": 1}`)},
	"many elements of jsonb":      {Docb: valid("[" + strings.Repeat("1,", 100_000) + "1]")},
}

// TestLargeValues writes values of which jsonb may not be able to hold the like:
// the change is made as it would be without the plugin, and leaves its entry.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	plain := walls{}.with(t, true, []any{&TLarge{}}, nil, largeTable)
	audited := walls{}.with(t, false, []any{&TLarge{}}, nil, largeTable)
	writes := []struct {
		name string
		do   func(db *gorm.DB, v TLarge) error
	}{
		{"create", func(db *gorm.DB, v TLarge) error { v.ID = 2; return db.Create(&v).Error }},
		{"update", func(db *gorm.DB, v TLarge) error {
			return db.Model(&TLarge{ID: 1}).Select("text", "raw", "doc", "docb").Updates(&v).Error
		}},
		{"update of another column", func(db *gorm.DB, _ TLarge) error { return db.Model(&TLarge{}).Where("id = 1").Update("n", 1).Error }},
		{"update back", func(db *gorm.DB, _ TLarge) error {
			return db.Model(&TLarge{ID: 1}).Updates(map[string]any{"text": "", "raw": nil, "doc": nil, "docb": nil}).Error
		}},
		{"upsert", func(db *gorm.DB, v TLarge) error {
			v.ID, v.N = 1, 2
			return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&v).Error
		}},
		{"delete", func(db *gorm.DB, _ TLarge) error { return db.Where("id = 1").Delete(&TLarge{}).Error }},
	}
	for name, v := range largeValues {
		t.Run(name, func(t *testing.T) {
			for _, b := range []*bundle{plain, audited} {
				must(t, b.super.Exec("TRUNCATE t_larges, audit_logs").Error)
				must(t, b.super.Create(&TLarge{ID: 1, TenantID: "hal"}).Error)
			}
			for _, write := range writes {
				const rows = `SELECT coalesce(md5(string_agg(t::text, ' ' ORDER BY id)), 'none') FROM t_larges t`
				before, image := audited.entryCount(t), plain.text(t, rows)
				want, got := write.do(plain.as(plain.hal), v), write.do(audited.as(audited.hal), v)
				if codeOf(want) != codeOf(got) || errors.Is(got, audit.ErrAudit) {
					t.Errorf("%s: with the plugin %.300s, without it %.300s", write.name, fmt.Sprint(got), fmt.Sprint(want))
				}
				changed := plain.text(t, rows)
				if audited.text(t, rows) != changed {
					t.Errorf("%s: the rows differ from those without the plugin", write.name)
				}
				entries := 0
				if changed != image {
					entries = 1
				}
				if n := audited.entryCount(t) - before; n != entries {
					t.Errorf("%s: %d entries, want %d", write.name, n, entries)
				}
			}
		})
	}
}

// entryCount is entries without reading them.
func (b *bundle) entryCount(t *testing.T) (n int) {
	t.Helper()
	must(t, b.super.Raw("SELECT count(*) FROM audit_logs").Scan(&n).Error)
	return n
}

// codeOf is what tells the errors of the database apart.
func codeOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return fmt.Sprint(err)
}
