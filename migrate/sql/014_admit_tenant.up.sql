-- Lets the statements of a tenant through whose row in tenants has is_active =
-- true. In mode 'refuse' any other is an error of the SQLSTATE CRT01: suspended,
-- deleted and unknown look the same. In any other mode its transaction can only
-- read from there on, which PostgreSQL itself sees to, and the answer is true.
--
-- It reads the row with the snapshot of the statement that calls it, so that one
-- that starts after a suspension has committed is not let through.
--
-- 008_resolve_tenant says why it sets courtroll.definer and how it is kept from
-- being diverted.
DO $do$
DECLARE
	home text := (SELECT n.nspname FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('tenants'));
BEGIN
	EXECUTE format($make$
CREATE OR REPLACE FUNCTION %1$I.courtroll_admit(tenant text, mode text)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $body$
DECLARE
	before text := current_setting('courtroll.definer', true);
	active boolean;
BEGIN
	PERFORM set_config('courtroll.definer', 'on', true);
	active := (SELECT t.is_active FROM %1$I.tenants t WHERE t.id = tenant);
	PERFORM set_config('courtroll.definer', coalesce(before, ''), true);
	IF coalesce(active, false) THEN
		RETURN false;
	ELSIF mode = 'refuse' THEN
		RAISE EXCEPTION 'the tenant is not active' USING ERRCODE = 'CRT01';
	END IF;
	PERFORM set_config('transaction_read_only', 'on', true);
	RETURN true;
END
$body$
	$make$, home);
	EXECUTE format('REVOKE ALL ON FUNCTION %I.courtroll_admit(text, text) FROM PUBLIC', home);
	EXECUTE format('COMMENT ON FUNCTION %I.courtroll_admit(text, text) IS %L', home,
		'refuses the statements of a tenant that is not active, or those that write');
END
$do$;
