WITH "__w" AS (DELETE FROM "notes" WHERE "id" = $1
 RETURNING "notes".*),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $2::text, 'delete', 'notes', w."id"::text, $4::text, 
 ('{"changes":{' || concat_ws(',', '"id":{"old":' || w."id"::text || ',"new":null}',
  '"tenant_id":{"old":' || to_json(w."tenant_id")::text || ',"new":null}',
  '"a\"b":{"old":' || to_json(CASE WHEN octet_length(w."a""b") > 16384 THEN left(w."a""b", 16384) || '...[cut from ' || octet_length(w."a""b") || ' bytes]' ELSE w."a""b" END)::text || ',"new":null}',
  '"pin":{"old":' || CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END || ',"new":null}',
  '"updated_at":{"old":' || CASE WHEN NOT isfinite(w."updated_at") THEN to_json(w."updated_at")::text WHEN w."updated_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || ',"new":null}',
  '"deleted_at":{"old":' || CASE WHEN NOT isfinite(w."deleted_at") THEN to_json(w."deleted_at")::text WHEN w."deleted_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || ',"new":null}') || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $5::text)::jsonb, coalesce(w."tenant_id"::text, $3::text), clock_timestamp()
 FROM "__w" AS w RETURNING 1)
SELECT "id","a""b" FROM "__w" AS "notes" LIMIT CASE WHEN NOT ((SELECT to_json(x)::text FROM (SELECT (NULL::"notes").*) AS x) = '{"id":null,"tenant_id":null,"a\"b":null,"pin":null,"updated_at":null,"deleted_at":null}') THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, 0, 0, w.n), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__l") AS w) END
