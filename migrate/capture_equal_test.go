package migrate_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// equalCase is a change that is made twice: through the plugin where nothing is
// captured, and without any plugin where triggers capture it.
type equalCase struct {
	name   string
	change func(db *gorm.DB) error
	least  int // entries that it has to leave
}

// set updates columns of one sheet with expressions of SQL.
func set(id int64, columns map[string]string) func(*gorm.DB) error {
	return func(db *gorm.DB) error {
		values := map[string]any{}
		for name, expr := range columns {
			values[name] = gorm.Expr(expr)
		}
		return db.Model(&Sheet{ID: id}).Updates(values).Error
	}
}

// every returns the same expressions for columns of all types.
func every(exprs ...string) map[string]string {
	columns := []string{"title", "views", "api_token", "draft", "mood", "phone", "body", "amount", "ratio", "at", "day", "wall", "raw", "doc", "old", "labels", "place", "flag"}
	m := map[string]string{}
	for i, c := range columns {
		m[c] = exprs[min(i, len(exprs)-1)]
	}
	return m
}

var (
	firstValues = every(`'it''s "q" é'`, `1`, `'s1'`, `'d1'`, `'m1'`, `'p1'`, `'a body of more than twenty bytes'`, `'1.0'`, `0.1`, `'2026-07-01 12:00:00.123456+02'`,
		`'2026-07-01'`, `'2026-07-01 12:00'`, `'\x00ff'`, `'{"b": [1, null], "a": 1.50}'`, `'{"b":1,  "a":2}'`, `'{a,NULL,"b c"}'`, `'(1,2)'`, `true`)
	nextValues = every(`E'line\nbreak\t\\'`, `-1`, `'s2'`, `'d2'`, `'m2'`, `'p2'`, `'äöüäöüäöüäöüäöüäöü'`, `'1.00'`, `'NaN'`, `'infinity'`,
		`'-infinity'`, `'0044-03-15 10:00 BC'`, `''`, `'[]'`, `'"\u00e9"'`, `'{}'`, `'(1,3)'`, `false`)
	oddValues = every(`''`, `2147483647`, `NULL`, `NULL`, `NULL`, `NULL`, `'exactly twenty bytes'`, `'NaN'`, `'-Infinity'`, `'0001-01-01 00:00+00'`,
		`'0044-03-15 BC'`, `'infinity'`, `NULL`, `'null'`, `'{"n": 1e5, "x": "\ud83d\ude00"}'`, `'[2:3]={x,y}'`, `NULL`, `NULL`)
)

var equalCases = []equalCase{
	{"create", func(db *gorm.DB) error {
		at, yes := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC), true
		return db.Create(&Sheet{TenantID: "a", Code: "n", Title: "t", APIToken: "s", Draft: "d", Mood: "m", Phone: "p", Body: strings.Repeat("x", 99), At: &at, Flag: &yes, Raw: []byte{}}).Error
	}, 1},
	{"create batch", func(db *gorm.DB) error {
		return db.Create([]Sheet{{TenantID: "a", Code: "n1"}, {TenantID: "a", Code: "n2", Title: "t"}}).Error
	}, 2},
	{"create of a composite key", func(db *gorm.DB) error { return db.Create(&Tie{TenantID: "a", Number: 7}).Error }, 1},
	{"create without key or tenant", func(db *gorm.DB) error { return db.Create(&Term{Text: "w"}).Error }, 1},
	{"update to values", set(1, firstValues), 1},
	{"update of values", func(db *gorm.DB) error {
		if err := set(1, firstValues)(db); err != nil {
			return err
		}
		return set(1, nextValues)(db)
	}, 2},
	{"update of values to others and back", func(db *gorm.DB) error {
		for _, values := range []map[string]string{firstValues, oddValues, nextValues, oddValues, every("NULL"), firstValues} {
			if err := set(2, values)(db); err != nil {
				return err
			}
		}
		return nil
	}, 6},
	{"update that changes nothing", set(1, map[string]string{"title": "title", "doc": "doc", "ratio": "ratio + 0"}), 0},
	{"update of the form alone", func(db *gorm.DB) error {
		if err := set(1, map[string]string{"amount": "'1.0'", "ratio": "'-0'"})(db); err != nil {
			return err
		}
		return set(1, map[string]string{"amount": "'1.00'", "ratio": "'0'"})(db)
	}, 2},
	{"update of what is omitted", set(1, map[string]string{"draft": "'x'"}), 0},
	{"update of many", func(db *gorm.DB) error {
		return db.Model(&Sheet{}).Where("id < 3").Update("views", gorm.Expr("views + id")).Error
	}, 2},
	{"update of a key", func(db *gorm.DB) error {
		return db.Model(&Sheet{}).Where("id = 3").UpdateColumn("id", 33).Error
	}, 1},
	{"update of a composite key's row", func(db *gorm.DB) error {
		return db.Model(&Tie{}).Where("number = 1").Update("folder_id", nil).Error
	}, 1},
	{"delete", func(db *gorm.DB) error { return db.Unscoped().Delete(&Sheet{ID: 2}).Error }, 1},
	{"delete with values", func(db *gorm.DB) error {
		if err := set(3, firstValues)(db); err != nil {
			return err
		}
		return db.Unscoped().Delete(&Sheet{ID: 3}).Error
	}, 2},
	{"delete of a composite key", func(db *gorm.DB) error { return db.Where("number = 1").Delete(&Tie{}).Error }, 1},
	{"delete without key", func(db *gorm.DB) error { return db.Where("text = 'old'").Delete(&Term{}).Error }, 1},
	{"soft delete and restore", func(db *gorm.DB) error {
		if err := db.Delete(&Sheet{ID: 1}).Error; err != nil {
			return err
		}
		return db.Unscoped().Model(&Sheet{ID: 1}).Update("deleted_at", nil).Error
	}, 2},
	{"upsert of both", func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "code"}}, DoUpdates: clause.AssignmentColumns([]string{"title"})}).
			Create([]Sheet{{TenantID: "a", Code: "c1", Title: "u"}, {TenantID: "a", Code: "n", Title: "u"}, {TenantID: "a", Code: "c2"}}).Error
	}, 2},
}

var hashes = regexp.MustCompile(`hmac-sha256:[0-9a-f]{64}`)

// entries are all columns of the trail that both ways have in common.
func (d *desk) entries(t testing.TB) []string {
	t.Helper()
	list := d.super.lines(t, `SELECT concat_ws(' ', action, resource_type, coalesce(resource_id, '-'), coalesce(tenant_id, '-'), actor_id, metadata->>'request_id',
		metadata->>'database_user', (metadata->>'transaction_id' ~ '^[0-9]+$')::text, id <> gen_random_uuid(), metadata->>'changes') FROM audit_logs ORDER BY created_at, id`)
	for i := range list {
		list[i] = hashes.ReplaceAllString(list[i], "[redacted]")
	}
	slices.Sort(list) // of an upsert the triggers record the updates first
	return list
}

func TestCaptureIsEqualToThePlugin(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 8, 0, 0, 123_456_000, time.UTC)
	config := func() *gorm.Config {
		return &gorm.Config{NowFunc: func() time.Time { return now }, DisableAutomaticPing: true}
	}
	for _, test := range equalCases {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			twins := []*desk{setupDesk(t, false), setupDesk(t, true)}
			for _, d := range twins {
				d.seedSheets(t)
				d.super.exec(t, `INSERT INTO ties (tenant_id, number, folder_id) VALUES ('a', 1, 1)`, `INSERT INTO terms (text) VALUES ('old')`, `DELETE FROM audit_logs`)
			}
			plugin := twins[0].Open(tenancy.Postgres(twins[0].AppDSN), config())
			must(0, plugin.Use(tenancy.New(tenancy.Config{Rules: sheetRules})))
			must(0, plugin.Use(audit.New(audit.Config{Rules: sheetRules, HashKey: make([]byte, 32)})))
			if err := test.change(plugin.WithContext(twins[0].ctx)); err != nil {
				t.Fatal(err)
			}
			if err := test.change(twins[1].bound(t, config())); err != nil {
				t.Fatal(err)
			}
			want, got := twins[0].entries(t), twins[1].entries(t)
			if diff := cmp.Diff(want, got); diff != "" || len(want) < test.least {
				t.Errorf("plugin (-), %d entries, triggers (+): %s", len(want), diff)
			}
		})
	}
}

// bound is a handle without plugins whose sessions are ann's, of tenant a.
func (d *desk) bound(t testing.TB, config *gorm.Config) *gorm.DB {
	t.Helper()
	conns := d.connect(t, d.AppDSN, func(cfg *pgx.ConnConfig) {
		cfg.RuntimeParams["courtroll.actor_id"], cfg.RuntimeParams["courtroll.request_id"], cfg.RuntimeParams["courtroll.tenant_id"] = "ann", "r1", "a"
	})
	return d.Open(postgres.New(postgres.Config{Conn: conns}), config)
}

// seedSheets puts in three sheets and a folder, and forgets their trail.
func (d *desk) seedSheets(t testing.TB) {
	t.Helper()
	d.super.exec(t, `INSERT INTO folders (tenant_id, name) VALUES ('a', 'f1')`,
		`INSERT INTO sheets (tenant_id, code, title, views) VALUES ('a', 'c1', 't1', 1), ('a', 'c2', 't2', 2), ('a', 'c3', 't3', 3)`)
	d.brief(t)
}
