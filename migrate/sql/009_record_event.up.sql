-- Records an event that belongs to no tenant, a failed log-in for one, for a
-- login that row-level security keeps from writing such rows. The time is the
-- database's, and no parameter names a tenant.
--
-- 008_resolve_tenant says why it sets courtroll.definer and how it is kept from
-- being diverted.
DO $do$
DECLARE
	home text := (SELECT n.nspname FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('tenants'));
	trail text := (SELECT n.nspname FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('audit_logs'));
BEGIN
	EXECUTE format($make$
CREATE OR REPLACE FUNCTION %1$I.courtroll_record_event(id uuid, actor_id text, action text,
	resource_type text, resource_id text, ip_address text, metadata jsonb)
RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
#variable_conflict use_variable
DECLARE
	before text := current_setting('courtroll.definer', true);
BEGIN
	PERFORM set_config('courtroll.definer', 'on', true);
	INSERT INTO %2$I.audit_logs
		(id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
	VALUES (coalesce(id, gen_random_uuid()), actor_id, NULL, action, resource_type, resource_id,
		ip_address, metadata, clock_timestamp());
	PERFORM set_config('courtroll.definer', coalesce(before, ''), true);
END
$body$
	$make$, home, trail);
	EXECUTE format('REVOKE ALL ON FUNCTION %I.courtroll_record_event(uuid, text, text, text, text, text, jsonb) FROM PUBLIC', home);
	EXECUTE format('COMMENT ON FUNCTION %I.courtroll_record_event(uuid, text, text, text, text, text, jsonb) IS %L', home,
		'records an event that belongs to no tenant');
END
$do$;
