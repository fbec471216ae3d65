package migrate_test

import (
	"database/sql"
	"testing"
	"time"

	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
)

func TestDoctor_Trail(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"no statement trigger", `DROP TRIGGER courtroll_append_only ON audit_logs`, migrate.CodeTriggerMissing, "trigger public.audit_logs.courtroll_append_only", ""},
		{"no row trigger", `DROP TRIGGER courtroll_append_only_row ON audit_logs`, migrate.CodeTriggerMissing, "trigger public.audit_logs.courtroll_append_only_row", ""},
		{"renamed", `ALTER TRIGGER courtroll_clock ON audit_logs RENAME TO clock`, migrate.CodeTriggerMissing, "trigger public.audit_logs.courtroll_clock", ""},
		{"disabled", `ALTER TABLE audit_logs DISABLE TRIGGER courtroll_append_only`, migrate.CodeTriggerDisabled, "trigger public.audit_logs.courtroll_append_only", ""},
		{"all disabled", `ALTER TABLE audit_logs DISABLE TRIGGER ALL`, migrate.CodeTriggerDisabled, "table public.audit_logs", ""},
		{"not always", `ALTER TABLE audit_logs ENABLE TRIGGER courtroll_append_only_row`, migrate.CodeTriggerDisabled, "trigger public.audit_logs.courtroll_append_only_row", migrate.SeverityWarning},
		{"replica", `ALTER TABLE audit_logs ENABLE REPLICA TRIGGER courtroll_clock`, migrate.CodeTriggerDisabled, "trigger public.audit_logs.courtroll_clock", ""},
		{"always", `ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_clock`, migrate.CodeTriggerAltered, "trigger public.audit_logs.courtroll_clock", migrate.SeverityWarning},
		{"narrowed", `CREATE OR REPLACE TRIGGER courtroll_append_only_row BEFORE UPDATE OR DELETE ON audit_logs FOR EACH ROW WHEN (OLD.action = 'create') EXECUTE FUNCTION courtroll_append_only();
			ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_append_only_row`, migrate.CodeTriggerAltered, "trigger public.audit_logs.courtroll_append_only_row", ""},
		{"of columns", `CREATE OR REPLACE TRIGGER courtroll_append_only BEFORE UPDATE OF action OR DELETE OR TRUNCATE ON audit_logs EXECUTE FUNCTION courtroll_append_only();
			ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_append_only`, migrate.CodeTriggerAltered, "trigger public.audit_logs.courtroll_append_only", ""},
		{"without TRUNCATE", `CREATE OR REPLACE TRIGGER courtroll_append_only BEFORE UPDATE OR DELETE ON audit_logs EXECUTE FUNCTION courtroll_append_only();
			ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_append_only`, migrate.CodeTriggerAltered, "trigger public.audit_logs.courtroll_append_only", ""},
		{"another function", `CREATE FUNCTION let_pass() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
			CREATE OR REPLACE TRIGGER courtroll_clock BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION let_pass()`, migrate.CodeTriggerAltered, "trigger public.audit_logs.courtroll_clock", ""},
		{"guard replaced", `CREATE OR REPLACE FUNCTION courtroll_append_only() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			migrate.CodeFunctionAltered, "function public.courtroll_append_only", ""},
		{"clock replaced", `CREATE OR REPLACE FUNCTION courtroll_clock() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
			migrate.CodeFunctionAltered, "function public.courtroll_clock", ""},
		{"guard with a search_path", `ALTER FUNCTION courtroll_append_only() SET search_path = public`, migrate.CodeFunctionAltered, "function public.courtroll_append_only", ""},
		{"purge of the caller's", `ALTER FUNCTION courtroll_purge_audit_logs SECURITY INVOKER`, migrate.CodeFunctionAltered, "function public.courtroll_purge_audit_logs", ""},
		{"purge searches", `ALTER FUNCTION courtroll_purge_audit_logs RESET search_path`, migrate.CodeFunctionAltered, "function public.courtroll_purge_audit_logs", ""},
		{"purge strict", `ALTER FUNCTION courtroll_purge_audit_logs STRICT`, migrate.CodeFunctionAltered, "function public.courtroll_purge_audit_logs", ""},
		{"guard of another's", `ALTER FUNCTION courtroll_append_only() OWNER TO {other}`, migrate.CodeFunctionOwner, "function public.courtroll_append_only", ""},
		{"no guard", `DROP FUNCTION courtroll_append_only CASCADE`, migrate.CodeFunctionMissing, "function public.courtroll_append_only", ""},
		{"no clock", `DROP FUNCTION courtroll_clock CASCADE`, migrate.CodeFunctionMissing, "function public.courtroll_clock", ""},
		{"no purge", `DROP FUNCTION courtroll_purge_audit_logs`, migrate.CodeFunctionMissing, "function public.courtroll_purge_audit_logs", ""},
		{"swallows entries", `CREATE TRIGGER aaa BEFORE INSERT ON audit_logs FOR EACH ROW WHEN (NEW.action = 'delete') EXECUTE FUNCTION let_pass()`,
			migrate.CodeTrailTrigger, "trigger public.audit_logs.aaa", ""},
		{"takes another tenant", `CREATE FUNCTION become() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('courtroll.tenant_id', 'acme', true); RETURN NEW; END $$;
			REVOKE ALL ON FUNCTION become FROM PUBLIC; CREATE TRIGGER become BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION become()`, migrate.CodeTriggerBinds, "trigger public.books.become", ""},
		{"counts everybody's", `CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN NEW.place := (SELECT count(*) FROM public.books); RETURN NEW; END $$;
			CREATE TRIGGER counted BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION counted()`, migrate.CodeTriggerDefiner, "trigger public.books.counted", ""},
		{"trail of another's", `ALTER TABLE audit_logs OWNER TO {other}`, migrate.CodeOwnerChanged, "table public.audit_logs", ""},
		{"register of another's", `ALTER TABLE tenants OWNER TO {other}`, migrate.CodeOwnerChanged, "table public.tenants", ""},
		{"refers to tenants", `ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_tenant FOREIGN KEY (tenant_id) REFERENCES tenants`,
			migrate.CodeTrailKey, "constraint public.audit_logs.audit_logs_tenant", migrate.SeverityWarning},
		{"goes with its tenant", `ALTER TABLE audit_logs ADD CONSTRAINT audit_logs_tenant FOREIGN KEY (tenant_id) REFERENCES tenants ON DELETE CASCADE`,
			migrate.CodeTrailKey, "constraint public.audit_logs.audit_logs_tenant", ""},
		{"referred to", `CREATE TABLE marks (id uuid CONSTRAINT marks_entry REFERENCES audit_logs)`, migrate.CodeTrailReferenced, "constraint public.marks.marks_entry", migrate.SeverityWarning},
		{"once alone", `CREATE UNIQUE INDEX once ON audit_logs (resource_type, resource_id)`, migrate.CodeTrailUnique, "index public.once", ""},
		{"leaves entries out", `CREATE RULE aaa AS ON INSERT TO audit_logs WHERE NEW.action = 'delete' DO INSTEAD NOTHING`, migrate.CodeRule, "rule public.audit_logs.aaa", ""},
		{"a comment of somebody's", `COMMENT ON FUNCTION courtroll_clock() IS 'the time of entries'`, migrate.CodeFunctionAltered, "function public.courtroll_clock", migrate.SeverityWarning},
		{"a parent", `CREATE TABLE all_logs (LIKE audit_logs); ALTER TABLE audit_logs INHERIT all_logs; GRANT SELECT ON all_logs TO {app}`, migrate.CodeTableKind, "table public.audit_logs", ""},
		{"unlogged trail", `DROP TABLE marks; ALTER TABLE audit_logs SET UNLOGGED`, migrate.CodeUnlogged, "table public.audit_logs", ""},
		{"unlogged tenants", `ALTER TABLE tenants SET UNLOGGED`, migrate.CodeUnlogged, "table public.tenants", ""},
		{"unlogged table", `ALTER TABLE book_tags SET UNLOGGED`, migrate.CodeUnlogged, "table public.book_tags", migrate.SeverityWarning},
	})
	m := migrate.New(p.owner, p.config())
	if done, err := m.AppendOnly(t.Context()); err != nil || len(done.Changed) > 0 {
		t.Errorf("AppendOnly after the fixes: %v, drifted %q, changed %q", err, done.Drifted, done.Changed)
	}
	if _, err := m.Retain(t.Context(), migrate.Retention{Before: time.Now().Add(-time.Hour), Reason: "a test", DryRun: true}); err != nil {
		t.Errorf("Retain after the fixes: %v", err)
	}
}

// TestDoctor_Ruins has databases in which nearly nothing is left, one after the other.
func TestDoctor_Ruins(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	for _, statement := range []string{
		`DROP FUNCTION courtroll_uuidv7, courtroll_resolve_tenant, courtroll_record_event, courtroll_admit`,
		`DROP TABLE courtroll_migrations`,
		`REVOKE USAGE ON SCHEMA public FROM {app}`,
		`GRANT USAGE ON SCHEMA public TO {app}; DROP TABLE tenants CASCADE`,
		`DROP TABLE audit_logs CASCADE`,
		`CREATE VIEW audit_logs AS SELECT 1 AS id, ''::text AS tenant_id; CREATE VIEW tenants AS SELECT 1 AS id`,
		`DROP TABLE books, shelves, tags, book_tags, countries CASCADE`,
		`DROP SCHEMA public CASCADE`,
	} {
		p.super.exec(t, p.names.Replace(statement))
		for _, login := range []*sql.DB{p.app, p.sql, p.super.sql} {
			if found, err := migrate.Doctor(t.Context(), p.Open(postgres.New(postgres.Config{Conn: login}), nil), libraryModels...); err != nil || len(found) == 0 {
				t.Errorf("after %s: %v\n%s", statement, err, listed(found))
			}
		}
	}
}

func TestDoctor_NotAppendOnly(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"taken off by hand", `DROP FUNCTION courtroll_append_only, courtroll_clock, courtroll_purge_audit_logs CASCADE`, migrate.CodeNotAppendOnly, "table public.audit_logs", migrate.SeverityWarning},
	})
	if _, err := migrate.New(p.owner, p.config()).DropAppendOnly(t.Context()); err != nil {
		t.Fatal(err)
	}
	found := p.doctor(t)
	if len(found) != 1 || found[0].Code != migrate.CodeNotAppendOnly {
		t.Fatalf("found:\n%s", listed(found))
	}
	p.cure(t, found)
	if found = p.doctor(t); len(found) > 0 {
		t.Errorf("found after the fix:\n%s", listed(found))
	}
	done, err := migrate.New(p.owner, p.config()).AppendOnly(t.Context())
	if err != nil || len(done.Drifted) > 0 {
		t.Errorf("AppendOnly after the fix: %v, drifted %q", err, done.Drifted)
	}
}
