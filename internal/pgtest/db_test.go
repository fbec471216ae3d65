package pgtest_test

import (
	"errors"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/pgtest"
)

const forbidden = "42501"

func TestRoles(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, projects)

	for name, c := range map[string]struct {
		handle *gorm.DB
		role   string
		owns   bool
	}{
		"Owner": {db.Owner, db.OwnerRole, true},
		"App":   {db.App, db.AppRole, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got struct {
				Role                                                string
				Login, Super, Bypass, Createdb, Createrole          bool
				OwnsDatabase, OwnsSchema, OwnsTable, CreateInPublic bool
				Memberships                                         int
			}
			noError(t, c.handle.Raw(`
				SELECT rolname AS role, rolcanlogin AS login, rolsuper AS super, rolbypassrls AS bypass,
					rolcreatedb AS createdb, rolcreaterole AS createrole,
					EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND datdba = r.oid) AS owns_database,
					EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public' AND nspowner = r.oid) AS owns_schema,
					EXISTS (SELECT FROM pg_class WHERE oid = 'projects'::regclass AND relowner = r.oid) AS owns_table,
					has_schema_privilege('public', 'CREATE') AS create_in_public,
					(SELECT count(*) FROM pg_auth_members WHERE member = r.oid) AS memberships
				FROM pg_roles r WHERE rolname = current_user`).Scan(&got).Error)
			if got.Role != c.role || !got.Login || got.Super || got.Bypass || got.Createdb || got.Createrole || got.Memberships != 0 {
				t.Errorf("got %+v", got)
			}
			if got.OwnsDatabase != c.owns || got.OwnsSchema != c.owns || got.OwnsTable != c.owns || got.CreateInPublic != c.owns {
				t.Errorf("got %+v", got)
			}
		})
	}

	t.Run("AppMayNotChangeTheSchema", func(t *testing.T) {
		t.Parallel()
		for _, ddl := range []string{
			`CREATE TABLE t (x int)`, `CREATE SCHEMA s`, `CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'`,
			`ALTER TABLE projects DISABLE ROW LEVEL SECURITY`, `DROP TABLE projects`, `TRUNCATE projects`,
		} {
			wantCode(t, db.App.Exec(ddl).Error, forbidden)
		}
	})

	t.Run("AppUsesWhatTheOwnerCreates", func(t *testing.T) {
		t.Parallel()
		noError(t, db.Owner.Exec(`CREATE TABLE later (id bigserial PRIMARY KEY, name text)`).Error)
		noError(t, db.Owner.Exec(`CREATE FUNCTION three() RETURNS int LANGUAGE sql AS 'SELECT 3'`).Error)
		for _, dml := range []string{
			`INSERT INTO later (name) VALUES ('a')`, `SELECT last_value FROM later_id_seq`,
			`UPDATE later SET name = 'b'`, `DELETE FROM later`, `SELECT three()`,
		} {
			if err := db.App.Exec(dml).Error; err != nil {
				t.Errorf("%s: %v", dml, err)
			}
		}
	})

	t.Run("RowLevelSecurityBindsTheApp", func(t *testing.T) {
		t.Parallel()
		noError(t, db.Owner.Exec(`CREATE TABLE walled (x int); INSERT INTO walled VALUES (1); ALTER TABLE walled ENABLE ROW LEVEL SECURITY`).Error)
		if got := scalar[int](t, db.App, `SELECT count(*) FROM walled`); got != 0 {
			t.Errorf("the app sees %d rows", got)
		}
	})

	t.Run("SuperuserIsOne", func(t *testing.T) {
		t.Parallel()
		super := db.Open(postgres.Open(db.SuperDSN), nil)
		if got := scalar[string](t, super, `SELECT current_database() || ' ' || rolsuper FROM pg_roles WHERE rolname = current_user`); got != db.Name+" true" {
			t.Errorf("got %s", got)
		}
	})
}

func TestDatabasesAreIndependent(t *testing.T) {
	t.Parallel()
	one, two := pgtest.New(t, projects), pgtest.New(t, projects)
	if one.Name == two.Name {
		t.Fatal("both tests got the same database")
	}
	noError(t, one.App.Create(&project{Name: "roof"}).Error)
	noError(t, one.Owner.Exec(`ALTER TABLE projects ADD extra text`).Error)
	if got := scalar[int](t, two.Owner, `SELECT count(*) FROM information_schema.columns WHERE table_name = 'projects'`); got != 2 {
		t.Errorf("the other database's table has %d columns", got)
	}
	if got := scalar[int](t, two.App, `SELECT count(*) FROM projects`); got != 0 {
		t.Errorf("the other database has %d rows", got)
	}
}

func TestEmptyTemplate(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	if got := scalar[int](t, db.Owner, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace`); got != 0 {
		t.Errorf("the empty template has %d relations", got)
	}
}

func TestHandles(t *testing.T) {
	t.Parallel()

	t.Run("TranslateErrors", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t, projects)
		noError(t, db.App.Create(&project{ID: 1}).Error)
		if err := db.App.Create(&project{ID: 1}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("FurtherOnesHaveTheirOwnConfig", func(t *testing.T) {
		t.Parallel()
		db := pgtest.New(t, projects)
		cfg := &gorm.Config{DryRun: true, TranslateError: false}
		dry := db.OpenApp(cfg)
		if !dry.DryRun || dry.Logger != logger.Discard || cfg.Logger != nil {
			t.Errorf("got %+v from %+v", dry.Config, cfg)
		}
		if got := scalar[string](t, db.OpenOwner(nil), `SELECT current_user`); got != db.OwnerRole {
			t.Errorf("got %s", got)
		}
	})

	t.Run("CloseWithTheTest", func(t *testing.T) {
		t.Parallel()
		var handles []*gorm.DB
		t.Run("Use", func(t *testing.T) {
			db := pgtest.New(t, projects)
			handles = []*gorm.DB{db.Owner, db.App, db.OpenApp(nil)}
			noError(t, db.App.Exec(`SELECT 1`).Error)
		})
		for _, h := range handles {
			if err := h.Exec(`SELECT 1`).Error; err == nil {
				t.Error("the handle still works")
			}
		}
	})
}
