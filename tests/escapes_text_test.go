package tests

import (
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// TLoan has columns named like clauses, and an array.
type TLoan struct {
	ID        int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID  string
	Name      string
	Where     string
	Returning string
	Labels    string `gorm:"type:text[]"`
}

const tLoans = `CREATE TABLE t_loans (id bigint PRIMARY KEY, tenant_id text, name text, "where" text, "returning" text, labels text[])`
const tRows = "INSERT INTO t_loans VALUES (1, 'acme', 'acme secret', 'w', 'r', '{a}'), (2, 'hal', 'hal loan', 'w', 'r', '{b}')"

func (b *bundle) loans(t *testing.T) string {
	return b.text(t, "SELECT l::text FROM t_loans l ORDER BY id")
}

// A column named like a keyword ends no clause.
func TestEscape_ColumnNamedLikeAClause(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, []any{&TLoan{}}, nil, tLoans, tRows)
		before := b.loans(t)
		from := clause.From{Tables: []clause.Table{{Name: `(SELECT 'v'::text AS "where") AS q`, Raw: true}}}
		upsert := func(value string) error {
			conflict := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.Assignments(map[string]any{"name": gorm.Expr(value)})}
			return b.as(b.hal).Clauses(conflict).Create(&TLoan{ID: 2, Name: "n", Labels: "{}"}).Error
		}
		for name, err := range map[string]error{
			"from":   b.as(b.hal).Model(&TLoan{}).Clauses(from).Where("t_loans.id = 2").Update("name", gorm.Expr("q.where, tenant_id = 'acme'")).Error,
			"set":    b.as(b.hal).Model(&TLoan{}).Where("id = 2").Update("name", gorm.Expr("t_loans.returning, tenant_id = 'acme'")).Error,
			"upsert": upsert("excluded.returning, tenant_id = 'acme'"),
		} {
			if !errors.Is(err, tenancy.ErrTenantImmutable) {
				t.Errorf("%s: %v, want ErrTenantImmutable", name, err)
			}
		}
		if after := b.loans(t); after != before {
			t.Errorf("loans are %s, were %s", after, before)
		}
		must(t, upsert("t_loans.where || excluded.name"))
		must(t, b.as(b.hal).Model(&TLoan{}).Where("id = 2").Update("labels", gorm.Expr("labels || ARRAY[?, ?]::text[]", "x", "y")).Error)
		must(t, b.as(b.hal).Model(&TLoan{}).Create(map[string]any{"id": 3, "labels": gorm.Expr("ARRAY[?, ?]::text[]", "x", "y")}).Error)
		if own := b.text(t, "SELECT concat_ws(' ', id, name, labels) FROM t_loans WHERE tenant_id = 'hal' ORDER BY id"); own != "2 wn {b,x,y}; 3 {x,y}" {
			t.Errorf("own loans are %s", own)
		}
	})
}

// An update that names the tenant column is refused, whatever it would set.
func TestEscape_TenantSetToNothing(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, []any{&TLoan{}}, nil, tLoans, tRows)
		before := b.loans(t)
		own := b.as(b.hal).Model(&TLoan{}).Where("id = 2").Session(&gorm.Session{})
		for name, err := range map[string]error{
			"nil":      own.Update("tenant_id", nil).Error,
			"empty":    own.Update("tenant_id", "").Error,
			"map":      own.Updates(map[string]any{"name": "x", "TenantID": ""}).Error,
			"selected": own.Select("name", "tenant_id").Updates(TLoan{Name: "x"}).Error,
			"bytes":    own.Update("tenant_id", []byte("acme")).Error,
		} {
			if !errors.Is(err, tenancy.ErrTenantImmutable) {
				t.Errorf("%s: %v, want ErrTenantImmutable", name, err)
			}
		}
		if err := b.as(b.hal).Model(&TLoan{}).Create(map[string]any{"id": 4, "tenant_id": []byte("acme")}).Error; !errors.Is(err, tenancy.ErrCrossTenant) {
			t.Errorf("creating for another tenant as bytes: %v, want ErrCrossTenant", err)
		}
		if after := b.loans(t); after != before {
			t.Errorf("loans are %s, were %s", after, before)
		}
		must(t, own.Update("tenant_id", []byte("hal")).Error)
	})
}

// A table declared shared is not one of its name in another schema, and a table
// of an app is not the catalogue's for beginning with pg_.
func TestEscape_NamesOfOtherTables(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, nil, []any{"public.t_jobs", "t_kinds"}, "CREATE SCHEMA hr", "GRANT USAGE ON SCHEMA hr TO PUBLIC",
			"CREATE TABLE t_jobs (note text)", "CREATE TABLE t_kinds (note text)", "CREATE TABLE pg_orders (tenant_id text, note text)",
			"CREATE TABLE hr.t_jobs (tenant_id text, note text)", "CREATE TABLE hr.t_kinds (tenant_id text, note text)",
			"INSERT INTO hr.t_jobs VALUES ('acme', 'acme secret')", "GRANT ALL ON ALL TABLES IN SCHEMA hr TO PUBLIC")
		hal := b.as(b.hal)
		for _, table := range []string{"hr.t_jobs", "hr.t_kinds", "pg_orders"} {
			for name, err := range map[string]error{
				"raw":    hal.Raw("SELECT note FROM " + table).Scan(&[]string{}).Error,
				"find":   hal.Table(table).Find(&[]map[string]any{}).Error,
				"scan":   hal.Table(table).Select("note").Scan(&[]string{}).Error,
				"update": hal.Table(table).Where("1 = 1").Updates(map[string]any{"note": "x"}).Error,
				"delete": hal.Table(table).Where("1 = 1").Delete(nil).Error,
			} {
				if !errors.Is(err, tenancy.ErrUnclassified) || !strings.Contains(err.Error(), `"`+table+`"`) {
					t.Errorf("%s of %s: %v, want ErrUnclassified that names it", name, table, err)
				}
			}
			if err := b.as(t.Context()).Table(table).Find(&[]map[string]any{}).Error; !errors.Is(err, tenancy.ErrUnclassified) || !errors.Is(err, tenancy.ErrNoTenant) {
				t.Errorf("%s without a tenant: %v, want ErrUnclassified and ErrNoTenant", table, err)
			}
		}
		for _, table := range []string{"t_jobs", "public.t_jobs", "t_kinds", "public.t_kinds"} {
			must(t, hal.Table(table).Find(&[]map[string]any{}).Error)
			must(t, hal.Raw("SELECT note FROM "+table).Scan(&[]string{}).Error)
		}
	})
}

// TestCatalogue: what the server has is known, and what is known the server has.
func TestCatalogue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var names []string
	must(t, b.Owner.Raw(`SELECT relname FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v') ORDER BY 1`).Scan(&names).Error)
	open := 0
	for _, name := range names {
		err := b.as(b.hal).Raw("SELECT 1 FROM " + name + " LIMIT 0").Scan(&[]int{}).Error
		switch {
		case errors.Is(err, tenancy.ErrUnclassified):
		case err == nil, strings.Contains(err.Error(), "permission denied"):
			open++
		default:
			t.Errorf("%s: %v", name, err)
		}
	}
	if closed := len(names) - open; closed != 10 {
		t.Errorf("%d tables of the catalogue are refused, want the 10 that show values or texts", closed)
	}
}

// A predicate keeps rows out where it stands in the ON of the table's own join.
func TestEscape_PredicateOfAnotherJoin(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		bound := b.as(b.hal).Session(&gorm.Session{DryRun: true}).Unscoped().Find(&[]Page{}).Statement.Vars[0]
		for _, from := range []string{
			"countries s CROSS JOIN pages LEFT JOIN countries d ON pages.tenant_id = ?",
			"countries s LEFT JOIN pages ON true LEFT JOIN countries d ON pages.tenant_id = ?",
			"countries s JOIN pages ON true, countries d JOIN countries e ON pages.tenant_id = ?",
			"pages LEFT JOIN countries d ON pages.tenant_id = ?",
			"countries s RIGHT JOIN countries d CROSS JOIN pages ON pages.tenant_id = ?",
			"countries s RIGHT JOIN countries d NATURAL JOIN pages ON pages.tenant_id = ?",
			"countries s RIGHT JOIN countries d JOIN pages ON true ON pages.tenant_id = ?",
			"countries s RIGHT OUTER JOIN pages ON pages.tenant_id = ?",
			"countries s RIGHT JOIN countries d NATURAL LEFT JOIN pages ON pages.tenant_id = ?",
			"countries s FULL JOIN countries d NATURAL INNER JOIN pages ON pages.tenant_id = ?",
		} {
			var read []string
			w.wantOpaque(t, from, b.as(b.hal).Raw("SELECT pages.title FROM "+from, bound).Scan(&read).Error, read)
		}
	})
}

// The condition of ON CONFLICT is no condition of the query whose rows are inserted.
func TestEscape_PredicateOfOnConflict(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, true, nil, []any{"t_kv"}, "CREATE TABLE t_kv (id text PRIMARY KEY, name text)",
			"INSERT INTO tenants (id, slug, name) VALUES ('acme', 'acme', 'acme secret'), ('hal', 'hal', 'hal')")
		bound := b.as(b.hal).Session(&gorm.Session{DryRun: true}).Unscoped().Find(&[]Page{}).Statement.Vars[0]
		var read []string
		err := b.as(b.hal).Raw(`INSERT INTO t_kv AS tenants (id, name) SELECT id, name FROM tenants
		ON CONFLICT (id) DO UPDATE SET name = 'x' WHERE tenants.id = ? RETURNING tenants.name`, bound).Scan(&read).Error
		w.wantOpaque(t, "insert of a query", err, read)
	})
}

// Joins without an ON are confined by WHERE.
func TestJoinsWithoutOn(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		for name, join := range map[string]clause.Join{
			"cross": {Type: clause.CrossJoin, Table: clause.Table{Name: "authors", Alias: "a"}},
			"using": {Type: clause.InnerJoin, Table: clause.Table{Name: "authors", Alias: "a"}, Using: []string{"name"}},
		} {
			for _, main := range []any{&Page{}, &Country{}} {
				var authors []string
				query := b.as(b.hal).Model(main).Clauses(clause.From{Joins: []clause.Join{join}})
				if name == "using" {
					query = b.as(b.hal).Model(&Author{}).Clauses(clause.From{Joins: []clause.Join{join}}) // of itself
				}
				must(t, query.Pluck("a.email", &authors).Error)
				if len(authors) != 1 || authors[0] != "dave@hal.test" {
					t.Errorf("%s: read %q", name, authors)
				}
			}
		}
	})
}

type TBoom struct {
	ID       int64
	TenantID string
	Note     string
	when     string
}

func (b *TBoom) BeforeCreate(*gorm.DB) error { return b.boom("before") }
func (b *TBoom) AfterCreate(*gorm.DB) error  { return b.boom("after") }
func (b *TBoom) AfterUpdate(*gorm.DB) error  { return b.boom("after") }
func (b *TBoom) BeforeDelete(*gorm.DB) error { return b.boom("before") }
func (b *TBoom) AfterDelete(*gorm.DB) error  { return b.boom("after") }

func (b *TBoom) boom(when string) error {
	if b.when == when {
		panic("boom")
	}
	return nil
}

// panicking is a value that cannot be had.
type panicking struct{}

// Value implements driver.Valuer.
func (panicking) Value() (driver.Value, error) { panic("boom") }

// TestPanic_EndsTransaction: an app that recovers goes on with a whole pool, and
// without the row.
func TestPanic_EndsTransaction(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&TBoom{}}, nil, "CREATE TABLE t_booms (id bigserial PRIMARY KEY, tenant_id text, note text)")
		boom := func(db *gorm.DB) {
			if row, ok := db.Statement.Dest.(*TBoom); ok && row.Note == "callback" {
				panic("boom")
			}
		}
		must(t, b.app.Callback().Create().Before("gorm:create").Register("app:before", boom))
		must(t, b.app.Callback().Update().After("gorm:update").Before("gorm:after_update").Register("app:after", boom))
		var rows []TBoom
		for range 5 { // one for each, for what stays open keeps its lock
			rows = append(rows, TBoom{Note: "n"})
		}
		must(t, b.as(b.hal).Create(&rows).Error)
		before := b.text(t, "SELECT b::text FROM t_booms b ORDER BY id")
		for name, run := range map[string]func(hal *gorm.DB){
			"before create": func(hal *gorm.DB) { hal.Create(&TBoom{when: "before"}) },
			"after create":  func(hal *gorm.DB) { hal.Create(&TBoom{when: "after"}) },
			"after update":  func(hal *gorm.DB) { hal.Model(&TBoom{ID: rows[0].ID, when: "after"}).Update("note", "x") },
			"before delete": func(hal *gorm.DB) { hal.Delete(&TBoom{ID: rows[1].ID, when: "before"}) },
			"after delete":  func(hal *gorm.DB) { hal.Delete(&TBoom{ID: rows[2].ID, when: "after"}) },
			"callback":      func(hal *gorm.DB) { hal.Create(&TBoom{Note: "callback"}) },
			"own callback":  func(hal *gorm.DB) { hal.Save(&TBoom{ID: rows[4].ID, Note: "callback"}) },
			"value":         func(hal *gorm.DB) { hal.Model(&TBoom{ID: rows[3].ID}).Update("note", panicking{}) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s: no panic", name)
					}
				}()
				run(b.as(b.hal))
			}()
		}
		pool, err := b.app.DB()
		must(t, err)
		if n := pool.Stats().InUse; n != 0 {
			t.Errorf("%d connections are in use", n)
		}
		if after := b.text(t, "SELECT b::text FROM t_booms b ORDER BY id"); after != before {
			t.Errorf("rows are %s, were %s", after, before)
		}
	})
}

// A panic inside of database/sql's query keeps its transaction locked, as with
// plain GORM; it must not keep the caller too.
func TestPanic_InQueryReturns(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&TBoom{}}, nil, "CREATE TABLE t_booms (id bigserial PRIMARY KEY, tenant_id text, note text)")
		for name, db := range map[string]*gorm.DB{
			"transaction": b.as(b.hal), "none": b.as(b.hal).Session(&gorm.Session{SkipDefaultTransaction: true}),
		} {
			for _, conflict := range []clause.OnConflict{{DoNothing: true}, {UpdateAll: true}} {
				func() {
					defer func() {
						if recover() == nil {
							t.Errorf("%s: no panic", name)
						}
					}()
					db.Model(&TBoom{}).Clauses(conflict, clause.Returning{}).Create(map[string]any{"id": 1, "note": panicking{}})
				}()
			}
		}
		must(t, b.as(b.hal).Create(&TBoom{Note: "n"}).Error)
	})
}

// mute is a dialector whose translator hides what the database said.
type mute struct{ *postgres.Dialector }

func (mute) Translate(err error) error {
	if errors.As(err, new(*pgconn.PgError)) {
		return errTranslated
	}
	return err
}

func TestTranslatorThatHides(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	app := db.Open(mute{postgres.Open(db.AppDSN).(*postgres.Dialector)}, &gorm.Config{TranslateError: true})
	use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
	b := newBundle(t, db, app)
	s := seed(t, b)
	for name, err := range map[string]error{
		"save":   b.as(b.hal).Save(&Author{ID: s.author.ID, Email: "x"}).Error,
		"upsert": b.as(b.hal).Clauses(clause.OnConflict{UpdateAll: true}).Create(&Author{ID: s.author.ID, Email: "x"}).Error,
	} {
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("%s: %v, want ErrDuplicatedKey", name, err)
		}
	}
}

// TTeam has mates along a key that holds the tenant.
type TTeam struct {
	TenantID string  `gorm:"primaryKey"`
	ID       int64   `gorm:"primaryKey;autoIncrement:false"`
	Mates    []TMate `gorm:"foreignKey:TenantID,TeamID;references:TenantID,ID"`
}

type TMate struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	TenantID string
	TeamID   *int64
}

// TestCompositeAssociation: what association mode cuts off stays the tenant's.
func TestCompositeAssociation(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&TTeam{}, &TMate{}}, nil, "CREATE TABLE t_teams (tenant_id text, id bigint, PRIMARY KEY (tenant_id, id))",
			"CREATE TABLE t_mates (id bigint PRIMARY KEY, tenant_id text NOT NULL, team_id bigint, FOREIGN KEY (tenant_id, team_id) REFERENCES t_teams)")
		must(t, b.as(b.acme).Create(&TTeam{ID: 1, Mates: []TMate{{ID: 1}}}).Error)
		must(t, b.as(b.hal).Create(&TTeam{ID: 1, Mates: []TMate{{ID: 2}, {ID: 3}, {ID: 4}}}).Error)
		mates := func() *gorm.Association {
			return b.as(b.hal).Model(&TTeam{TenantID: "hal", ID: 1}).Association("Mates")
		}
		must(t, mates().Delete(&TMate{ID: 2}, &TMate{ID: 1}))
		must(t, mates().Replace(&TMate{ID: 4}))
		if n := mates().Count(); n != 1 {
			t.Errorf("%d mates, want 1", n)
		}
		must(t, mates().Clear())
		if rows := b.text(t, "SELECT m::text FROM t_mates m ORDER BY id"); rows != "(1,acme,1); (2,hal,); (3,hal,); (4,hal,)" {
			t.Errorf("mates are %s", rows)
		}
	})
}
