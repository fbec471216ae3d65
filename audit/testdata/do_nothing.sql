WITH "__w" AS (INSERT INTO "notes" ("id") VALUES ($1) ON CONFLICT DO NOTHING
 RETURNING "notes".*),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $2::text, 'create', 'notes', w."id"::text, $4::text, 
 ('{"changes":{' || concat_ws(',', '"id":{"old":null,"new":' || w."id"::text || '}',
  '"tenant_id":{"old":null,"new":' || to_json(w."tenant_id")::text || '}',
  '"a\"b":{"old":null,"new":' || to_json(CASE WHEN octet_length(w."a""b") > 16384 AND char_length(w."a""b") > 16384 THEN left(w."a""b", 16384) || '...[cut from ' || char_length(w."a""b") || ' characters]' ELSE w."a""b" END)::text || '}',
  '"pin":{"old":null,"new":' || CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END || '}',
  '"updated_at":{"old":null,"new":' || CASE WHEN NOT isfinite(w."updated_at") THEN to_json(w."updated_at")::text WHEN w."updated_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || '}',
  '"deleted_at":{"old":null,"new":' || CASE WHEN NOT isfinite(w."deleted_at") THEN to_json(w."deleted_at")::text WHEN w."deleted_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END || '}') || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $5::text)::jsonb, coalesce(w."tenant_id"::text, $3::text), clock_timestamp()
 FROM "__w" AS w RETURNING 1)
SELECT count(*) FROM "__w" LIMIT CASE WHEN NOT ((SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = '"notes"'::regclass AND attnum > 0 AND NOT attisdropped) = 0 AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = 1 AND indrelid = '"notes"'::regclass)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, w.n, 0, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__w") AS w) END
