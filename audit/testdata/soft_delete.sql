WITH "__audit" AS (SELECT "notes"."id" AS "__o0", "notes"."deleted_at" AS "__o5" FROM "notes"
 WHERE "id" = $2
 FOR NO KEY UPDATE OF "notes"),
"__w" AS (UPDATE "notes" SET "deleted_at"=$1
 FROM "__audit" WHERE "notes"."id" = "__audit"."__o0"
 RETURNING "notes".*, "__audit"."__o0", "__audit"."__o5"),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $3::text, CASE WHEN (w."__o5" IS NOT NULL) = (w."deleted_at" IS NOT NULL) THEN 'update' WHEN w."deleted_at" IS NOT NULL THEN 'soft_delete' ELSE 'restore' END, 'notes', w."__o0"::text, $5::text, 
 ('{"changes":{' || d.changed || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $6::text)::jsonb, coalesce(w."tenant_id"::text, $4::text), clock_timestamp()
 FROM "__w" AS w CROSS JOIN LATERAL (SELECT concat_ws(',', CASE WHEN w."__o5" IS DISTINCT FROM w."deleted_at" THEN '"deleted_at":{"old":' || coalesce(CASE WHEN NOT isfinite(w."__o5") THEN to_json(w."__o5")::text WHEN w."__o5" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."__o5" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."__o5" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END, 'null') || ',"new":' || coalesce(CASE WHEN NOT isfinite(w."deleted_at") THEN to_json(w."deleted_at")::text WHEN w."deleted_at" >= '0001-01-01 00:00:00Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE replace(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, ' BC"', '+00:00 BC"') END, 'null') || '}' END) AS changed OFFSET 0) AS d
 WHERE d.changed <> '' RETURNING 1)
SELECT count(*) FROM "__w" LIMIT CASE WHEN NOT ((SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = '"notes"'::regclass AND attnum > 0 AND NOT attisdropped) = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"notes"'::regclass AND NOT tgisinternal AND tgtype & 19 = 19) AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = '"notes"'::regclass) AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = 1 AND indrelid = '"notes"'::regclass)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 WHEN NOT ((SELECT count(*) FROM "__audit") = (SELECT count(*) FROM "__w")) THEN current_setting((SELECT 'courtroll.old_values_uncertain'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, 0, w.n, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__w") AS w) END
