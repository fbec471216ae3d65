package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/migrate"
)

// foreignTables are the two tables as another program makes them: constraint
// names, a timestamp without time zone, and now() are its own.
var foreignTables = []string{
	`CREATE TABLE tenants (
		id text NOT NULL CONSTRAINT "tenants_id_pk" PRIMARY KEY, name text NOT NULL,
		slug text NOT NULL CONSTRAINT "tenants_slug_unique" UNIQUE, domain text, logo text,
		is_active boolean NOT NULL DEFAULT true, plan text NOT NULL DEFAULT 'free',
		created_at timestamp NOT NULL DEFAULT now(), updated_at timestamp NOT NULL DEFAULT now())`,
	`CREATE TABLE audit_logs (
		id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT "audit_logs_id_pk" PRIMARY KEY, actor_id text,
		tenant_id text, action text NOT NULL, resource_type text NOT NULL, resource_id text,
		ip_address text, metadata jsonb, created_at timestamptz NOT NULL DEFAULT now())`,
	`INSERT INTO tenants (id, name, slug) VALUES ('t1', 'One', 'one')`,
	`INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('t1', 'create', 'things')`,
}

func TestUpOnTablesOfAnotherProgram(t *testing.T) {
	t.Parallel()

	t.Run("leaves them as they are and adds indexes", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, foreignTables...)
		before := b.tableFacts(t)
		result := b.up(t)
		if diff := cmp.Diff([]string{"courtroll_migrations"}, result.Created); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(before, b.tableFacts(t)); diff != "" {
			t.Error(diff)
		}
		if got := b.line(t, `SELECT count(*)::text FROM tenants JOIN audit_logs ON tenant_id = tenants.id`); got != "1" {
			t.Errorf("got %s rows, want the one that was there", got)
		}
		b.hasIndex(t, "courtroll_audit_logs_tenant")
	})

	t.Run("creates the one that is missing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, foreignTables[0])
		want := []string{"audit_logs", "courtroll_migrations"}
		if diff := cmp.Diff(want, b.up(t).Created); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("accepts columns that it does not know", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, foreignTables...)
		b.exec(t, `ALTER TABLE tenants ADD region text`)
		b.up(t)
	})
}

func TestUpTableError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		made  string
		error migrate.TableError
	}{
		{"names the missing columns of tenants", `CREATE TABLE tenants (id text, slug text, is_active boolean, plan text)`,
			migrate.TableError{Table: "tenants", Missing: []string{"name"}}},
		{"names the missing columns of audit_logs", `CREATE TABLE audit_logs (id uuid, actor_id text, tenant_id text, action text, ip_address text)`,
			migrate.TableError{Table: "audit_logs", Missing: []string{"resource_type", "created_at"}}},
		{"counts a dropped column as missing", `CREATE TABLE audit_logs (id uuid, actor_id text, tenant_id text, action text, resource_type text,
			resource_id text, ip_address text, metadata jsonb, created_at timestamptz); ALTER TABLE audit_logs DROP COLUMN action`,
			migrate.TableError{Table: "audit_logs", Missing: []string{"action"}}},
		{"refuses a view", `CREATE VIEW tenants AS SELECT 1 AS id`, migrate.TableError{Table: "tenants", Kind: "view"}},
		{"refuses a sequence", `CREATE SEQUENCE audit_logs`, migrate.TableError{Table: "audit_logs", Kind: "sequence"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, test.made)
			before := b.catalogue(t)
			_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
			var got *migrate.TableError
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want a TableError", err)
			}
			if diff := cmp.Diff(test.error, *got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
				t.Errorf("the database changed: %s", diff)
			}
		})
	}
}

func TestUpSearchPath(t *testing.T) {
	t.Parallel()

	t.Run("creates everything in its first schema", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, `CREATE SCHEMA app`)
		inApp := b.with(t, "search_path", "app,public")
		inApp.up(t)
		if got := b.catalogue(t); got != "" {
			t.Errorf("made in public:\n%s", got)
		}
		got := b.lines(t, `SELECT relname::text FROM pg_class WHERE relnamespace = 'app'::regnamespace AND relkind = 'r'
			UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'app'::regnamespace ORDER BY 1`)
		if diff := cmp.Diff([]string{"audit_logs", "courtroll_admit", "courtroll_migrations", "courtroll_record_event", "courtroll_resolve_tenant", "courtroll_uuidv7", "tenants"}, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(migrate.Result{}, inApp.up(t)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("hides no table of a later schema behind a new one", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, foreignTables...)
		b.exec(t, `CREATE SCHEMA app`)
		inApp := b.with(t, "search_path", "app,public")
		if diff := cmp.Diff([]string{"courtroll_migrations"}, inApp.up(t).Created); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("ErrNoSchema", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		_, err := migrate.New(b.with(t, "search_path", "nowhere").owner, migrate.Config{}).Up(t.Context())
		if !errors.Is(err, migrate.ErrNoSchema) {
			t.Errorf("got %v, want ErrNoSchema", err)
		}
	})
}

// tableFacts describes the two tables without their indexes.
func (b *bundle) tableFacts(t testing.TB) string {
	t.Helper()
	return strings.Join(slices.DeleteFunc(strings.Split(b.catalogue(t), "\n"), func(line string) bool {
		about := strings.HasPrefix(line, "column") || strings.HasPrefix(line, "constraint") || strings.HasPrefix(line, "default")
		return !about || b.ofOthers(t, line)
	}), "\n")
}

// ofOthers says whether a catalogue line is about none of the two tables.
func (b *bundle) ofOthers(t testing.TB, line string) bool {
	t.Helper()
	oid := strings.Fields(line)[1]
	if strings.HasPrefix(line, "constraint") {
		return strings.Contains(line, "courtroll_")
	}
	return b.line(t, `SELECT count(*)::text FROM pg_class WHERE oid = $1::oid AND relname IN ('tenants', 'audit_logs')`, oid) == "0"
}

// shape describes columns, constraints and indexes without oids.
func (b *bundle) shape(t testing.TB) []string {
	t.Helper()
	return b.lines(t, `
		SELECT format('%s %s %s %s %s', table_name, column_name, udt_name, is_nullable, column_default)
			FROM information_schema.columns WHERE table_schema = 'public'
		UNION ALL SELECT format('%s %s', conname, pg_get_constraintdef(oid))
			FROM pg_constraint WHERE connamespace = 'public'::regnamespace
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1`)
}

func prefixed() schema.NamingStrategy {
	return schema.NamingStrategy{TablePrefix: "x_", SingularTable: true, IdentifierMaxLength: 63}
}
