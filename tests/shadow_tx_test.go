package tests

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// What cannot be counted is said not to be, and the app's statement and
// transaction go on.
func TestShadow_Unknown(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	must(t, b.Owner.Exec(`CREATE SEQUENCE seen; GRANT USAGE ON seen TO `+b.AppRole+`;
		CREATE FUNCTION sly(bigint) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN PERFORM nextval(''seen''); RETURN true; END';
		CREATE FUNCTION slow(bigint) RETURNS bool LANGUAGE plpgsql STABLE AS 'BEGIN
			IF current_setting(''transaction_read_only'') = ''on'' THEN PERFORM pg_sleep(60); END IF; RETURN true; END'`).Error)
	ctx := tenancy.WithTenant(context.Background(), "hal")
	for name, query := range map[string]func(db *gorm.DB) *gorm.DB{
		"volatile":         func(db *gorm.DB) *gorm.DB { return db.Where("random() >= 0") },
		"fails":            func(db *gorm.DB) *gorm.DB { return db.Where("sly(views)") },
		"takes too long":   func(db *gorm.DB) *gorm.DB { return db.Where("slow(views)") },
		"limit, unordered": func(db *gorm.DB) *gorm.DB { return db.Limit(1) },
		"skip locked": func(db *gorm.DB) *gorm.DB {
			return db.Clauses(clause.Locking{Strength: "UPDATE", Options: "SKIP LOCKED"})
		},
		"serializable": func(db *gorm.DB) *gorm.DB { return db },
	} {
		for _, inTx := range []bool{false, true} {
			if name == "serializable" && !inTx {
				continue
			}
			t.Run(fmt.Sprintf("%s/tx=%t", name, inTx), func(t *testing.T) {
				db, r := watched(ctx, b.shadow)
				if inTx {
					db = db.Begin()
					defer db.Rollback()
				}
				if name == "serializable" {
					must(t, db.Exec("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").Error)
				}
				var found []Page
				must(t, query(db).Find(&found).Error)
				if r.String() != "unknown query -1" || len(found) == 0 {
					t.Errorf("reported %q of %d rows", r, len(found))
				}
				var readOnly, timeout string // are as they were
				must(t, db.Raw("SHOW transaction_read_only").Scan(&readOnly).Error)
				must(t, db.Raw("SHOW statement_timeout").Scan(&timeout).Error)
				if readOnly != "off" || timeout != "0" {
					t.Errorf("read only %s, timeout %s", readOnly, timeout)
				}
				if inTx {
					must(t, db.Create(&Page{Title: "after it"}).Error)
				}
			})
		}
	}
}

func TestShadow_Audited(t *testing.T) {
	t.Parallel()
	for _, auditFirst := range []bool{false, true} {
		t.Run(fmt.Sprintf("auditFirst=%t", auditFirst), func(t *testing.T) {
			t.Parallel()
			b := setupShadow(t, nil)
			app := b.OpenApp(nil)
			plugins := []gorm.Plugin{tenancy.New(tenancy.Config{Rules: rules, Shadow: shadow}), audit.New(audit.Config{Rules: rules})}
			if auditFirst {
				plugins[0], plugins[1] = plugins[1], plugins[0]
			}
			use(t, app, plugins[0])
			use(t, app, plugins[1])
			db, r := watched(tenancy.WithTenant(context.Background(), "hal"), app)
			must(t, db.Create(&Page{Title: "new"}).Error)
			sub := db.Session(&gorm.Session{NewDB: true}).Model(&Author{}).Select("id")
			must(t, db.Model(&Page{}).Where("author_id IN (?)", sub).Update("title", "x").Error)
			must(t, db.Where("page_id = ?", 1).Delete(&Revision{}).Error)
			var entries string
			must(t, b.super.Raw(`SELECT string_agg(r, ', ' ORDER BY r) FROM (
				SELECT concat(action, ' ', resource_type, ' ', count(*)) AS r FROM audit_logs GROUP BY action, resource_type) a`).Scan(&entries).Error)
			if want := "create pages 1, delete revisions 1, update pages 4"; entries != want {
				t.Errorf("entries %q, want %q", entries, want)
			}
			if want := "hidden update 3, hidden delete 1"; r.String() != want {
				t.Errorf("reported %q, want %q", r, want)
			}
		})
	}
}

// A statement that fails is reported, and leaves its transaction as it would be.
func TestShadow_Failed(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	db, r := watched(tenancy.WithTenant(context.Background(), "hal"), b.shadow)
	err := db.Model(&Author{}).Where("id = ?", 1).Update("email", "dave@hal.test").Error
	if !errors.Is(err, gorm.ErrDuplicatedKey) || r.String() != "hidden update 1" {
		t.Errorf("%v, reported %q", err, r)
	}
	err = db.Transaction(func(tx *gorm.DB) error {
		if err := tx.Where("no_such_column = 1").Find(&[]Page{}).Error; err == nil {
			t.Error("no error")
		}
		return tx.Find(&[]Page{}).Error
	})
	if err == nil || !strings.Contains(err.Error(), "25P02") {
		t.Errorf("in a failed transaction: %v", err)
	}
}

func TestShadow_Preload(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	db, r := watched(tenancy.WithTenant(context.Background(), "hal"), b.shadow)
	var found []Page
	must(t, db.Preload("Author").Preload("Revisions").Order("id").Find(&found).Error)
	if len(found) != 5 || found[0].Author.Name != "ann" || len(found[1].Revisions) != 2 {
		t.Errorf("read %+v", found)
	}
	if want := "hidden query 2, hidden query 1, hidden query 2"; r.String() != want {
		t.Errorf("reported %q, want %q", r, want)
	}
}

func TestShadow_Config(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	for name, config := range map[string]tenancy.Config{
		"row-level security": {Rules: rules, Shadow: shadow, RowLevelSecurity: true},
		"system":             {Rules: rules, Shadow: shadow, System: db.Owner},
		"suspended":          {Rules: rules, Shadow: shadow, Suspended: tenancy.RefuseSuspended},
	} {
		if err := db.OpenApp(nil).Use(tenancy.New(config)); err == nil || !strings.Contains(err.Error(), "Shadow") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestShadow_Concurrent(t *testing.T) {
	t.Parallel()
	b := setupShadow(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			tenant, want := "hal", "hidden query 2"
			if i%2 == 0 {
				tenant, want = "acme", "hidden query 3"
			}
			for range 20 {
				db, r := watched(tenancy.WithTenant(context.Background(), tenant), b.shadow)
				var found []Page
				if err := db.Find(&found).Error; err != nil || len(found) != 5 || r.String() != want {
					t.Errorf("%v, %d rows, reported %q", err, len(found), r)
				}
			}
		})
	}
	wg.Wait()
}
