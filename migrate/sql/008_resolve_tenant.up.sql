-- Looks a tenant up before it is known whose the session is: by 'id', 'slug' or
-- 'domain', and gives its id and whether it is active, nothing else. A domain
-- is looked up in lower case, as it is stored. Another kind finds nothing.
--
-- It runs with the rights of its owner, whom row-level security binds too where
-- it is forced: the policy for the owner wants the setting courtroll.definer.
-- The function sets it, and puts back what was there, because only a superuser
-- may attach such a setting to a function. A caller gains nothing by setting it
-- himself: the policy is the owner's.
--
-- It lies beside the table, whose name it holds with the schema, and its
-- search_path has nothing in which a caller could put something of his own.
DO $do$
DECLARE
	home text := (SELECT n.nspname FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('tenants'));
BEGIN
	EXECUTE format($make$
CREATE OR REPLACE FUNCTION %1$I.courtroll_resolve_tenant(kind text, value text)
RETURNS TABLE (id text, is_active boolean)
LANGUAGE plpgsql STABLE SECURITY DEFINER ROWS 1
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	before text := current_setting('courtroll.definer', true);
BEGIN
	PERFORM set_config('courtroll.definer', 'on', true);
	CASE kind
	WHEN 'id' THEN
		RETURN QUERY SELECT t.id::text, t.is_active FROM %1$I.tenants t WHERE t.id = value;
	WHEN 'slug' THEN
		RETURN QUERY SELECT t.id::text, t.is_active FROM %1$I.tenants t WHERE t.slug = value;
	WHEN 'domain' THEN
		RETURN QUERY SELECT t.id::text, t.is_active FROM %1$I.tenants t WHERE t.domain = lower(value);
	ELSE NULL;
	END CASE;
	PERFORM set_config('courtroll.definer', coalesce(before, ''), true);
END
$body$
	$make$, home);
	EXECUTE format('REVOKE ALL ON FUNCTION %I.courtroll_resolve_tenant(text, text) FROM PUBLIC', home);
	EXECUTE format('COMMENT ON FUNCTION %I.courtroll_resolve_tenant(text, text) IS %L', home,
		'id and is_active of the tenants of an id, slug or domain: before the tenant is known');
END
$do$;
