package replay

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// form is a way of putting an app together.
type form struct {
	name  string
	walls bool // the tenancy plugin, tenancy.Postgres and migrate.Protect as well
	share int  // it runs one in so many of the programs
}

var (
	alone = form{name: "audit", share: 1}
	both  = form{name: "both", walls: true, share: 2}
	forms = []form{alone, both}
)

// lab is a database with an app on it.
type lab struct {
	*pgtest.DB
	form  form
	app   *gorm.DB
	super *gorm.DB // sees all, in UTC
	wire  *wire
	start map[string]rows // what a reset leaves
}

// open puts the app's sessions into a zone that is not UTC, and one in which a day
// may have 25 hours. Deadlocks are found at once, and an audit trail of any zone is
// the same.
func (f form) open(t *testing.T) *lab {
	t.Helper()
	template := plain
	if f.walls {
		template = protected
	}
	l := newLab(t, template, f)
	must(t, setupJoin(l.app))
	l.install(t, rules)
	must(t, l.reset())
	var err error
	l.start, err = l.rows()
	must(t, err)
	return l
}

func newLab(t *testing.T, template pgtest.Template, f form) *lab {
	t.Helper()
	db := pgtest.New(t, template)
	super, err := pgx.ParseConfig(db.SuperDSN)
	must(t, err)
	super.RuntimeParams["timezone"] = "UTC"
	l := &lab{DB: db, form: f, wire: &wire{}}
	l.super = db.Open(postgres.New(postgres.Config{Conn: stdlib.OpenDB(*super)}), nil)
	must(t, l.super.Exec(`DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET timezone = ''America/New_York''', current_database());
		EXECUTE format('ALTER DATABASE %I SET deadlock_timeout = ''20ms''', current_database());
	END $$`).Error)
	login, err := pgx.ParseConfig(db.AppDSN)
	must(t, err)
	login.Tracer = l.wire
	dialector := tenancy.PostgresConfig(login)
	if !f.walls {
		dialector = postgres.New(postgres.Config{Conn: stdlib.OpenDB(*login)}) // as postgres.Open does
	}
	l.app = db.Open(dialector, &gorm.Config{TranslateError: true, Logger: l.wire})
	return l
}

func (l *lab) install(t *testing.T, rules tenancy.Rules) {
	t.Helper()
	must(t, l.app.Use(audit.New(audit.Config{Rules: rules})))
	if l.form.walls {
		must(t, l.app.Use(tenancy.New(tenancy.Config{
			Rules: rules, RowLevelSecurity: true, RequireConfinedRole: true, System: l.Open(tenancy.Postgres(l.SystemDSN), nil),
		})))
		must(t, tenancy.Verify(context.Background(), l.app))
	}
}

func (l *lab) reset() error { return l.super.Exec(resetText()).Error }

// context returns the context of an operation: its label is the actor's name, by
// which its entries and its statements are found.
func (l *lab) context(ctx context.Context, label string) context.Context {
	if l.form.walls {
		ctx = tenancy.WithTenant(ctx, tenant)
	}
	return audit.WithActor(ctx, audit.Actor{ID: label})
}
