package tests

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// verbs are ways to reach a tenant-owned table.
var verbs = map[string]func(db *gorm.DB) error{
	"find":       func(db *gorm.DB) error { return db.Find(&[]Page{}).Error },
	"first":      func(db *gorm.DB) error { return db.First(&Page{}, 1).Error },
	"count":      func(db *gorm.DB) error { return db.Model(&Page{}).Count(new(int64)).Error },
	"pluck":      func(db *gorm.DB) error { return db.Model(&Page{}).Pluck("id", &[]int64{}).Error },
	"row":        func(db *gorm.DB) error { return db.Model(&Page{}).Select("1").Row().Scan(new(int)) },
	"rows":       func(db *gorm.DB) error { _, err := db.Model(&Page{}).Rows(); return err },
	"scan":       func(db *gorm.DB) error { return db.Model(&Page{}).Scan(&[]map[string]any{}).Error },
	"table":      func(db *gorm.DB) error { return db.Table("pages").Find(&[]map[string]any{}).Error },
	"create":     func(db *gorm.DB) error { return db.Create(&Page{Title: "n"}).Error },
	"create_map": func(db *gorm.DB) error { return db.Model(&Page{}).Create(map[string]any{"title": "n"}).Error },
	"update":     func(db *gorm.DB) error { return db.Model(&Page{}).Where("1=1").Update("title", "x").Error },
	"save":       func(db *gorm.DB) error { return db.Save(&Author{ID: 1}).Error },
	"delete":     func(db *gorm.DB) error { return db.Delete(&Page{}, 1).Error },
	"raw":        func(db *gorm.DB) error { return db.Raw("SELECT * FROM pages").Scan(&[]Page{}).Error },
	"exec":       func(db *gorm.DB) error { return db.Exec("DELETE FROM pages").Error },
	"sub_query": func(db *gorm.DB) error {
		return db.Table("countries").Where("1 = 1 OR code IN (?)", db.Model(&Page{}).Select("title")).Find(&[]Country{}).Error
	},
	"upsert": func(db *gorm.DB) error {
		return db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Author{ID: 1}).Error
	},
	"tenants": func(db *gorm.DB) error { return db.Find(&[]models.Tenant{}).Error },
	"trail":   func(db *gorm.DB) error { return db.Find(&[]models.AuditLog{}).Error },
}

func TestNoTenant_SendsNothing(t *testing.T) {
	t.Parallel()
	for name, ctx := range map[string]context.Context{
		"none":  context.Background(),
		"empty": tenancy.WithTenant(context.Background(), ""),
		"blank": tenancy.WithTenant(context.Background(), " \t\n"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			sent := recordSQL(b.app)
			for verb, run := range verbs {
				if err := run(b.as(ctx)); !errors.Is(err, tenancy.ErrNoTenant) {
					t.Errorf("%s: error %v, want ErrNoTenant", verb, err)
				}
				if log := sent.take(); len(log) > 0 {
					t.Errorf("%s: sent %q", verb, log)
				}
			}
		})
	}
}

func TestNoTenant_SharedTablesWork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	db := b.as(context.Background())
	must(t, db.Create(&Country{Code: "no"}).Error)
	must(t, db.Find(&[]Country{}).Error)
	must(t, db.Raw("SELECT count(*) FROM countries").Scan(new(int)).Error)
}

func TestBlankReason_SendsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sent := recordSQL(b.app)
	for verb, run := range verbs {
		if err := run(b.as(tenancy.AsSystem(context.Background(), " "))); !errors.Is(err, tenancy.ErrNoReason) {
			t.Errorf("%s: error %v, want ErrNoReason", verb, err)
		}
	}
	if log := sent.take(); len(log) > 0 {
		t.Errorf("sent %q", log)
	}
}

// TestForeignTenant_SendsNothing: what names another tenant is refused before a transaction begins.
func TestForeignTenant_SendsNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sent := recordSQL(b.app)
	if err := b.as(b.hal).Create(&[]Author{{ID: 1}, {ID: 2, TenantID: "acme"}}).Error; !errors.Is(err, tenancy.ErrCrossTenant) {
		t.Errorf("error %v, want ErrCrossTenant", err)
	}
	if log := sent.take(); len(log) > 0 {
		t.Errorf("sent %q", log)
	}
}

func TestUnclassified_SendsNothing(t *testing.T) {
	t.Parallel()
	type Mystery struct{ ID int64 }
	db := pgtest.New(t, schema)
	use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
	b := newBundle(t, db, db.App)
	sent := recordSQL(b.app)
	for name, err := range map[string]error{
		"find":   b.as(b.hal).Find(&[]Mystery{}).Error,
		"create": b.as(b.hal).Create(&Mystery{}).Error,
		"table":  b.as(b.hal).Table("mystery").Find(&[]map[string]any{}).Error,
		"delete": b.as(b.hal).Table("mystery").Where("1=1").Delete(nil).Error,
	} {
		if !errors.Is(err, tenancy.ErrUnclassified) {
			t.Errorf("%s: error %v, want ErrUnclassified", name, err)
		}
	}
	if log := sent.take(); len(log) > 0 {
		t.Errorf("sent %q", log)
	}
}

func TestSystemScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := seed(t, b)
	db := b.as(b.system)

	var pages []Page
	must(t, db.Order("title").Find(&pages).Error)
	if len(pages) != 2 {
		t.Errorf("system scope read %d pages, want 2", len(pages))
	}
	must(t, db.Raw("SELECT count(*) FROM pages").Scan(new(int)).Error)
	must(t, db.Create(&Page{TenantID: "acme", Title: "n"}).Error)
	if err := db.Create(&Page{Title: "whose"}).Error; !errors.Is(err, tenancy.ErrNoTenant) {
		t.Errorf("creating a row without a tenant: %v, want ErrNoTenant", err)
	}
	s.page.Title = "by system"
	must(t, db.Save(&s.page).Error)
	if err := db.Model(&s.page).Update("tenant_id", "hal").Error; !errors.Is(err, tenancy.ErrTenantImmutable) {
		t.Errorf("moving a row: %v, want ErrTenantImmutable", err)
	}
	stolen := Author{ID: s.author.ID, TenantID: "hal", Email: "stolen"}
	if err := db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&stolen).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
		t.Errorf("upserting onto another tenant's row: %v, want ErrDuplicatedKey", err)
	}

	narrowed := b.app.WithContext(tenancy.WithTenant(b.system, "hal"))
	must(t, narrowed.Find(&pages).Error)
	if len(pages) != 1 || pages[0].TenantID != "hal" {
		t.Errorf("WithTenant inside system scope read %d pages", len(pages))
	}
}

// What stays with a pooled connection is refused in system scope, too; what ends
// with the transaction and only says how long it may take is let through.
func TestSettings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, ctx := range []context.Context{b.hal, b.system} {
		for _, text := range []string{
			"SET standard_conforming_strings = off", "SET LOCAL standard_conforming_strings = off", "SET statement_timeout = 1000",
			"SET SESSION statement_timeout = 1000", "SET LOCAL search_path = pg_catalog", "SET LOCAL ROLE pg_monitor", "RESET ALL", "DISCARD ALL",
			"SELECT set_config('search_path', 'x', true)", "SELECT 1; SET standard_conforming_strings = off", "SELECT 1; CREATE TEMP TABLE x (y int)",
		} {
			if err := b.as(ctx).Exec(text).Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
				t.Errorf("%s: %v, want ErrOpaqueSQL", text, err)
			}
		}
		must(t, b.as(ctx).Transaction(func(tx *gorm.DB) error {
			return errors.Join(
				tx.Exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ").Error,
				tx.Exec("SET LOCAL statement_timeout = '5s'").Error,
				tx.Exec("SET LOCAL lock_timeout TO 1000").Error,
				tx.Exec("SET CONSTRAINTS ALL IMMEDIATE").Error)
		}))
	}
}

func TestTenantsTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, id := range []string{"acme", "hal"} {
		must(t, b.as(b.system).Create(&models.NewTenant{ID: id, Name: id, Slug: id}).Error)
	}
	var own []models.Tenant
	must(t, b.as(b.hal).Find(&own).Error)
	if len(own) != 1 || own[0].ID != "hal" {
		t.Errorf("hal sees %d tenants", len(own))
	}
	if err := b.as(b.hal).Create(&models.NewTenant{ID: "new", Name: "n", Slug: "n"}).Error; !errors.Is(err, tenancy.ErrCrossTenant) {
		t.Errorf("creating another tenant: %v, want ErrCrossTenant", err)
	}
}

// TestReuse reuses one statement across contexts: no predicate may stay behind.
func TestReuse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed(t, b)
	shared := b.app.Model(&Page{}).Where("views = ?", 1).Session(&gorm.Session{})
	for range 2 {
		for ctx, want := range map[context.Context]string{b.acme: "acme page", b.hal: "hal page"} {
			var found []string
			must(t, shared.WithContext(ctx).Pluck("title", &found).Error)
			if len(found) != 1 || found[0] != want {
				t.Errorf("read %q, want %q", found, want)
			}
		}
	}
}

func TestTransactions(t *testing.T) {
	t.Parallel()
	b := setup(t)
	failed := errors.New("failed")
	err := b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		must(t, tx.Create(&Page{Title: "kept"}).Error)
		nested := tx.Transaction(func(tx *gorm.DB) error {
			must(t, tx.Create(&Page{Title: "dropped"}).Error)
			return failed
		})
		if !errors.Is(nested, failed) {
			t.Errorf("nested transaction: %v", nested)
		}
		return nil
	})
	must(t, err)
	var found []string
	must(t, b.as(b.hal).Model(&Page{}).Pluck("title", &found).Error)
	if len(found) != 1 || found[0] != "kept" {
		t.Errorf("read %q", found)
	}
}

func TestMigrateHandle(t *testing.T) {
	t.Parallel()
	type Fresh struct {
		ID       int64
		TenantID string
	}
	b := setup(t)
	for name, ctx := range map[string]context.Context{"tenant": b.hal, "none": context.Background(), "system": b.system} {
		for _, model := range []any{&Page{}, &Fresh{}} {
			if err := b.as(ctx).AutoMigrate(model); !errors.Is(err, tenancy.ErrMigrateHandle) {
				t.Errorf("%s: AutoMigrate(%T) on the app's handle: %v, want ErrMigrateHandle", name, model, err)
			}
		}
	}
}

func TestGenerics(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := seed(t, b)
	before := snapshot(t, b)
	pages := gorm.G[Page](b.app)
	found, err := pages.Where("views = 9").Or("1=1").Find(b.hal)
	must(t, err)
	if len(found) != 1 || found[0].Title != "hal page" {
		t.Errorf("found %q", titles(found))
	}
	must(t, pages.Create(b.hal, &Page{Title: "new"}))
	steps := []struct {
		name   string
		change func() (int, error)
		rows   int
	}{
		{"update foreign", func() (int, error) { return pages.Where("id = ?", s.page.ID).Update(b.hal, "views", 5) }, 0},
		{"update", func() (int, error) { return pages.Where("1=1").Update(b.hal, "views", 5) }, 2},
		{"delete", func() (int, error) { return pages.Where("1=1").Delete(b.hal) }, 2},
	}
	for _, step := range steps {
		if n, err := step.change(); err != nil || n != step.rows {
			t.Errorf("%s: %d rows, %v, want %d rows", step.name, n, err, step.rows)
		}
	}
	if _, err := pages.Find(context.Background()); !errors.Is(err, tenancy.ErrNoTenant) {
		t.Errorf("find: %v, want ErrNoTenant", err)
	}
	if after := snapshot(t, b); after != before {
		t.Errorf("another tenant's rows changed:\n%s\n%s", before, after)
	}
}

func TestTable_NamedWithAnotherTablesModel(t *testing.T) {
	t.Parallel()
	b := walls{}.with(t, false, nil, nil, "CREATE TABLE old_authors (LIKE authors INCLUDING ALL)",
		"INSERT INTO old_authors (id, email, name, tenant_id) VALUES (1, 'a', 'acme author', 'acme'), (2, 'd', 'hal author', 'hal')")
	var found []Author
	must(t, b.as(b.hal).Table("old_authors AS o").Order("o.id").Find(&found).Error)
	if len(found) != 1 || found[0].Name != "hal author" {
		t.Errorf("found %+v", found)
	}
	if err := b.as(b.hal).Table("old_authors").Create(&Author{ID: 9, Email: "e", Name: "n"}).Error; err != nil {
		t.Errorf("create: %v", err)
	}
	must(t, b.as(b.hal).Table("old_authors").Delete(&Author{}, 9).Error)
	b.wantTrail(t, `create old_authors 9: email null→"e", id null→9, name null→"n", tenant_id null→"hal"`, `delete old_authors 9: email "e"→null, id 9→null, name "n"→null, tenant_id "hal"→null`)
	if err := b.as(b.hal).Table("old_countries").Find(&[]Country{}).Error; !errors.Is(err, tenancy.ErrUnclassified) {
		t.Errorf("a model without the tenant column: %v, want ErrUnclassified", err)
	}
}

func TestShared_TextIsGORMs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, build := range map[string]func(db *gorm.DB) *gorm.DB{
		"find":      func(db *gorm.DB) *gorm.DB { return db.Find(&[]Country{}) },
		"derived":   func(db *gorm.DB) *gorm.DB { return db.Table("(?) AS c", db.Model(&Country{})).Find(&[]Country{}) },
		"update":    func(db *gorm.DB) *gorm.DB { return db.Model(&Country{}).Update("name", "x") },
		"condition": func(db *gorm.DB) *gorm.DB { return db.Where("code = ?", "x").Or("code = ?", "y").Find(&[]Country{}) },
	} {
		session := &gorm.Session{DryRun: true, AllowGlobalUpdate: true}
		with, without := build(b.as(b.hal).Session(session)), build(b.Owner.Session(session))
		if got, want := with.Statement.SQL.String(), without.Statement.SQL.String(); got != want || want == "" {
			t.Errorf("%s: %q, without the plugins %q", name, got, want)
		}
	}
}

// GORM builds a sub-query of gorm.G without the context of its statement.
func TestGenerics_SubQueryHasTheStatementsTenant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seed(t, b)
	authors := gorm.G[Author](b.app)
	ids := authors.Select("id")
	for name, find := range map[string]func(ctx context.Context) ([]Page, error){
		"generics": func(ctx context.Context) ([]Page, error) {
			return gorm.G[Page](b.app).Where("author_id IN (?)", ids).Find(ctx)
		},
		"nested": func(ctx context.Context) ([]Page, error) {
			return gorm.G[Page](b.app).Where("author_id IN (?)", authors.Where("id IN (?)", ids).Select("id")).Find(ctx)
		},
		"db": func(ctx context.Context) (pages []Page, err error) {
			return pages, b.as(ctx).Where("author_id IN (?)", ids).Find(&pages).Error
		},
		"join": func(ctx context.Context) ([]Page, error) {
			return gorm.G[Page](b.app).Joins(clause.InnerJoin.AssociationFrom("Author", ids).As("q"),
				func(db gorm.JoinBuilder, joined, current clause.Table) error {
					db.Where("?.id = ?.author_id", joined, current)
					return nil
				}).Find(ctx)
		},
	} {
		pages, err := find(b.hal)
		if err != nil || len(pages) != 1 || pages[0].Title != "hal page" {
			t.Errorf("%s: found %q, %v", name, titles(pages), err)
		}
		for _, ctx := range []context.Context{context.Background(), b.system} {
			if _, err := find(ctx); !errors.Is(err, tenancy.ErrNoTenant) {
				t.Errorf("%s: %v, want ErrNoTenant", name, err)
			}
		}
	}
	var codes []string
	must(t, b.as(b.hal).Model(&Country{}).Where("1 = (?)", authors.Select("count(*)").Where("name = ?", "acme author")).Pluck("code", &codes).Error)
	if len(codes) > 0 {
		t.Error("the sub-query of a shared table's statement saw another tenant's row")
	}
	if err := b.as(b.hal).Where("author_id IN (?)", b.app.Model(&Author{}).Select("id")).Find(&[]Page{}).Error; !errors.Is(err, tenancy.ErrNoTenant) {
		t.Errorf("a *gorm.DB without a tenant: %v, want ErrNoTenant", err)
	}
	dry := b.as(b.hal).Session(&gorm.Session{DryRun: true}).Where("author_id IN (?)", ids).Find(&[]Page{}).Statement
	if text := b.app.Explain(dry.SQL.String(), dry.Vars...); strings.Count(text, "= 'hal'") != 2 {
		t.Errorf("dry run: %s", text)
	}
}
