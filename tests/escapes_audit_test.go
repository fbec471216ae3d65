package tests

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// The ways around the trail that an independent attempt found, each of which
// must stay closed.

type rWith struct{ sql string }

func (w rWith) Build(clause.Builder) {}
func (w rWith) ModifyStatement(stmt *gorm.Statement) {
	c := stmt.Clauses["SELECT"]
	c.Name, c.BeforeExpression = "SELECT", clause.Expr{SQL: w.sql}
	stmt.Clauses["SELECT"] = c
}

func TestEscape_BuiltReadThatWrites(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		must(t, b.Owner.Exec("GRANT ALL ON audit_logs TO "+b.AppRole).Error)
		b.forget(t)
		_ = b.as(b.hal).Model(&Author{}).Clauses(rWith{"WITH gone AS (DELETE FROM countries RETURNING code)"}).Find(&[]map[string]any{}).Error
		if b.text(t, "SELECT code FROM countries") == "" && b.text(t, "SELECT action FROM audit_logs") == "" {
			t.Error("an audited table was emptied without an entry")
		}
		must(t, b.as(b.hal).Model(&Author{}).Where("id = 2").Update("name", "x").Error)
		_ = b.as(b.system).Model(&Author{}).Clauses(rWith{"WITH gone AS (DELETE FROM audit_logs RETURNING id)"}).Find(&[]map[string]any{}).Error
		if b.text(t, "SELECT action FROM audit_logs WHERE resource_type = 'authors'") == "" {
			t.Error("the trail was deleted through GORM")
		}
	})
}

type RSlimPage struct {
	ID       int64
	TenantID string
	Title    string
}

func (RSlimPage) TableName() string { return "pages" }

func TestEscape_ColumnOutsideOfModel(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		b.forget(t)
		must(t, b.as(b.hal).Model(&RSlimPage{}).Where("title = ?", "hal page").Updates(map[string]any{"views": 77}).Error)
		if got := b.trail(t); len(got) != 1 {
			t.Errorf("views changed from 1 to %s, and %d entries tell of it", b.text(t, "SELECT views::text FROM pages WHERE tenant_id='hal'"), len(got))
		}
	})
}

type RSession struct {
	Token    string `gorm:"primaryKey"`
	TenantID string
}

func (RSession) TableName() string { return "r_sessions" }

type RAccount struct {
	ID       int64
	TenantID string
	Phone    string `audit:"redact"`
}

func (RAccount) TableName() string { return "r_accounts" }

type RAccountView struct {
	ID       int64
	TenantID string
	Phone    string
}

func (RAccountView) TableName() string { return "r_accounts" }

func TestEscape_SecretsInTrail(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&RSession{}, &RAccount{}}, nil, "CREATE TABLE r_sessions (token text PRIMARY KEY, tenant_id text)",
			"CREATE TABLE r_accounts (id bigserial PRIMARY KEY, tenant_id text, phone text)")
		must(t, b.as(b.hal).Create(&RSession{Token: "s3cret"}).Error)
		must(t, b.as(b.hal).Create(&RAccountView{Phone: "555-0100"}).Error)
		if s := b.text(t, "SELECT resource_id || metadata::text FROM audit_logs"); strings.Contains(s, "s3cret") || strings.Contains(s, "555-0100") {
			t.Errorf("in the trail: %s", s)
		}
	})
}

func TestEscape_ConcurrentKeyChange(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "e", Name: "n"}).Error)
		tx := b.super.Begin()
		must(t, tx.Exec("UPDATE authors SET id = 2 WHERE id = 1").Error)
		var wg sync.WaitGroup
		wg.Go(func() {
			r := b.as(b.hal).Model(&Author{}).Where("email = ?", "e").Update("name", "changed")
			if r.Error == nil && r.RowsAffected != 1 {
				t.Errorf("the update was lost: %d rows, no error (plain GORM: 1 row)", r.RowsAffected)
			}
		})
		time.Sleep(300 * time.Millisecond)
		must(t, tx.Commit().Error)
		wg.Wait()
	})
}

func TestEscape_RecordWithoutScopeIntoAnyTenant(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		if err := audit.Record(context.Background(), b.app, audit.Event{Action: "user.login", ResourceType: "x", TenantID: "acme"}); err == nil {
			t.Errorf("a context of no scope wrote to a tenant's trail: %s", b.text(t, "SELECT tenant_id FROM audit_logs"))
		}
	})
}

type RBilling struct {
	ID       int64
	TenantID string
	V        string
}

func (RBilling) TableName() string { return "billing.jobs" }

func TestEscape_SharedNameInOtherSchema(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	for _, d := range []string{"CREATE SCHEMA billing", "CREATE TABLE billing.jobs (id bigserial PRIMARY KEY, tenant_id text, v text)",
		"INSERT INTO billing.jobs (tenant_id, v) VALUES ('acme','acme bill')", "GRANT USAGE ON SCHEMA billing TO " + db.AppRole, "GRANT ALL ON billing.jobs TO " + db.AppRole} {
		must(t, db.Owner.Exec(d).Error)
	}
	use(t, db.App, tenancy.New(tenancy.Config{Rules: tenancy.Rules{Shared: []any{"public.jobs"}, Models: []any{&RBilling{}}}}))
	b := newBundle(t, db, db.App)
	var out []RBilling
	if err := b.as(b.hal).Find(&out).Error; len(out) > 0 {
		t.Errorf("hal read %+v, %v", out, err)
	}
}

func TestEscape_PoolSwappedAfterOpen(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		b.forget(t)
		must(t, b.app.Callback().Update().Before("gorm:update").Register("swap", func(db *gorm.DB) { db.Statement.ConnPool = db.Config.ConnPool }))
		tx := b.as(b.hal).Session(&gorm.Session{SkipDefaultTransaction: true}).Model(&Author{}).Where("1=1").Update("name", "x")
		if tx.Error == nil && len(b.trail(t)) == 0 {
			t.Errorf("%d rows changed, no error, no entry", tx.RowsAffected)
		}
	})
}

func TestEscape_UpRecreatesTableWithoutIndexes(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec("DROP TABLE audit_logs").Error)
	result, err := migrate.New(db.Owner, migrate.Config{}).Up(context.Background())
	var indexes []string
	must(t, db.Owner.Raw("SELECT indexname FROM pg_indexes WHERE tablename = 'audit_logs'").Scan(&indexes).Error)
	if err == nil && len(indexes) < 6 {
		t.Errorf("Up returned %+v and no error; audit_logs has the indexes %q", result, indexes)
	}
}

type RVersion struct {
	ID       int64 `gorm:"primaryKey;autoIncrement:false"`
	Version  int64
	TenantID string
	Note     string
}

func (RVersion) TableName() string { return "r_versions" }

// A model's key that is not the table's must neither change rows that the
// condition leaves out, nor mix up old values, nor the histories of two rows.
func TestEscape_ModelKeyNotUnique(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, []any{&RVersion{}}, nil,
			"CREATE TABLE r_versions (tenant_id text, id bigint, version bigint, note text, PRIMARY KEY (tenant_id, id, version))",
			"INSERT INTO r_versions VALUES ('hal',1,1,'one'), ('hal',1,2,'two'), ('acme',1,1,'a')")
		rows := func() string { return b.text(t, "SELECT tenant_id || version || note FROM r_versions ORDER BY 1") }

		r := b.as(b.hal).Model(&RVersion{}).Where("version = 2").Update("note", "new")
		if must(t, r.Error); r.RowsAffected != 1 || rows() != "acme1a; hal1one; hal2new" {
			t.Errorf("%d rows changed; they are now %s", r.RowsAffected, rows())
		}
		must(t, b.as(b.hal).Model(&RVersion{ID: 1}).Where("1=1").Update("note", gorm.Expr("note || 'x'")).Error)
		onVersion := clause.OnConflict{Columns: []clause.Column{{Name: "tenant_id"}, {Name: "id"}, {Name: "version"}}, UpdateAll: true}
		must(t, b.as(b.hal).Clauses(onVersion).Create(&[]RVersion{{ID: 1, Version: 1, Note: "u"}, {ID: 1, Version: 3, Note: "v"}}).Error)
		b.wantTrail(t,
			`update r_versions ["hal","1","2"]: note "two"→"new"`,
			`update r_versions ["hal","1","1"]: note "one"→"onex"`,
			`update r_versions ["hal","1","2"]: note "new"→"newx"`,
			`update r_versions ["hal","1","1"]: note "onex"→"u"`,
			`create r_versions ["hal","1","3"]: id null→1, note null→"v", tenant_id null→"hal", version null→3`)
		if rows() != "acme1a; hal1u; hal2newx; hal3v" {
			t.Errorf("the rows are %s", rows())
		}
	})
}
