DROP FUNCTION IF EXISTS courtroll_resolve_tenant(text, text);
