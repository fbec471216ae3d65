package migrate_test

import (
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

func TestDoctor_Grants(t *testing.T) {
	t.Parallel()
	const mild = migrate.SeverityWarning
	newPatient(t).suffers(t, []ailment{
		{"truncate", `GRANT TRUNCATE ON books TO {app}`, migrate.CodeGrantExcess, "grant on public.books to {app}", ""},
		{"truncate, for all", `GRANT TRUNCATE ON books TO PUBLIC`, migrate.CodeGrantExcess, "grant on public.books to PUBLIC", ""},
		{"trigger", `GRANT TRIGGER ON books TO {app}`, migrate.CodeGrantExcess, "grant on public.books to {app}", ""},
		{"references", `GRANT REFERENCES ON books TO {app}`, migrate.CodeGrantExcess, "grant on public.books to {app}", mild},
		{"all, by a stranger", `GRANT ALL ON tags TO {other}`, migrate.CodeGrantExcess, "grant on public.tags to {other}", ""},
		{"system truncates", `GRANT TRUNCATE ON books TO {system}`, migrate.CodeGrantExcess, "grant on public.books to {system}", ""},
		{"may hand on", `GRANT SELECT ON books TO {app} WITH GRANT OPTION`, migrate.CodeGrantExcess, "grant on public.books to {app}", mild},
		{"column", `GRANT UPDATE (slug) ON tenants TO {app}`, migrate.CodeGrantExcess, "grant on public.tenants to {app}", ""},
		{"whole register", `GRANT UPDATE ON tenants TO {app}`, migrate.CodeGrantExcess, "grant on public.tenants to {app}", ""},
		{"new tenants", `GRANT INSERT ON tenants TO {app}`, migrate.CodeGrantExcess, "grant on public.tenants to {app}", ""},
		{"trail", `GRANT UPDATE ON audit_logs TO {app}`, migrate.CodeGrantTrail, "grant on public.audit_logs to {app}", ""},
		{"trail's column", `GRANT UPDATE (action) ON audit_logs TO {app}`, migrate.CodeGrantTrail, "grant on public.audit_logs to {app}", ""},
		{"trail, by system", `GRANT DELETE ON audit_logs TO {system}`, migrate.CodeGrantTrail, "grant on public.audit_logs to {system}", ""},
		{"trail, for all", `GRANT ALL ON audit_logs TO PUBLIC`, migrate.CodeGrantTrail, "grant on public.audit_logs to PUBLIC", ""},
		{"trail, for retention", `GRANT DELETE ON audit_logs TO {retention}`, migrate.CodeGrantTrail, "grant on public.audit_logs to {retention}", ""},
		{"stranger", `GRANT SELECT ON books TO {other}`, migrate.CodeGrantUntrusted, "grant on public.books to {other}", mild},
		{"everybody", `GRANT SELECT (isbn) ON books TO PUBLIC`, migrate.CodeGrantUntrusted, "grant on public.books to PUBLIC", mild},
		{"lacks", `REVOKE INSERT, DELETE ON books FROM {app}`, migrate.CodeGrantMissing, "table public.books for {app}", mild},
		{"lacks a column", `REVOKE UPDATE (name) ON tenants FROM {app}`, migrate.CodeGrantMissing, "table public.tenants for {app}", mild},
		{"lacks a sequence", `REVOKE USAGE ON SEQUENCE books_id_seq FROM {app}`, migrate.CodeGrantMissing, "sequence public.books_id_seq for {app}", mild},
		{"lacks the schema", `REVOKE USAGE ON SCHEMA public FROM {app}`, migrate.CodeGrantMissing, "schema public for {app}", mild},
		{"system lacks", `REVOKE SELECT ON audit_logs FROM {system}`, migrate.CodeGrantMissing, "table public.audit_logs for {system}", mild},
		{"sequence", `GRANT UPDATE ON SEQUENCE books_id_seq TO {app}`, migrate.CodeGrantSequence, "grant on public.books_id_seq to {app}", mild},
		{"sequence, for all", `GRANT SELECT ON SEQUENCE books_id_seq TO PUBLIC`, migrate.CodeGrantSequence, "grant on public.books_id_seq to PUBLIC", mild},
	})
}

func TestDoctor_GrantsAround(t *testing.T) {
	t.Parallel()
	const mild = migrate.SeverityWarning
	const resolve, purge = `courtroll_resolve_tenant(text, text)`, `courtroll_purge_audit_logs(timestamptz, text, text, bigint, timestamptz, uuid, uuid, boolean)`
	p := newPatient(t)
	const purgeName = `public.courtroll_purge_audit_logs(timestamp with time zone,text,text,bigint,timestamp with time zone,uuid,uuid,boolean)`
	p.suffers(t, []ailment{
		{"resolve, for all", `GRANT EXECUTE ON FUNCTION ` + resolve + ` TO PUBLIC`, migrate.CodeGrantFunction, "grant on function public.courtroll_resolve_tenant(text,text) to PUBLIC", mild},
		{"resolve, handed on", `GRANT EXECUTE ON FUNCTION ` + resolve + ` TO {app} WITH GRANT OPTION`, migrate.CodeGrantFunction, "grant on function public.courtroll_resolve_tenant(text,text) to {app}", mild},
		{"resolve, lacking", `REVOKE EXECUTE ON FUNCTION ` + resolve + ` FROM {app}`, migrate.CodeGrantMissing, "function public.courtroll_resolve_tenant(text,text) for {app}", mild},
		{"ids, lacking", `REVOKE EXECUTE ON FUNCTION courtroll_uuidv7() FROM PUBLIC; GRANT EXECUTE ON FUNCTION courtroll_uuidv7() TO {system}`, migrate.CodeGrantMissing, "function public.courtroll_uuidv7() for {app}", mild},
		{"purge, by the app", `GRANT EXECUTE ON FUNCTION ` + purge + ` TO {app}`, migrate.CodeGrantFunction, "grant on function " + purgeName + " to {app}", ""},
		{"purge, by a stranger", `GRANT EXECUTE ON FUNCTION ` + purge + ` TO {other}`, migrate.CodeGrantFunction, "grant on function " + purgeName + " to {other}", mild},
		{"purge, for all", `GRANT EXECUTE ON FUNCTION ` + purge + ` TO PUBLIC`, migrate.CodeGrantFunction, "grant on function " + purgeName + " to PUBLIC", ""},
		{"purge, lacking", `REVOKE EXECUTE ON FUNCTION ` + purge + ` FROM {retention}`, migrate.CodeGrantMissing, "function " + purgeName + " for {retention}", mild},
		{"trigger function", `GRANT EXECUTE ON FUNCTION courtroll_capture_books() TO PUBLIC`, migrate.CodeGrantFunction, "grant on function public.courtroll_capture_books() to PUBLIC", mild},
		{"creates", `GRANT CREATE ON SCHEMA public TO {app}`, migrate.CodeSchemaCreate, "schema public for {app}", mild},
		{"all create", `GRANT CREATE ON SCHEMA public TO PUBLIC`, migrate.CodeSchemaCreate, "schema public for PUBLIC", mild},
		{"creates ahead", `CREATE SCHEMA {app}; GRANT ALL ON SCHEMA {app} TO {app}`, migrate.CodeSchemaCreate, "schema {app} for {app}", mild},
		{"creates schemas", `GRANT CREATE ON DATABASE ` + p.Name + ` TO {app}`, migrate.CodeDatabaseCreate, "database " + p.Name + " for {app}", mild},
		{"versions", `GRANT INSERT, DELETE ON courtroll_migrations TO {app}`, migrate.CodeGrantRecords, "grant on public.courtroll_migrations to {app}", mild},
		{"later tables", `ALTER DEFAULT PRIVILEGES FOR ROLE {owner} IN SCHEMA public GRANT ALL ON TABLES TO {app}`, migrate.CodeGrantDefault, "default privileges of {owner} on tables in schema public for {app}", mild},
		{"later tables, for all", `ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT ON TABLES TO PUBLIC`, migrate.CodeGrantDefault, "default privileges of {owner} on tables for PUBLIC", mild},
		{"replica", `GRANT SET ON PARAMETER session_replication_role TO {app}`, migrate.CodeGrantParameter, "grant on parameter session_replication_role to {app}", ""},
		{"alters the system", `GRANT ALTER SYSTEM ON PARAMETER work_mem TO {app}`, migrate.CodeGrantParameter, "grant on parameter work_mem to {app}", ""},
		{"statistics", `GRANT SELECT ON pg_statistic TO {app}`, migrate.CodeGrantCatalogue, "grant on table pg_catalog.pg_statistic to {app}", ""},
		{"statistics' column", `GRANT SELECT (stavalues1) ON pg_statistic TO {app}`, migrate.CodeGrantCatalogue, "grant on table pg_catalog.pg_statistic to {app}", ""},
		{"logs in as the server", `CREATE EXTENSION dblink; GRANT EXECUTE ON FUNCTION dblink_connect_u(text) TO {app}`, migrate.CodeGrantCatalogue, "grant on function public.dblink_connect_u(text) to {app}", ""},
		{"files", `GRANT EXECUTE ON FUNCTION pg_read_file(text) TO {app}`, migrate.CodeGrantCatalogue, "grant on function pg_read_file(text) to {app}", ""},
	})
	t.Run("harmless", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`GRANT ALL ON books TO {reports}; GRANT EXECUTE ON FUNCTION `+resolve+` TO {reports}; GRANT SELECT ON courtroll_migrations TO {app};
			ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {app}; GRANT SET ON PARAMETER log_statement TO {app};
			CREATE SCHEMA mine AUTHORIZATION {other}; GRANT ALL ON SCHEMA mine TO {app}`))
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
	t.Run("granted by another", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`GRANT SELECT ON tags TO {app} WITH GRANT OPTION; SET ROLE {app}; GRANT SELECT ON tags TO {other}; RESET ROLE`))
		found := p.doctor(t)
		if len(found) != 2 {
			t.Fatalf("found:\n%s", listed(found))
		}
		p.cure(t, found)
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
}
