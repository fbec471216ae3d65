WITH "__w" AS (INSERT INTO "notes" ("a""b") VALUES ($1)
 RETURNING "notes".*),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $2::text, 'create', 'notes', w."id"::text, $4::text, 
 ('{"changes":{' || concat_ws(',', '"id":{"old":null,"new":' || w."id"::text || '}',
  '"tenant_id":{"old":null,"new":' || to_json(w."tenant_id")::text || '}',
  '"a\"b":{"old":null,"new":' || to_json(CASE WHEN octet_length(w."a""b") > 16384 THEN left(w."a""b", 16384) || '...[cut from ' || octet_length(w."a""b") || ' bytes]' ELSE w."a""b" END)::text || '}',
  '"pin":{"old":null,"new":' || CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END || '}',
  '"updated_at":{"old":null,"new":' || CASE WHEN NOT isfinite(w."updated_at") THEN to_json(w."updated_at")::text WHEN w."updated_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || '}',
  '"deleted_at":{"old":null,"new":' || CASE WHEN NOT isfinite(w."deleted_at") THEN to_json(w."deleted_at")::text WHEN w."deleted_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || '}') || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $5::text)::jsonb, coalesce(w."tenant_id"::text, $3::text), clock_timestamp()
 FROM "__w" AS w RETURNING 1)
SELECT "id" FROM "__w" AS "notes" LIMIT CASE WHEN NOT ((SELECT to_json(x)::text FROM (SELECT (NULL::"notes").*) AS x) = '{"id":null,"tenant_id":null,"a\"b":null,"pin":null,"updated_at":null,"deleted_at":null}') THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, w.n, 0, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__l") AS w) END
