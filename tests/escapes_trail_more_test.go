package tests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// A child with a trigger is made after the catalogue was read.
func TestTrailEscape_ChildWithTriggerMadeLater(t *testing.T) {
	t.Parallel()
	b := openTables(t, bParents)
	hal := b.as(b.hal).Table("b_parents").Model(&BTyped{}).Session(&gorm.Session{})
	must(t, hal.Create(&BTyped{ID: 1, Name: "a"}).Error)
	must(t, hal.Where("id = 1").Update("name", "b").Error)
	for _, s := range []string{`CREATE TABLE b_kids () INHERITS (b_parents)`, `INSERT INTO b_kids VALUES (2, 'hal', 'k', 'k')`, `GRANT ALL ON b_kids TO PUBLIC`,
		`CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.slug := NEW.name; RETURN NEW; END $$`,
		`CREATE TRIGGER slug BEFORE UPDATE ON b_kids FOR EACH ROW EXECUTE FUNCTION slug()`} {
		must(t, b.Owner.Exec(s).Error)
	}
	b.forget(t)
	if err := hal.Where("id = 2").Update("name", "new").Error; err != nil && !errors.Is(err, audit.ErrAudit) {
		t.Fatal(err)
	} else if err == nil {
		b.wantTrail(t, `update b_parents 2: name "k"→"new", slug "k"→"new"`)
	}
}

// A number's column becomes text's on another handle: what is
// stored is put into the entry as JSON.
func TestTrailEscape_TypeAlteredForges(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_prices (id bigserial PRIMARY KEY, tenant_id text, price bigint, name text)`)
	app := b.OpenApp(&gorm.Config{})
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, app, audit.New(audit.Config{Rules: rules}))
	hal := app.WithContext(b.hal).Table("b_prices").Model(&BTyped{}).Session(&gorm.Session{})
	must(t, hal.Create(map[string]any{"price": 1, "name": "n"}).Error) // another text: no statement of the old type is prepared
	must(t, b.Owner.Exec("ALTER TABLE b_prices ALTER COLUMN price TYPE text").Error)
	b.forget(t)
	err := hal.Create(map[string]any{"price": `1},"name":{"old":"forged","new":"forged"},"x":{"old":null,"new":1`}).Error
	if got := strings.Join(lines(t, b.trail(t)), "\n"); err == nil && strings.Contains(got, `name "forged"→"forged"`) {
		t.Error(got)
	}
}

// the change is made and leaves no entry.
func TestTrailEscape_TypeAlteredToCitext(t *testing.T) {
	t.Parallel()
	b := openTables(t, bFlags)
	must(t, b.super.Exec(`CREATE EXTENSION citext`).Error)
	hal := b.as(b.hal)
	must(t, hal.Create(&BFlag{ID: 1, Name: "a"}).Error)
	must(t, hal.Model(&BFlag{}).Where("id = 1").Update("name", "b").Error)
	must(t, b.Owner.Exec("ALTER TABLE b_flags ALTER COLUMN name TYPE citext").Error)
	b.forget(t)
	if err := hal.Model(&BFlag{}).Where("id = 1").Update("name", "B").Error; err == nil {
		b.wantTrail(t, `update b_flags 1: name "b"→"B"`)
	}
}

// the old value of one row is the other's.
func TestTrailEscape_KeyDropped(t *testing.T) {
	t.Parallel()
	b := openTables(t, bFlags)
	hal := b.as(b.hal)
	must(t, hal.Create(&BFlag{ID: 1, Name: "a"}).Error)
	change := func() error {
		return hal.Model(&BFlag{}).Where("id = 1").Update("name", gorm.Expr("name || 'x'")).Error
	}
	must(t, change())
	must(t, b.Owner.Exec("ALTER TABLE b_flags DROP CONSTRAINT b_flags_pkey").Error)
	must(t, b.Owner.Exec("INSERT INTO b_flags (id, tenant_id, name) VALUES (1, 'hal', 'second')").Error)
	b.forget(t)
	if err := change(); err == nil {
		b.wantTrail(t, `update b_flags 1: name "ax"→"axx"`, `update b_flags 1: name "second"→"secondx"`)
	}
}

type BSeries struct {
	ID       int64
	TenantID string
	Values   string `gorm:"type:float8[]"`
	Place    string `gorm:"type:point"`
	At       time.Time
	Email    string
}

func (BSeries) TableName() string { return "b_series" }

const bSeries = `CREATE TABLE b_series (id bigserial PRIMARY KEY, tenant_id text, values float8[], place point, at timestamptz, email text)`

// Types that hold floats are compared by a text that the session shortens.
func TestTrailEscape_FloatDigits(t *testing.T) {
	t.Parallel()
	b := openTables(t, bSeries)
	app := b.onDatabase(t, audit.Config{}, "extra_float_digits = 0").WithContext(b.hal)
	must(t, app.Create(&BSeries{ID: 1, Values: "{0.1}", Place: "(1,1)"}).Error)
	b.forget(t)
	must(t, app.Model(&BSeries{}).Where("id = 1").Update("values", "{0.10000000000000003}").Error)
	must(t, app.Model(&BSeries{}).Where("id = 1").Update("place", "(1,1.0000000000000004)").Error)
	if got := b.trail(t); len(got) != 2 {
		t.Errorf("%d entries of two changes", len(got))
	}
}

// A row goes through the setting as text of the session: the zone IST
// is read as Israel's, WIB is not read, and the error shows the value.
const nopTrigger = `CREATE FUNCTION nop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$`

// Another transaction moves the key of one row to another's: with
// a trigger on the table the update is lost without an error, which plain GORM makes.
func TestTrailEscape_KeyMovedUnderATrigger(t *testing.T) {
	t.Parallel()
	for _, audited := range []bool{false, true} {
		t.Run(fmt.Sprint("audited ", audited), func(t *testing.T) {
			t.Parallel()
			b := openTables(t, bFlags, `INSERT INTO b_flags VALUES (1, 'hal', true, 'R', ''), (2, 'hal', true, 'S', '')`, nopTrigger, `CREATE TRIGGER nop BEFORE UPDATE ON b_flags FOR EACH ROW EXECUTE FUNCTION nop()`)
			app := b.OpenApp(&gorm.Config{})
			if audited {
				use(t, app, audit.New(audit.Config{Rules: rules}))
			}
			tx := b.super.Begin()
			must(t, tx.Exec("UPDATE b_flags SET id = 3 WHERE id = 2").Error)
			must(t, tx.Exec("UPDATE b_flags SET id = 2 WHERE id = 1").Error)
			var wg sync.WaitGroup
			wg.Go(func() {
				if r := app.WithContext(b.hal).Model(&BFlag{}).Where("name = 'R'").Update("other", "changed"); r.Error == nil && r.RowsAffected != 1 {
					t.Errorf("%d rows and no error", r.RowsAffected)
				}
			})
			time.Sleep(300 * time.Millisecond)
			must(t, tx.Commit().Error)
			wg.Wait()
		})
	}
}

type BCi struct {
	TenantID string
	Name     string
	Other    string
}

func (BCi) TableName() string { return "b_cis" }

// The key is unique by its index's collation, and joined by the column's.
type BSoft struct {
	ID        int64
	TenantID  string
	Name      string
	DeletedAt gorm.DeletedAt `audit:"-"`
}

func (BSoft) TableName() string { return "b_softs" }

// a Delete leaves no entry.
func TestTrailEscape_OmittedMarker(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_softs (id bigserial PRIMARY KEY, tenant_id text, name text, deleted_at timestamptz)`)
	must(t, b.as(b.hal).Create(&BSoft{ID: 1, Name: "x"}).Error)
	b.forget(t)
	must(t, b.as(b.hal).Delete(&BSoft{}, 1).Error)
	b.wantTrail(t, `soft_delete b_softs 1:`)
}

// With the audit plugin alone a row goes to another tenant, whose
// trail then holds the first one's values, while the first one's own says nothing.
func TestTrailEscape_ColumnNames(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, name := range []string{"discount%", "p%d", "a\nb", "a\tb", "\x01", "it's", `back\slash`, `a"b`, "$1", "q?x", ":x", "--x", "/*x", "{}", `\u0041`, "é😀", "a&<>b", "\u2028", "\x7f", "select", " ", "a.b", "@x", "changes", "transaction_id"} {
		table := fmt.Sprintf("b_names%d", i)
		must(t, b.Owner.Exec(fmt.Sprintf(`CREATE TABLE %s (id bigint PRIMARY KEY, tenant_id text, name text, "%s" text)`, table, strings.ReplaceAll(name, `"`, `""`))).Error)
		must(t, b.Owner.Exec("GRANT ALL ON "+table+" TO PUBLIC").Error)
		hal := b.as(b.hal).Table(table).Model(&BTyped{}).Session(&gorm.Session{})
		if err := hal.Create(&BTyped{ID: 1, Name: "x"}).Error; err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// a row in RETURNING has our columns, and is not of the table's type.
type BOmit struct {
	ID       int64  `audit:"-"`
	TenantID string `audit:"-"`
	Data     string `audit:"-"`
}

func (BOmit) TableName() string { return "b_omits" }

// where all columns are left out, rows cannot be created or deleted.
func TestTrailEscape_NothingOfARow(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_omits (id bigserial PRIMARY KEY, tenant_id text, data text)`)
	for _, err := range []error{
		b.as(b.hal).Create(&BOmit{Data: "x"}).Error,
		b.as(b.hal).Delete(&BOmit{}, 1).Error,
	} {
		if err != nil {
			t.Error(err)
		}
	}
}

// json inside of another type is not looked at.
func TestTrailEscape_NULInNestedJSON(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TYPE pair AS (a json, b numeric)`, `CREATE DOMAIN j1 AS json`, `CREATE DOMAIN j2 AS j1`,
		`CREATE TABLE b_jsons (id bigserial PRIMARY KEY, tenant_id text, l json[], p pair, d j1, dd j2)`)
	for column, value := range map[string]string{"l": `ARRAY['"a\u0000b"'::json]`, "p": `ROW('"a\u0000b"'::json, 1)::pair`, "d": `'"a\u0000b"'::json`, "dd": `'"a\u0000b"'::json`} {
		if err := b.as(b.hal).Table("b_jsons").Model(&BTyped{}).Create(map[string]any{column: gorm.Expr(value)}).Error; err != nil {
			t.Errorf("%s: %v", column, err)
		}
	}
}

// a key of the table is too long for the trail's index, and so is an actor's id.
type BHash struct {
	ID       int64
	TenantID string
	At       time.Time `audit:"hash"`
	Phone    string    `audit:"hash"`
}

func (BHash) TableName() string { return "b_hashes" }

// A hash, and the id of a resource, should be the same whatever
// the session's settings, and a hash another for each tenant.
func TestTrailEscape_SessionsText(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_hashes (id bigserial PRIMARY KEY, tenant_id text, at timestamptz, phone text)`, `CREATE TABLE b_days (id date PRIMARY KEY, tenant_id text, name text)`)
	type day struct {
		ID       time.Time `gorm:"type:date;primaryKey"`
		TenantID string
		Name     string
	}
	config := audit.Config{HashKey: bytes.Repeat([]byte("k"), 32)}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one := b.onDatabase(t, config, "timezone = 'UTC'")
	must(t, one.WithContext(b.hal).Create(&BHash{At: at, Phone: "1"}).Error)
	must(t, one.WithContext(b.hal).Table("b_days").Create(&day{ID: at}).Error)
	two := b.onDatabase(t, config, "timezone = 'Asia/Kolkata'", "datestyle = 'German'")
	must(t, two.WithContext(b.hal).Create(&BHash{At: at, Phone: "1"}).Error)
	must(t, two.WithContext(b.hal).Table("b_days").Model(&day{}).Where("1=1").Update("name", "x").Error)
	if n := b.text(t, "SELECT count(DISTINCT metadata->'changes'->'at'->'new')::text FROM audit_logs WHERE resource_type = 'b_hashes'"); n != "1" {
		t.Errorf("%s hashes of one value", n)
	}
	if n := b.text(t, "SELECT string_agg(DISTINCT resource_id, ' ') FROM audit_logs WHERE resource_type = 'b_days'"); n != "2026-01-01" {
		t.Errorf("ids of one resource: %s", n)
	}
	b.forget(t)
	ctx := audit.WithActor(context.Background(), audit.Actor{ID: "x"})
	must(t, two.WithContext(tenancy.WithTenant(ctx, "t")).Create(&BHash{At: at, Phone: "a\x1fb"}).Error)
	must(t, two.WithContext(tenancy.WithTenant(ctx, "t\x1fa")).Create(&BHash{At: at, Phone: "b"}).Error)
	if n := b.text(t, "SELECT count(DISTINCT metadata->'changes'->'phone'->'new')::text FROM audit_logs"); n != "2" {
		t.Errorf("%s hash of two tenants' values", n)
	}
}

type BOtherTrail struct {
	ID       int64
	TenantID string
	Name     string
}

func (BOtherTrail) TableName() string { return "side.audit_logs" }

// a table of that name in another schema is taken for the trail.
func TestTrailEscape_UpsertForms(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_mails (id bigserial PRIMARY KEY, tenant_id text, email text, active boolean, name text, UNIQUE (tenant_id, email), UNIQUE (name))`)
	hal := b.as(b.hal)
	must(t, hal.Create(&[]BMail{{ID: 1, Email: "a,(b", Name: "1"}, {ID: 2, Email: "x", Name: "2"}, {ID: 3, Email: "y", Name: "3"}}).Error)
	on := clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "email"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}
	for i, c := range []struct{ email, want string }{
		{"'a' || ',' || '(b'", `1: name "1"`}, {"(ARRAY['q','y'])[2]", `3: name "3"`}, {"CASE WHEN true THEN 'x' ELSE '),(' END", `2: name "2"`},
		{"$$y$$", `3: name "n1"`}, {"E'\\x78'", `2: name "n2"`}, {"'x'::varchar(20) -- )\n", `2: name "n4"`}, {"lower('X') COLLATE \"C\"", `2: name "n5"`},
	} {
		b.forget(t)
		must(t, hal.Model(&BMail{}).Clauses(on).Create(map[string]any{"email": gorm.Expr(c.email), "name": fmt.Sprint("n", i)}).Error)
		b.wantTrail(t, fmt.Sprintf(`update b_mails %s→"n%d"`, c.want, i))
	}
}

// Holds: ways of sending, and settings of the session.
func TestTrailEscape_ModesAndSettings(t *testing.T) {
	t.Parallel()
	change := func(t *testing.T, b *bundle, app *gorm.DB) {
		t.Helper()
		hal := app.WithContext(b.hal)
		must(t, hal.Create(&[]Author{{ID: 1, Email: `a'\"$1`, Name: "n"}, {ID: 2, Email: "b"}}).Error)
		must(t, hal.Model(&Author{}).Where("1=1").Update("name", gorm.Expr("name || ?", `'$2\`)).Error)
		must(t, hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]Author{{ID: 1, Email: "a", Name: "n"}, {ID: 3, Email: "c"}}).Error)
		b.wantTrail(t, `create authors 1: email null→"a'\\\"$1", id null→1, name null→"n", tenant_id null→"hal"`, `create authors 2: email null→"b", id null→2, name null→"", tenant_id null→"hal"`,
			`update authors 1: name "n"→"n'$2\\"`, `update authors 2: name ""→"'$2\\"`, `update authors 1: email "a'\\\"$1"→"a", name "n'$2\\"→"n"`, `create authors 3: email null→"c", id null→3, name null→"", tenant_id null→"hal"`)
	}
	for _, mode := range []string{"exec", "cache_describe", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			join := "?"
			if strings.Contains(b.AppDSN, "?") {
				join = "&"
			}
			app := b.Open(postgres.Open(b.AppDSN+join+"default_query_exec_mode="+mode), &gorm.Config{TranslateError: true})
			use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
			use(t, app, audit.New(audit.Config{Rules: rules}))
			change(t, b, app)
		})
	}
	for _, s := range []string{"search_path = public, pg_catalog", "quote_all_identifiers = on", "transform_null_equals = on", "plan_cache_mode = 'force_generic_plan'", "enable_hashjoin = off", "bytea_output = 'escape'",
		"work_mem = '64kB'", "default_transaction_isolation = 'serializable'", "backslash_quote = 'on'", "array_nulls = off", "extra_float_digits = -15"} {
		t.Run(s, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			change(t, b, b.onDatabase(t, audit.Config{}, s))
		})
	}
}

// Holds: a queue that several take from, each row once, with an entry each.
func TestTrailEscape_Queue(t *testing.T) {
	t.Parallel()
	b := openTables(t, bFlags, `INSERT INTO b_flags SELECT n, 'hal', true, 'new', '' FROM generate_series(1, 40) n`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 10 {
				var rows []BFlag
				next := b.as(b.hal).Model(&BFlag{}).Select("id").Where("name = 'new'").Order("id").Limit(1).Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
				if r := b.as(b.hal).Model(&rows).Clauses(clause.Returning{}).Where("id = (?)", next).Update("name", "taken"); r.Error != nil || len(rows) != 1 {
					t.Error(r.Error, len(rows))
				}
			}
		})
	}
	wg.Wait()
	if n := b.text(t, "SELECT count(DISTINCT resource_id) || ' of ' || count(*) FROM audit_logs"); n != "40 of 40" {
		t.Error(n)
	}
}

// Holds: SQL by hand that changes an audited table.
func TestTrailEscape_RawForms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	app := b.OpenApp(&gorm.Config{})
	use(t, app, audit.New(audit.Config{Rules: rules}))
	must(t, app.WithContext(b.hal).Create(&Country{Code: "a"}).Error)
	rows := func() string { return b.text(t, "SELECT string_agg(code||coalesce(name,''), ',') FROM countries") }
	for _, sql := range []string{"DELETE FROM ONLY (countries)", "UPDATE ONLY (public.countries) SET name = 'x'", "UPDATE countries * SET name = 'x'",
		"MERGE INTO countries c USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET name = 'x'", "MERGE INTO ONLY countries c USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE",
		"EXPLAIN ANALYZE DELETE FROM countries", "EXPLAIN (ANALYZE, VERBOSE) UPDATE countries SET name = 'x'", "WITH x AS (DELETE FROM countries RETURNING 1) SELECT * FROM x",
		"INSERT INTO/**/countries VALUES ('q')", "UPDATE public . countries SET name = 'x'", `UPDATE "public"."countries" SET name = 'x'`, "TRUNCATE countries",
		"CREATE TABLE zz AS WITH x AS (DELETE FROM countries RETURNING 1) SELECT 1", "SELECT 1; DELETE FROM countries", "/* x */ -- y\n DELETE FROM countries", "UPDATE countries set SET name = 'x'",
		"EXPLAIN ANALYZE MERGE INTO countries c USING (SELECT 1) s ON true WHEN MATCHED THEN DELETE", "DELETE FROM countries USING countries c"} {
		before := rows()
		err := app.WithContext(b.hal).Exec(sql).Error
		if after := rows(); before != after {
			t.Errorf("%s: %s, then %s (%v)", sql, before, after, err)
		}
	}
}
