WITH "__audit" AS (SELECT "n"."id" AS "__o0", "n"."pin" AS "__o3" FROM "notes" AS "n"
 FOR NO KEY UPDATE OF "n"),
"__w" AS (UPDATE "notes" AS "n" SET "pin"=$1
 FROM "__audit" WHERE "n"."id" = "__audit"."__o0"
 RETURNING "n".*, "__audit"."__o0", "__audit"."__o3", "n" AS "__row"),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $2::text, 'update', 'notes', w."__o0"::text, $4::text, 
 ('{"changes":{' || d.changed || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $5::text)::jsonb, coalesce(w."tenant_id"::text, $3::text), clock_timestamp()
 FROM "__w" AS w CROSS JOIN LATERAL (SELECT concat_ws(',', CASE WHEN w."__o3" IS DISTINCT FROM w."pin" THEN '"pin":{"old":' || coalesce(CASE WHEN w."__o3" IS NOT NULL THEN '"[redacted]"' END, 'null') || ',"new":' || coalesce(CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END, 'null') || '}' END) AS changed OFFSET 0) AS d
 WHERE d.changed <> '' RETURNING 1)
SELECT ("__w"."__row").* FROM "__w" LIMIT CASE WHEN NOT ((SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = '"notes"'::regclass AND attnum > 0 AND NOT attisdropped) = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"notes"'::regclass AND NOT tgisinternal AND tgtype & 19 = 19) AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = '"notes"'::regclass) AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = 1 AND indrelid = '"notes"'::regclass)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 WHEN NOT ((SELECT count(*) FROM "__audit") = (SELECT count(*) FROM "__w")) THEN current_setting((SELECT 'courtroll.old_values_uncertain'))::bigint
 ELSE (SELECT CASE WHEN w.n + c0.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, 0, w.n, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__w") AS w, (SELECT count(*) AS n FROM "__l") AS c0) END
