package tests

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// Ways to make the trail wrong that an independent attempt found, each of which must stay closed.

// openTables is setupTables, with tables in every schema and all sequences open to the app.
func openTables(t *testing.T, ddl ...string) *bundle {
	t.Helper()
	b := setupTables(t, ddl...)
	for _, s := range []string{"public", "side"} {
		must(t, b.Owner.Exec("CREATE SCHEMA IF NOT EXISTS "+s).Error)
		must(t, b.super.Exec(fmt.Sprintf("GRANT USAGE ON SCHEMA %[1]s TO PUBLIC; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %[1]s TO PUBLIC; GRANT ALL ON ALL SEQUENCES IN SCHEMA %[1]s TO PUBLIC", s)).Error)
	}
	return b
}

// onDatabase sets what each new session of the test's database has, and opens the app anew.
func (b *bundle) onDatabase(t *testing.T, config audit.Config, settings ...string) *gorm.DB {
	t.Helper()
	for _, s := range settings {
		must(t, b.Owner.Exec(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET `+strings.ReplaceAll(s, "'", "''")+`', current_database()); END $$`).Error)
	}
	app := b.OpenApp(&gorm.Config{TranslateError: true})
	config.Rules = rules
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, app, audit.New(config))
	return app
}

type BFlag struct {
	ID       int64
	TenantID string
	AFlag    bool
	Name     string
	Other    string
}

func (BFlag) TableName() string { return "b_flags" }

const bFlags = `CREATE TABLE b_flags (id bigserial PRIMARY KEY, tenant_id text, a_flag boolean, name text, other text)`

// Columns that SET names after an IS DISTINCT FROM.
func TestTrailEscape_DistinctFromInSet(t *testing.T) {
	t.Parallel()
	b := openTables(t, bFlags)
	hal := b.as(b.hal)
	must(t, hal.Create(&BFlag{ID: 1, AFlag: true, Name: "a", Other: "b"}).Error)
	b.forget(t)
	must(t, hal.Model(&BFlag{}).Where("id = 1").Updates(map[string]any{"a_flag": gorm.Expr("name IS DISTINCT FROM other"), "name": "changed"}).Error)
	b.wantTrail(t, `update b_flags 1: name "a"→"changed"`)
	b.forget(t)
	must(t, hal.Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{
		"a_flag": gorm.Expr("b_flags.name IS DISTINCT FROM excluded.other"), "name": "again"})}).
		Create(&BFlag{ID: 1, AFlag: true, Name: "x", Other: "y"}).Error)
	b.wantTrail(t, `update b_flags 1: name "changed"→"again"`)
}

const bLong = "a_column_whose_name_is_longer_than_postgresql_keeps_of_it_which_is_63_bytes"

type BLong struct {
	ID       int64
	TenantID string
	Value    string `gorm:"column:a_column_whose_name_is_longer_than_postgresql_keeps_of_it_which_is_63_bytes" audit:"redact"`
}

func (BLong) TableName() string { return "b_longs" }

// PostgreSQL cuts names at 63 bytes, and the tag and SET name the long one.
func TestTrailEscape_LongColumnName(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_longs (id bigserial PRIMARY KEY, tenant_id text, `+bLong+` text)`)
	hal := b.as(b.hal)
	must(t, hal.Create(&BLong{ID: 1, Value: "s3cret"}).Error)
	if got := strings.Join(lines(t, b.trail(t)), "\n"); strings.Contains(got, "s3cret") {
		t.Errorf("in the trail: %s", got)
	}
	b.forget(t)
	must(t, hal.Model(&BLong{}).Where("id = 1").Update(bLong, "other").Error)
	if got := b.trail(t); len(got) != 1 {
		t.Errorf("%d entries of an update: %s", len(got), b.text(t, "SELECT b::text FROM b_longs b"))
	}
}

type BTyped struct {
	ID       int64
	TenantID string
	Name     string
}

// NULL::"point" is the type of pg_catalog.
func TestTrailEscape_TableNamedLikeAType(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"point", "line", "path", "record", "text", "trigger", "money", "bit", "interval", "name"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setupTables(t, fmt.Sprintf(`CREATE TABLE %q (id bigserial PRIMARY KEY, tenant_id text, name text)`, name))
			hal := b.as(b.hal).Table(name)
			must(t, b.Owner.Exec(fmt.Sprintf(`INSERT INTO public.%q (id, tenant_id, name) VALUES (7,'hal','x')`, name)).Error)
			if err := hal.Create(&BTyped{Name: "a"}).Error; err != nil {
				t.Error(err)
			}
		})
	}
}

type BJobHere struct {
	ID       int64
	TenantID string
	Name     string
}

func (BJobHere) TableName() string { return "b_jobs" }

type BJobThere struct {
	ID       int64
	TenantID string
	Name     string
}

func (BJobThere) TableName() string { return "side.b_jobs" }

func TestTrailEscape_ExcludeInOtherSchema(t *testing.T) {
	t.Parallel()
	b := setupTables(t, `CREATE SCHEMA side; CREATE TABLE side.b_jobs (id bigserial PRIMARY KEY, tenant_id text, name text);
		CREATE TABLE b_jobs (id bigserial PRIMARY KEY, tenant_id text, name text)`)
	app := b.onDatabase(t, audit.Config{Exclude: []audit.Exclusion{{Model: &BJobThere{}, Reason: "queue"}}})
	must(t, app.WithContext(b.hal).Create(&BJobHere{Name: "x"}).Error)
	if got := b.trail(t); len(got) != 1 {
		t.Errorf("%d entries of public.b_jobs, where side.b_jobs is excluded", len(got))
	}
}

type BSlim struct {
	ID       int64
	TenantID string
	Phone    string
}

type BAcc struct {
	ID       int64
	TenantID string
	Phone    string `audit:"redact"`
}

func (BAcc) TableName() string { return "b_accs" }

type BAccSide struct {
	ID       int64
	TenantID string
	Phone    string `audit:"redact"`
}

func (BAccSide) TableName() string { return "side.b_accs" }

type BAccPublic struct {
	ID       int64
	TenantID string
	Phone    string
}

func (BAccPublic) TableName() string { return "public.b_accs" }

const bAccs = `CREATE TABLE b_accs (id bigserial PRIMARY KEY, tenant_id text, phone text)`

func (b *bundle) wantNoSecret(t *testing.T) {
	t.Helper()
	for _, line := range lines(t, b.trail(t)) {
		if strings.Contains(line, "s3cret") {
			t.Errorf("in the trail: %s", line)
		}
	}
}

// Two schemas have the table, both models redact the column,
// and a third one reaches either by its name.
func TestTrailEscape_TagsOfTwoSchemas(t *testing.T) {
	t.Parallel()
	b := openTables(t, bAccs, `CREATE SCHEMA side`, `CREATE TABLE side.b_accs (id bigserial PRIMARY KEY, tenant_id text, phone text)`)
	hal := b.as(b.hal)
	must(t, hal.Create(&BAcc{Phone: "s3cret"}).Error)
	must(t, hal.Create(&BAccSide{Phone: "s3cret"}).Error)
	must(t, hal.Table("b_accs").Create(&BSlim{Phone: "s3cret"}).Error)
	must(t, hal.Table("side.b_accs").Create(&BSlim{Phone: "s3cret"}).Error)
	b.wantNoSecret(t)
}

// public.b_accs and b_accs are one table, whose stricter tag should hold.
func TestTrailEscape_TagsOfQualifiedName(t *testing.T) {
	t.Parallel()
	b := openTables(t, bAccs)
	must(t, b.as(b.hal).Create(&BAcc{Phone: "s3cret"}).Error)
	must(t, b.as(b.hal).Create(&BAccPublic{Phone: "s3cret"}).Error)
	b.wantNoSecret(t)
}

// Columns named like secrets, in capitals.
func TestTrailEscape_SecretsInCapitals(t *testing.T) {
	t.Parallel()
	type row struct {
		ID       int64
		TenantID string
		Token    string `gorm:"column:TOKEN"`
		PIN      string `gorm:"column:userPIN"`
		OTP      string `gorm:"column:OTP"`
		Secret   string `gorm:"column:SECRET"`
	}
	b := openTables(t, `CREATE TABLE b_upper (id bigserial PRIMARY KEY, tenant_id text, "TOKEN" text, "userPIN" text, "OTP" text, "SECRET" text)`)
	must(t, b.as(b.hal).Table("b_upper").Create(&row{Token: "s3cret", PIN: "s3cret", OTP: "s3cret", Secret: "s3cret"}).Error)
	b.wantNoSecret(t)
}

type BKeyed struct {
	TenantID string `gorm:"primaryKey"`
	A        int64  `gorm:"primaryKey;autoIncrement:false"`
	Name     string
}

func (BKeyed) TableName() string { return "b_keyed" }

// took is how long f took; an error fails the test.
func took(t *testing.T, what string, f func() error) time.Duration {
	t.Helper()
	start := time.Now()
	if err := f(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	d := time.Since(start)
	t.Logf("%s: %v", what, d.Round(time.Millisecond))
	return d
}

// A batch with a key of two columns: (a, b) IN (…) is an OR of as many
// conditions as there are rows, nested as deep.
func TestTrailEscape_SaveOfManyByCompositeKey(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_keyed (tenant_id text, a bigint, name text, PRIMARY KEY (tenant_id, a))`,
		`INSERT INTO b_keyed SELECT 'hal', n, 'x' FROM generate_series(1, 20000) n`, `ANALYZE b_keyed`)
	var last time.Duration
	for _, n := range []int{1000, 4000, 8000} {
		rows := make([]BKeyed, n)
		for i := range rows {
			rows[i] = BKeyed{A: int64(i + 1), Name: fmt.Sprint(n)}
		}
		d := took(t, fmt.Sprint(n, " rows"), func() error { return b.as(b.hal).Save(&rows).Error })
		if n == 4000 && d > 8*last && d > time.Second {
			t.Errorf("four times the rows took %v, not %v", d, last)
		}
		last = d
	}
}

type BMail struct {
	ID       int64
	TenantID string
	Email    string
	Active   bool
	Name     string
}

func (BMail) TableName() string { return "b_mails" }

// Rows whose key the text does not tell are appended to one setting, which is copied for each.
func TestTrailEscape_UpsertOfManyByExpression(t *testing.T) {
	t.Parallel()
	b := openTables(t, `CREATE TABLE b_mails (id bigserial PRIMARY KEY, tenant_id text, email text, active boolean, name text)`, `CREATE UNIQUE INDEX ON b_mails (tenant_id, lower(email))`)
	var last time.Duration
	for _, n := range []int{300, 1200} {
		must(t, b.super.Exec(`TRUNCATE b_mails`).Error)
		must(t, b.super.Exec(`INSERT INTO b_mails (tenant_id, email, name) SELECT 'hal', 'e'||n, repeat('x', 2000) FROM generate_series(1, ?) n`, n).Error)
		rows := make([]BMail, n)
		for i := range rows {
			rows[i] = BMail{Email: fmt.Sprint("E", i+1), Name: strings.Repeat("y", 2000)}
		}
		on := clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "lower(email)", Raw: true}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}
		d := took(t, fmt.Sprint(n, " rows"), func() error { return b.as(b.hal).Clauses(on).Create(&rows).Error })
		if n == 1200 && d > 8*last && d > time.Second {
			t.Errorf("four times the rows took %v, not %v (4,000 take a minute)", d, last)
		}
		last = d
	}
}

// The expression of a key is evaluated once more for each row of the table.
func TestTrailEscape_VolatileKey(t *testing.T) {
	t.Parallel()
	b := openTables(t, bFlags, `INSERT INTO b_flags SELECT nextval('b_flags_id_seq'), 'hal', true, 'x' FROM generate_series(1, 1000)`)
	must(t, b.as(b.hal).Model(&BFlag{}).Clauses(clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"name"})}).
		Create(map[string]any{"id": gorm.Expr("nextval('b_flags_id_seq')"), "name": "n"}).Error)
	if got := b.text(t, "SELECT last_value::text FROM b_flags_id_seq"); got != "1001" {
		t.Errorf("the sequence is at %s, with plain GORM at 1001", got)
	}
}

type BNoKey struct {
	TenantID string
	Email    string
	Active   bool
	Name     string
}

func (BNoKey) TableName() string { return "b_nokeys" }

// The index of the conflict is partial: other rows have the key, too.
const bParents = `CREATE TABLE b_parents (id bigint PRIMARY KEY, tenant_id text, name text, slug text)`

// A key of a table with children is not unique in what an UPDATE of it reaches.
func TestTrailEscape_Inheritance(t *testing.T) {
	t.Parallel()
	b := openTables(t, bParents, `CREATE TABLE b_kids () INHERITS (b_parents)`, `INSERT INTO b_parents VALUES (1,'hal','parent')`, `INSERT INTO b_kids VALUES (1,'hal','kid')`)
	must(t, b.as(b.hal).Table("b_parents").Model(&BTyped{}).Where("id = 1").Update("name", gorm.Expr("name || 'x'")).Error)
	b.wantTrail(t, `update b_parents 1: name "parent"→"parentx"`, `update b_parents 1: name "kid"→"kidx"`)
}

// there are two entries of one change.
func TestTrailEscape_InheritanceUpsert(t *testing.T) {
	t.Parallel()
	b := openTables(t, bParents, `CREATE TABLE b_kids () INHERITS (b_parents)`, `INSERT INTO b_parents VALUES (1,'hal','parent')`, `INSERT INTO b_kids VALUES (1,'hal','kid')`)
	must(t, b.as(b.hal).Table("b_parents").Clauses(clause.OnConflict{UpdateAll: true}).Create(&BTyped{ID: 1, Name: "new"}).Error)
	b.wantTrail(t, `update b_parents 1: name "parent"→"new"`)
}
