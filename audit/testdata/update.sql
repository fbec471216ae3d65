WITH "__audit" AS (SELECT "notes"."id" AS "__o0", "notes"."a""b" AS "__o2" FROM "notes"
 WHERE "notes"."tenant_id" = $2 AND ("id" = $3
)
 FOR NO KEY UPDATE OF "notes"),
"__w" AS (UPDATE "notes" SET "a""b"=$1
 FROM "__audit" WHERE "notes"."id" = "__audit"."__o0"
 RETURNING "notes".*, "__audit"."__o0", "__audit"."__o2"),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")
 SELECT public."courtroll_uuidv7"(), $4::text, 'update', 'notes', w."__o0"::text, $6::text, 
 ('{"changes":{' || d.changed || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $7::text)::jsonb, coalesce(w."tenant_id"::text, $5::text), clock_timestamp()
 FROM "__w" AS w CROSS JOIN LATERAL (SELECT concat_ws(',', CASE WHEN w."__o2" IS DISTINCT FROM w."a""b" THEN '"a\"b":{"old":' || coalesce(to_json(CASE WHEN octet_length(w."__o2") > 16384 AND char_length(w."__o2") > 16384 THEN left(w."__o2", 16384) || '...[cut from ' || char_length(w."__o2") || ' characters]' ELSE w."__o2" END)::text, 'null') || ',"new":' || coalesce(to_json(CASE WHEN octet_length(w."a""b") > 16384 AND char_length(w."a""b") > 16384 THEN left(w."a""b", 16384) || '...[cut from ' || char_length(w."a""b") || ' characters]' ELSE w."a""b" END)::text, 'null') || '}' END) AS changed OFFSET 0) AS d
 WHERE d.changed <> '' RETURNING 1)
SELECT count(*) FROM "__w" LIMIT CASE WHEN NOT ((SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = '"notes"'::regclass AND attnum > 0 AND NOT attisdropped) = 0 AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"notes"'::regclass AND NOT tgisinternal AND tgtype & 19 = 19) AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = '"notes"'::regclass) AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = 1 AND indrelid = '"notes"'::regclass)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 WHEN NOT ((SELECT count(*) FROM "__audit") = (SELECT count(*) FROM "__w")) THEN current_setting((SELECT 'courtroll.old_values_uncertain'))::bigint
 ELSE (SELECT CASE WHEN w.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, 0, w.n, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n FROM "__w") AS w) END
