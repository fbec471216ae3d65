package migrate_test

import (
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

func TestDoctor_Columns(t *testing.T) {
	t.Parallel()
	newPatient(t).suffers(t, []ailment{
		{"renamed", `ALTER TABLE audit_logs RENAME COLUMN action TO verb`, migrate.CodeColumnMissing, "column public.audit_logs.action", ""},
		{"no address", `ALTER TABLE audit_logs DROP COLUMN ip_address`, migrate.CodeColumnMissing, "column public.audit_logs.ip_address", ""},
		{"no actor", `ALTER TABLE audit_logs DROP COLUMN actor_id`, migrate.CodeColumnMissing, "column public.audit_logs.actor_id", ""},
		{"numbers alone", `ALTER TABLE audit_logs ALTER COLUMN resource_id TYPE bigint USING NULL`, migrate.CodeColumnType, "column public.audit_logs.resource_id", ""},
		{"somebody by default", `ALTER TABLE audit_logs ALTER COLUMN actor_id SET DEFAULT 'system'`, migrate.CodeColumnDefault, "column public.audit_logs.actor_id", migrate.SeverityWarning},
		{"an entry needs a tenant", `ALTER TABLE audit_logs ALTER COLUMN tenant_id SET NOT NULL`, migrate.CodeColumnNotNull, "column public.audit_logs.tenant_id", ""},
		{"an entry needs an actor", `ALTER TABLE audit_logs ADD CONSTRAINT somebody CHECK (actor_id IS NOT NULL) NOT VALID`, migrate.CodeColumnNotNull, "constraint public.audit_logs.somebody", ""},
		{"a column of another's", `ALTER TABLE audit_logs ADD COLUMN region text NOT NULL`, migrate.CodeColumnNotNull, "column public.audit_logs.region", ""},
		{"no time", `ALTER TABLE audit_logs ALTER COLUMN created_at DROP NOT NULL`, migrate.CodeColumnNull, "column public.audit_logs.created_at", ""},
		{"any time", `ALTER TABLE audit_logs ALTER COLUMN created_at SET DEFAULT '2020-01-01'`, migrate.CodeColumnDefault, "column public.audit_logs.created_at", ""},
		{"no id", `ALTER TABLE audit_logs ALTER COLUMN id DROP DEFAULT`, migrate.CodeColumnDefault, "column public.audit_logs.id", migrate.SeverityWarning},
		{"suspended by default", `ALTER TABLE tenants ALTER COLUMN is_active SET DEFAULT false`, migrate.CodeColumnDefault, "column public.tenants.is_active", migrate.SeverityWarning},
		{"no key", `ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey`, migrate.CodeNoPrimaryKey, "table public.audit_logs", ""},
		{"tenants without a key", `ALTER TABLE tenants DROP CONSTRAINT tenants_pkey`, migrate.CodeNoPrimaryKey, "table public.tenants", ""},
		{"a key of two", `ALTER TABLE audit_logs DROP CONSTRAINT audit_logs_pkey, ADD PRIMARY KEY (id, created_at)`, migrate.CodeNoPrimaryKey, "table public.audit_logs", ""},
		{"two of a slug, of which one is active", `ALTER TABLE tenants DROP CONSTRAINT uni_tenants_slug; CREATE UNIQUE INDEX uni_tenants_slug ON tenants (slug) WHERE is_active`,
			migrate.CodeSlugNotUnique, "table public.tenants", ""},
		{"two of a slug", `DROP INDEX uni_tenants_slug; ALTER TABLE tenants DROP CONSTRAINT tenants_slug_key`, migrate.CodeSlugNotUnique, "table public.tenants", ""},
	})
}

func TestDoctor_Versions(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.super.exec(t, p.names.Replace(`GRANT SELECT ON courtroll_migrations TO {app}`))
	p.suffers(t, []ailment{
		{"resolves anything", `CREATE OR REPLACE FUNCTION courtroll_resolve_tenant(kind text, value text) RETURNS TABLE (id text, is_active boolean)
			LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT t.id, true FROM public.tenants t'`, migrate.CodeFunctionAltered, "function public.courtroll_resolve_tenant", ""},
		{"lists tenants", `DROP FUNCTION courtroll_resolve_tenant; CREATE FUNCTION courtroll_resolve_tenant(kind text, value text) RETURNS TABLE (id text, is_active boolean, name text)
			LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS 'SELECT t.id, true, t.name FROM public.tenants t';
			REVOKE ALL ON FUNCTION courtroll_resolve_tenant FROM PUBLIC; GRANT EXECUTE ON FUNCTION courtroll_resolve_tenant TO {app}, {system}`, migrate.CodeFunctionAltered, "function public.courtroll_resolve_tenant", ""},
		{"of the caller's", `ALTER FUNCTION courtroll_admit SECURITY INVOKER`, migrate.CodeFunctionAltered, "function public.courtroll_admit", ""},
		{"immutable", `ALTER FUNCTION courtroll_admit IMMUTABLE`, migrate.CodeFunctionAltered, "function public.courtroll_admit", ""},
		{"searches", `ALTER FUNCTION courtroll_record_event RESET search_path`, migrate.CodeFunctionAltered, "function public.courtroll_record_event", ""},
		{"searches elsewhere", `ALTER FUNCTION courtroll_record_event SET search_path = public, pg_catalog`, migrate.CodeFunctionAltered, "function public.courtroll_record_event", ""},
		{"sets something", `ALTER FUNCTION courtroll_record_event SET session_replication_role = replica`, migrate.CodeFunctionAltered, "function public.courtroll_record_event", ""},
		{"records no NULL", `ALTER FUNCTION courtroll_record_event STRICT`, migrate.CodeFunctionAltered, "function public.courtroll_record_event", ""},
		{"of another's", `ALTER FUNCTION courtroll_record_event OWNER TO {other}`, migrate.CodeFunctionOwner, "function public.courtroll_record_event", ""},
		{"of a superuser's", `ALTER FUNCTION courtroll_resolve_tenant OWNER TO CURRENT_USER`, migrate.CodeFunctionOwner, "function public.courtroll_resolve_tenant", ""},
		{"another id", `CREATE OR REPLACE FUNCTION courtroll_uuidv7() RETURNS uuid LANGUAGE sql RETURN gen_random_uuid()`, migrate.CodeFunctionAltered, "function public.courtroll_uuidv7", ""},
		{"of other arguments", `CREATE FUNCTION courtroll_admit(tenant varchar, mode varchar) RETURNS boolean LANGUAGE sql RETURN true; REVOKE ALL ON FUNCTION courtroll_admit(varchar, varchar) FROM PUBLIC`,
			migrate.CodeFunctionShadowed, "function public.courtroll_admit", ""},
		{"gone", `DROP FUNCTION courtroll_admit`, migrate.CodeFunctionMissing, "function public.courtroll_admit", ""},
		{"elsewhere", `CREATE SCHEMA attic; ALTER FUNCTION courtroll_resolve_tenant SET SCHEMA attic`, migrate.CodeFunctionMissing, "function public.courtroll_resolve_tenant", ""},
		{"not recorded", `DELETE FROM courtroll_migrations WHERE version = 14; DROP FUNCTION courtroll_admit`, migrate.CodeVersionPending, "version 014_admit_tenant", migrate.SeverityWarning},
		{"index not recorded", `DELETE FROM courtroll_migrations WHERE version = 3; DROP INDEX courtroll_audit_logs_resource`, migrate.CodeVersionPending, "version 003_audit_logs_by_resource", migrate.SeverityWarning},
		{"another text", `UPDATE courtroll_migrations SET checksum = 'x' WHERE version = 9`, migrate.CodeVersionChecksum, "version 009_record_event", migrate.SeverityWarning},
		{"no records", `DROP TABLE courtroll_migrations`, migrate.CodeNoVersions, "table public.courtroll_migrations", migrate.SeverityWarning},
		{"no index", `DROP INDEX courtroll_audit_logs_request`, migrate.CodeIndexMissing, "index public.courtroll_audit_logs_request", migrate.SeverityWarning},
		{"another index", `DROP INDEX courtroll_audit_logs_action; CREATE INDEX courtroll_audit_logs_action ON audit_logs (action)`, migrate.CodeIndexMissing, "index public.courtroll_audit_logs_action", migrate.SeverityWarning},
		{"invalid", `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'courtroll_audit_logs_tenant'::regclass`, migrate.CodeIndexInvalid, "index public.courtroll_audit_logs_tenant", migrate.SeverityWarning},
		{"invalid of the app's", `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_books_deleted_at'::regclass`, migrate.CodeIndexInvalid, "index public.idx_books_deleted_at", migrate.SeverityWarning},
		{"invalid key", `UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'tenants_pkey'::regclass`, migrate.CodeIndexInvalid, "index public.tenants_pkey", ""},
	})
}
