WITH "__w" AS (DELETE FROM "notes" WHERE "id" = $1
 RETURNING "notes".*),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $2::text, 'delete', 'notes', w."id"::text, $4::text, 
 ('{"changes":{' || concat_ws(',', '"id":{"old":' || w."id"::text || ',"new":null}',
  '"tenant_id":{"old":' || to_json(w."tenant_id")::text || ',"new":null}',
  '"a\"b":{"old":' || to_json(CASE WHEN octet_length(w."a""b") > 16384 AND char_length(w."a""b") > 16384 THEN left(w."a""b", 16384) || '...[cut from ' || char_length(w."a""b") || ' characters]' ELSE w."a""b" END)::text || ',"new":null}',
  '"pin":{"old":' || CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END || ',"new":null}',
  '"updated_at":{"old":' || CASE WHEN NOT isfinite(w."updated_at") THEN to_json(w."updated_at")::text WHEN w."updated_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || ',"new":null}',
  '"deleted_at":{"old":' || CASE WHEN NOT isfinite(w."deleted_at") THEN to_json(w."deleted_at")::text WHEN w."deleted_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || ',"new":null}') || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $5::text)::jsonb, coalesce(w."tenant_id"::text, $3::text), clock_timestamp()
 FROM "__w" AS w RETURNING 1)
SELECT "id","a""b" FROM "__w" AS "notes" LIMIT CASE WHEN NOT ((SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = '"notes"'::regclass AND attnum > 0 AND NOT attisdropped) = 0 AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = 1 AND indrelid = '"notes"'::regclass)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, 0, 0, w.n), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__l") AS w) END
