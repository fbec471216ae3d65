package tests

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// walls are what a test's tenants are kept apart by: the plugin alone, or all
// three, and its SQL by hand then runs.
type walls struct{ all bool }

// eachWall runs a test with the plugin alone, and once more behind all walls.
func eachWall(t *testing.T, test func(t *testing.T, w walls)) {
	t.Helper()
	for name, w := range map[string]walls{"plugin alone": {}, "all walls": {all: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

func makeTables(owner *gorm.DB, roles pgtest.Roles, ddl []string) error {
	both := roles.AppRole + ", " + roles.SystemRole
	for _, d := range append(ddl, "GRANT ALL ON ALL TABLES IN SCHEMA public TO "+both, "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO "+both) {
		if err := owner.Exec(d).Error; err != nil {
			return err
		}
	}
	return nil
}

func rulesWith(models, shared []any) tenancy.Rules {
	return tenancy.Rules{Models: append(models, &Page{}, &Author{}, &Revision{}), Shared: append(shared, &Country{})}
}

// with is setup with further tables and models, which are protected once they are
// made. noAudit leaves the audit plugin out.
func (w walls) with(t *testing.T, noAudit bool, models, shared []any, ddl ...string) *bundle {
	t.Helper()
	db, r := w.database(t, models, shared, ddl...)
	return w.open(t, db, r, noAudit)
}

// database makes what with opens.
func (w walls) database(t *testing.T, models, shared []any, ddl ...string) (*pgtest.DB, tenancy.Rules) {
	t.Helper()
	r := rulesWith(models, shared)
	made := pgtest.Template{Name: fmt.Sprintf("%v %s %s %q", w.all, typesOf(models), typesOf(shared), ddl), BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		if err := errors.Join(schema.Build(owner), makeTables(owner, roles, slices.Clone(ddl))); err != nil || !w.all {
			return err
		}
		return protect(owner, roles, r)
	}}
	return pgtest.New(t, made), r
}

func typesOf(models []any) (types []string) {
	for _, model := range models {
		if name, ok := model.(string); ok {
			types = append(types, name)
		} else {
			types = append(types, fmt.Sprintf("%T", model))
		}
	}
	return types
}

// open opens the app's handle on a database.
func (w walls) open(t *testing.T, db *pgtest.DB, r tenancy.Rules, noAudit bool) *bundle {
	t.Helper()
	app, config := db.App, tenancy.Config{Rules: r}
	if w.all {
		app = db.Open(tenancy.Postgres(db.AppDSN), &gorm.Config{TranslateError: true})
		config.RowLevelSecurity, config.RequireConfinedRole = true, true
		config.System = db.Open(tenancy.Postgres(db.SystemDSN), nil)
	}
	use(t, app, tenancy.New(config))
	if !noAudit {
		use(t, app, audit.New(audit.Config{Rules: r}))
	}
	if w.all {
		if err := tenancy.Verify(t.Context(), app); err != nil && !isNoModel(err) {
			t.Fatal(err)
		}
	}
	return newBundle(t, db, app)
}

// isNoModel reports whether nothing is wrong but that tables have no model: they
// are made for tests of what becomes of such.
func isNoModel(err error) bool {
	all, ok := err.(interface{ Unwrap() []error })
	return ok && !slices.ContainsFunc(all.Unwrap(), func(err error) bool { return !errors.Is(err, tenancy.ErrNoModel) })
}

// wantOpaque demands that SQL by hand was refused with the plugin alone, and that
// behind all walls it read nothing of acme's.
func (w walls) wantOpaque(t *testing.T, name string, err error, read any) {
	t.Helper()
	if !w.all && !errors.Is(err, tenancy.ErrOpaqueSQL) {
		t.Errorf("%s: %v, want ErrOpaqueSQL", name, err)
	}
	if text := fmt.Sprint(read, err); w.all && strings.Contains(text, "acme") {
		t.Errorf("%s: read %s", name, text)
	}
}
