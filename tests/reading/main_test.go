// Package reading loads real events of many tenants into the trail and reads them
// back by every filter, page by page while others write, and as exports.
package reading

import (
	"context"
	"flag"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

var (
	editFile = flag.String("edits", "", "a `file` of Wikipedia's edits, whole, instead of the sample")
	gitFile  = flag.String("git-events", "", "a `file` of events of repositories, whole, instead of the sample")
	filters  = flag.Int("filters", 150, "how many random filters are tried in each form")
	rows     = flag.Int("rows", 50_000, "how many entries are exported to look at the memory")
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// forms are what the readers are confined by.
var forms = map[string]bool{"the plugin alone": false, "all walls": true}

// lab is a database with a trail, and an app that reads it.
type lab struct {
	*pgtest.DB
	app, super *gorm.DB
}

func open(t *testing.T, walls bool) *lab {
	t.Helper()
	db := pgtest.New(t, pgtest.Template{Name: map[bool]string{true: "walls", false: "plugin"}[walls], BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		ctx, m := context.Background(), migrate.New(owner, migrate.Config{AppRole: roles.AppRole, SystemRole: roles.SystemRole})
		if _, err := m.Up(ctx); err != nil || !walls {
			return err
		}
		_, err := m.Protect(ctx)
		return err
	}})
	l := &lab{DB: db, app: db.App, super: db.Open(postgres.Open(db.SuperDSN), &gorm.Config{})}
	var config tenancy.Config
	if walls {
		l.app = db.Open(tenancy.Postgres(db.AppDSN), &gorm.Config{})
		config = tenancy.Config{RowLevelSecurity: true, RequireConfinedRole: true, System: db.Open(tenancy.Postgres(db.SystemDSN), &gorm.Config{})}
	}
	must(t, l.app.Use(tenancy.New(config)))
	must(t, l.app.Use(audit.New(audit.Config{CursorKey: []byte("a key of cursors of 32 bytes, yes")})))
	return l
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
