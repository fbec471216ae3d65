package tests

import (
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// What another plugin does to our callbacks after ours was installed must be
// noticed before a statement is sent.
func TestDisplaced(t *testing.T) {
	t.Parallel()
	nothing := func(*gorm.DB) {}
	raw := func(db *gorm.DB) { // an executor that knows nothing of ours
		result, err := db.Statement.ConnPool.ExecContext(db.Statement.Context, db.Statement.SQL.String(), db.Statement.Vars...)
		_ = db.AddError(err)
		if err == nil {
			db.RowsAffected, _ = result.RowsAffected()
		}
	}
	find := func(db *gorm.DB) error { return db.Find(&[]Page{}).Error }
	for name, tc := range map[string]struct {
		displace func(db *gorm.DB) error
		run      func(db *gorm.DB) error
	}{
		"statement replaced": {func(db *gorm.DB) error { return db.Callback().Query().Replace("gorm:query", nothing) }, find},
		"statement removed":  {func(db *gorm.DB) error { return db.Callback().Query().Remove("gorm:query") }, find},
		"guard removed":      {func(db *gorm.DB) error { return db.Callback().Query().Remove("tenancy:guard_query") }, find},
		"guard registered over": {func(db *gorm.DB) error {
			return db.Callback().Query().Before("*").Register("tenancy:guard_query", nothing)
		},
			find},
		"raw replaced": {func(db *gorm.DB) error { return db.Callback().Raw().Replace("gorm:raw", raw) },
			func(db *gorm.DB) error { return db.Exec("DELETE FROM pages").Error }},
		"create replaced": {func(db *gorm.DB) error { return db.Callback().Create().Replace("gorm:create", nothing) },
			func(db *gorm.DB) error { return db.Create(&Page{Title: "x"}).Error }},
		"audit replaced": {func(db *gorm.DB) error { return db.Callback().Delete().Remove("audit:guard_delete") },
			func(db *gorm.DB) error { return db.Where("1 = 1").Delete(&Page{}).Error }},
		"chain of create emptied": {contradict, find},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			seed(t, b)
			before := b.text(t, "SELECT title FROM pages ORDER BY 1")
			must(t, b.as(b.hal).Find(&[]Page{}).Error)
			_ = tc.displace(b.app) // GORM may say so, and a plugin may not listen
			sent := recordSQL(b.app)
			if err := tc.run(b.as(b.hal)); !errors.Is(err, tenancy.ErrDisplaced) || !errors.Is(err, audit.ErrDisplaced) {
				t.Errorf("error %v, want ErrDisplaced", err)
			}
			for _, text := range sent.take() {
				if text != "BEGIN" && text != "ROLLBACK" {
					t.Errorf("sent %q", text)
				}
			}
			if after := b.text(t, "SELECT title FROM pages ORDER BY 1"); after != before {
				t.Errorf("pages are %q, were %q", after, before)
			}
		})
	}
}

// contradict anchors callbacks so that GORM empties the chain.
func contradict(db *gorm.DB) error {
	create := db.Callback().Create()
	return errors.Join(
		create.Before("gorm:create").Register("one", func(*gorm.DB) {}),
		create.Before("one").After("gorm:after_create").Register("two", func(*gorm.DB) {}))
}

func TestDisplaced_PluginsThatWrapBefore(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	statement := db.App.Callback().Query().Get("gorm:query")
	var ran int
	must(t, db.App.Callback().Query().Replace("gorm:query", func(db *gorm.DB) {
		if !db.DryRun {
			ran++
		}
		statement(db)
	}))
	use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
	use(t, db.App, audit.New(audit.Config{Rules: rules}))
	must(t, db.App.Callback().Query().Before("gorm:query").Register("later", func(*gorm.DB) {}))
	b := newBundle(t, db, db.App)
	if err := b.as(b.hal).Find(&[]Page{}).Error; err != nil || ran != 1 {
		t.Errorf("%v after %d calls", err, ran)
	}
}

// A third plugin that restores what it saw before tenancy was installed takes
// tenancy's callback away, though audit's is there and has the same code.
func TestDisplaced_EarlierCallbackRestored(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"row", "query", "raw"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, schema)
			use(t, db.App, audit.New(audit.Config{Rules: rules}))
			processor := map[string]interface {
				Get(name string) func(*gorm.DB)
				Replace(name string, fn func(*gorm.DB)) error
			}{"row": db.App.Callback().Row(), "query": db.App.Callback().Query(), "raw": db.App.Callback().Raw()}[name]
			earlier := processor.Get("gorm:" + name)
			use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
			b := newBundle(t, db, db.App)
			must(t, b.as(b.hal).Raw("SELECT 1").Scan(new(int)).Error)
			must(t, processor.Replace("gorm:"+name, earlier))
			for verb, run := range verbs {
				if err := run(b.as(b.hal)); !errors.Is(err, tenancy.ErrDisplaced) && verb != "sub_query" {
					t.Errorf("%s: %v, want ErrDisplaced", verb, err)
				}
			}
		})
	}
}

// Callbacks of an app's own run for the app's statements, and for no others.
func TestDisplaced_RunsNoCallbacksOfOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ran int
	count := func(db *gorm.DB) {
		ran++
		_ = db.Statement.Schema.LookUpField("Title") // there is always a model
	}
	must(t, b.app.Callback().Create().Before("*").Register("app:first", count))
	must(t, b.app.Callback().Create().Before("gorm:create").Register("app:before", count))
	must(t, b.app.Callback().Query().After("gorm:query").Register("app:after", count))
	must(t, b.as(b.hal).Create(&Page{Title: "x"}).Error)
	must(t, b.as(b.hal).Find(&[]Page{}).Error)
	if ran != 3 {
		t.Errorf("%d calls, want 3", ran)
	}
}
