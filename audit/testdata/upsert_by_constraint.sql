WITH "__audit" AS (SELECT true AS "__found", "notes"."id" AS "__o0", "notes"."pin" AS "__o3" FROM "notes" AS "notes"
 WHERE ("notes"."id") IN (($1
)) AND ($5::text IS NULL OR "notes"."tenant_id"::text = $5::text)
 FOR NO KEY UPDATE),
"__w" AS (INSERT INTO "notes" ("id","pin") VALUES ($1,$2),(DEFAULT,$3) ON CONFLICT ("id") DO UPDATE SET "pin"=$2 WHERE ( true
) AND (SELECT count(*) FROM "__audit") >= 0
 RETURNING "notes".*, ("notes".xmax = 0) AS "__created", "notes" AS "__row"),
"__l" AS (INSERT INTO public."audit_logs" ("id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "created_at")
 SELECT public."courtroll_uuidv7"(), $4::text, coalesce(w."tenant_id"::text, $5::text), CASE WHEN w."__created" THEN 'create' ELSE 'update' END, 'notes', w."id"::text, $6::text,
 ('{"changes":{' || CASE WHEN w."__created" THEN concat_ws(',', '"id":{"old":null,"new":' || w."id"::text || '}',
  '"tenant_id":{"old":null,"new":' || to_json(w."tenant_id")::text || '}',
  '"a\"b":{"old":null,"new":' || CASE WHEN octet_length(w."a""b") > 16384 THEN to_json(left(w."a""b", 16384) || '... [cut: ' || octet_length(w."a""b") || ' bytes]')::text ELSE to_json(w."a""b")::text END || '}',
  '"pin":{"old":null,"new":' || CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END || '}',
  '"updated_at":{"old":null,"new":' || CASE WHEN isfinite(w."updated_at") AND w."updated_at" >= '0001-01-02Z' THEN rtrim(to_json(w."updated_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE to_json(w."updated_at")::text END || '}',
  '"deleted_at":{"old":null,"new":' || CASE WHEN isfinite(w."deleted_at") AND w."deleted_at" >= '0001-01-02Z' THEN rtrim(to_json(w."deleted_at" AT TIME ZONE 'UTC')::text, '"') || '+00:00"' ELSE to_json(w."deleted_at")::text END || '}') ELSE d.changed END || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || $7::text)::jsonb, clock_timestamp()
 FROM "__w" AS w LEFT JOIN "__audit" AS a ON NOT w."__created" AND a."__o0" = w."id" CROSS JOIN LATERAL (SELECT concat_ws(',', CASE WHEN a."__o3" IS DISTINCT FROM w."pin" THEN '"pin":{"old":' || coalesce(CASE WHEN a."__o3" IS NOT NULL THEN '"[redacted]"' END, 'null') || ',"new":' || coalesce(CASE WHEN w."pin" IS NOT NULL THEN '"[redacted]"' END, 'null') || '}' END) AS changed OFFSET 0) AS d
 WHERE CASE WHEN NOT w."__created" AND a."__found" IS NULL THEN current_setting('courtroll.old_values_uncertain') IS NULL ELSE CASE WHEN w."__created" THEN true ELSE d.changed <> '' END END RETURNING 1)
SELECT ("__w"."__row").* FROM "__w" LIMIT CASE WHEN NOT ((SELECT to_json(x)::text FROM (SELECT (NULL::"notes").*) AS x) = '{"id":null,"tenant_id":null,"a\"b":null,"pin":null,"updated_at":null,"deleted_at":null}' AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = '"notes"'::regclass AND NOT tgisinternal AND tgtype & 19 = 19)) THEN current_setting((SELECT 'courtroll.table_was_altered'))::bigint
 ELSE (SELECT CASE WHEN w.n + c0.n < 0 OR set_config('courtroll.captured', concat_ws(' ', '"notes"'::regclass::oid, extract(epoch FROM statement_timestamp())::text, w.created, w.n - w.created, 0), true) IS NULL THEN 0 END FROM (SELECT count(*) AS n, count(*) FILTER (WHERE "__created") AS created FROM "__w") AS w, (SELECT count(*) AS n FROM "__l") AS c0) END
