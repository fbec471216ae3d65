-- Hand-written SQL that reaches no tenant-owned table, as apps write it: the
-- tenancy plugin must let it pass. corpus_test.go says how a block is read.

-- # select a constant
SELECT 1

-- # health check with a semicolon
SELECT 1;

-- # version
SELECT version()

-- # time of the server
SELECT now(), current_timestamp, clock_timestamp(), localtime, current_date

-- # who and where
SELECT current_user, session_user, current_database(), current_schema, inet_server_port(), pg_backend_pid()

-- # current setting
SELECT current_setting('TimeZone'), current_setting('app.request_id', true)

-- # show a setting
SHOW server_version

-- # show a setting of two words
SHOW TIME ZONE

-- # generated id
SELECT gen_random_uuid() AS id, md5(random()::text) AS token

-- # next value of a sequence
SELECT nextval('jobs_id_seq')

-- # next value of a sequence by cast
SELECT nextval('jobs_id_seq'::regclass)

-- # current and last value of a sequence
-- ! before: SELECT nextval('jobs_id_seq')
SELECT currval('jobs_id_seq'), lastval()

-- # sequence of a column
SELECT pg_get_serial_sequence('jobs', 'id')

-- # all rows of a shared table
SELECT * FROM jobs

-- # schema-qualified
SELECT j.id FROM public.jobs AS j WHERE j.queue = 'mail'

-- # upper-case key words and names
SELECT ID, QUEUE FROM JOBS WHERE QUEUE = 'mail' ORDER BY ID LIMIT 10 OFFSET 0

-- # quoted names, mixed case and key words
SELECT "Rates"."From", r."Order" FROM "Rates" LEFT JOIN "Rates" r ON r."From" = "Rates"."From"

-- # Unicode name of a column
SELECT "größe" AS größe, größe + 1 AS "Größe 2" FROM "Rates"

-- # positional parameters
-- ! args: ["mail", 10]
SELECT * FROM jobs WHERE queue = ? LIMIT ?

-- # list parameter
-- ! args: [["mail", "sms"]]
SELECT * FROM jobs WHERE queue IN ?

-- # list parameter in parentheses
-- ! args: [[1, 2]]
SELECT * FROM jobs WHERE id IN (?) AND done

-- # named parameters
-- ! args: {"queue": "mail", "from": "2024-01-01", "until": "2024-12-31"}
SELECT * FROM jobs WHERE queue = @queue AND run_at >= CAST(@from AS timestamptz) AND run_at < @until

-- # one named parameter twice
-- ! args: {"q": "mail"}
SELECT CASE WHEN queue = @q THEN 1 ELSE 2 END FROM jobs WHERE queue = @q OR lower(@q) = 'all'

-- # parameter cast by the server
-- ! args: ["{\"to\": \"a@b.c\"}"]
SELECT id FROM jobs WHERE payload @> ?::jsonb

-- # parameter array
-- ! args: ["{red,blue}"]
SELECT id FROM jobs WHERE tags && ?::text[]

-- # inner join
SELECT j.id, c.name FROM jobs j INNER JOIN countries c ON c.code = j.queue

-- # left join with USING and aliases
SELECT * FROM countries LEFT OUTER JOIN (SELECT code, 1 AS n FROM countries) x USING (code)

-- # right and full join of shared tables
SELECT a.id, b.id FROM jobs a RIGHT JOIN jobs b ON a.parent_id = b.id FULL OUTER JOIN countries c ON c.code = b.queue

-- # natural and cross join
SELECT count(*) FROM jobs NATURAL JOIN jobs j CROSS JOIN countries

-- # comma join and self join
SELECT child.id, parent.id FROM jobs child, jobs parent WHERE child.parent_id = parent.id

-- # join in parentheses
SELECT * FROM (jobs j JOIN countries c ON true) LEFT JOIN "Rates" r ON r."From" = c.code

-- # semi-join
SELECT * FROM jobs j WHERE EXISTS (SELECT 1 FROM jobs k WHERE k.parent_id = j.id) AND NOT EXISTS (SELECT FROM countries WHERE code = j.queue)

-- # IN with a sub-select
SELECT * FROM jobs WHERE id IN (SELECT parent_id FROM jobs WHERE parent_id IS NOT NULL)

-- # ANY and ALL
SELECT * FROM jobs WHERE id = ANY (ARRAY[1, 2, 3]) AND cost >= ALL (SELECT cost FROM jobs WHERE done)

-- # scalar sub-select
SELECT id, (SELECT count(*) FROM jobs k WHERE k.parent_id = j.id) AS children FROM jobs j

-- # sub-select in FROM
SELECT queue, n FROM (SELECT queue, count(*) AS n FROM jobs GROUP BY queue) AS counts WHERE n > 0

-- # lateral sub-select
SELECT c.code, last.id FROM countries c LEFT JOIN LATERAL (SELECT id FROM jobs j WHERE j.queue = c.code ORDER BY run_at DESC LIMIT 1) last ON true

-- # lateral over a function
SELECT j.id, e.key, e.value FROM jobs j CROSS JOIN LATERAL jsonb_each_text(j.payload) AS e (key, value)

-- # unnest of a column
SELECT j.id, tag FROM jobs j, unnest(j.tags) AS tag

-- # unnest with ordinality
SELECT t.tag, t.n FROM unnest(ARRAY['a', 'b']) WITH ORDINALITY AS t (tag, n)

-- # jsonb_to_recordset
SELECT r.* FROM jsonb_to_recordset('[{"a": 1, "b": "x"}]') AS r (a int, b text)

-- # jsonb_array_elements with an alias of the same name
SELECT value FROM jsonb_array_elements_text('["a", "b"]'::jsonb)

-- # several functions with ROWS FROM
SELECT * FROM ROWS FROM (generate_series(1, 3), unnest(ARRAY['a', 'b'])) AS t (n, s)

-- # generate_series of days
SELECT d::date AS day, count(j.id) FROM generate_series('2024-01-01'::timestamptz, '2024-01-07', interval '1 day') AS d LEFT JOIN jobs j ON date_trunc('day', j.run_at) = d GROUP BY d ORDER BY d

-- # generate_series without alias
SELECT generate_series FROM generate_series(1, 10, 2)

-- # window functions
SELECT id, row_number() OVER (PARTITION BY queue ORDER BY run_at DESC) AS n, lag(cost) OVER w, sum(cost) OVER (ORDER BY id ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM jobs WINDOW w AS (PARTITION BY queue ORDER BY id)

-- # window frame with exclusion
SELECT id, avg(cost) OVER (ORDER BY run_at RANGE BETWEEN '1 day' PRECEDING AND '1 day' FOLLOWING EXCLUDE CURRENT ROW) FROM jobs

-- # aggregates with FILTER
SELECT queue, count(*) FILTER (WHERE done) AS done, count(*) FILTER (WHERE NOT done) AS open FROM jobs GROUP BY queue HAVING count(*) > 0

-- # ordered aggregates
SELECT string_agg(queue, ', ' ORDER BY queue), array_agg(DISTINCT queue), percentile_cont(0.5) WITHIN GROUP (ORDER BY cost), mode() WITHIN GROUP (ORDER BY queue) FROM jobs

-- # grouping sets
SELECT queue, done, grouping(queue, done), sum(cost) FROM jobs GROUP BY GROUPING SETS ((queue, done), (queue), ())

-- # rollup and cube
SELECT queue, done, count(*) FROM jobs GROUP BY ROLLUP (queue), CUBE (done) ORDER BY 1 NULLS FIRST

-- # distinct on
SELECT DISTINCT ON (queue) queue, id FROM jobs ORDER BY queue, run_at DESC NULLS LAST

-- # count distinct
SELECT count(DISTINCT queue), count(DISTINCT (queue, done)) FROM jobs

-- # order by expression, USING and collation
SELECT id FROM jobs ORDER BY lower(queue) COLLATE "C" ASC, cost USING >, run_at DESC NULLS LAST

-- # fetch first
SELECT id FROM jobs ORDER BY id OFFSET 1 ROWS FETCH FIRST 2 ROWS ONLY

-- # fetch with ties
SELECT id FROM jobs ORDER BY queue FETCH NEXT 1 ROW WITH TIES

-- # row locks of a queue
SELECT id FROM jobs WHERE NOT done ORDER BY run_at LIMIT 1 FOR UPDATE SKIP LOCKED

-- # row locks of one table of a join
SELECT j.id FROM jobs j JOIN countries c ON true FOR NO KEY UPDATE OF j NOWAIT

-- # weaker row locks
SELECT id FROM jobs FOR KEY SHARE

-- # share lock with a comment after it
SELECT id FROM jobs FOR SHARE -- of the rows read

-- # jsonb: arrows
SELECT payload -> 'retry' -> 'max', payload ->> 'to', payload #> '{retry,max}', payload #>> '{retry,max}' FROM jobs

-- # jsonb: containment
SELECT id FROM jobs WHERE payload @> '{"to": "a@b.c"}' AND '{"to": "x"}'::jsonb <@ '{"to": "x", "y": 1}'::jsonb

-- # jsonb: existence
SELECT id FROM jobs WHERE payload ? 'to' OR payload ?| array['cc', 'bcc'] OR payload ?& array['to', 'cc']

-- # jsonb: removal and concatenation
SELECT payload - 'to', payload - '{to,cc}'::text[], payload #- '{retry,max}', payload || '{"x": 1}'::jsonb FROM jobs

-- # jsonb: path
SELECT id FROM jobs WHERE payload @? '$.cc[*] ? (@ == "x")' OR payload @@ '$.retry.max > 2' OR jsonb_path_exists(payload, '$.to')

-- # jsonb: subscripts and builders
SELECT payload['retry']['max'], jsonb_build_object('id', id, 'tags', to_jsonb(tags)), jsonb_set(payload, '{to}', '"x"', true) FROM jobs

-- # json: aggregates and rows
SELECT json_agg(row_to_json(j)), jsonb_object_agg(j.id, j.queue) FROM jobs j

-- # json: a whole row through a sub-select
SELECT to_jsonb(x) - 'text' FROM (SELECT * FROM jobs) AS x

-- # arrays
SELECT tags[1], tags[1:2], array_length(tags, 1), cardinality(tags), array_append(tags, 'x'), tags || ARRAY['y'] FROM jobs WHERE 'red' = ANY (tags) AND tags @> ARRAY['red']::text[]

-- # array constructed from a sub-select
SELECT ARRAY(SELECT id FROM jobs ORDER BY id), ARRAY[[1, 2], [3, 4]]

-- # intervals
SELECT now() - interval '1 day', INTERVAL '1' YEAR, interval '1-2' year to month, interval(3) '1.2345 seconds', now() + 2 * '3 hours'::interval, make_interval(days => 3)

-- # time zones
SELECT run_at AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Oslo', timestamp '2024-01-01 00:00' AT TIME ZONE 'UTC', timezone('UTC', run_at) FROM jobs

-- # date arithmetic
SELECT date_trunc('month', run_at), EXTRACT(YEAR FROM run_at), extract(epoch from now() - run_at), date_part('dow', run_at), age(run_at), to_char(run_at, 'YYYY-MM-DD"T"HH24:MI') FROM jobs

-- # typed literals
SELECT DATE '2024-01-01', TIMESTAMP WITH TIME ZONE '2024-01-01 00:00+01', TIME '10:00', bit '101', B'101', X'1F', 1e3, .5, 1.5e-3

-- # overlaps
SELECT (DATE '2024-01-01', DATE '2024-02-01') OVERLAPS (run_at::date, interval '1 month') FROM jobs

-- # ranges
SELECT id FROM jobs WHERE during @> now() OR during && tstzrange('2024-01-01', '2024-06-01', '[)') OR upper_inf(during) OR during -|- tstzrange(NULL, '2024-01-01')

-- # between symmetric
SELECT id FROM jobs WHERE cost BETWEEN SYMMETRIC 5 AND 1 AND id NOT BETWEEN 7 AND 9

-- # is distinct from
SELECT id FROM jobs WHERE parent_id IS DISTINCT FROM id AND queue IS NOT DISTINCT FROM 'mail'

-- # is distinct from a column of a table
SELECT j.id FROM jobs j JOIN jobs k ON j.queue IS DISTINCT FROM k.queue AND j.parent_id IS NOT DISTINCT FROM k.id

-- # is true, unknown, null
SELECT id FROM jobs WHERE done IS NOT TRUE OR done IS UNKNOWN OR parent_id ISNULL OR queue NOTNULL

-- # row values
SELECT id FROM jobs WHERE (run_at, id) < ('2025-01-01', 10) AND ROW (queue, done) = ROW ('mail', true) OR (id, queue) IN ((1, 'mail'), (2, 'sms'))

-- # case
SELECT CASE queue WHEN 'mail' THEN 1 WHEN 'sms' THEN 2 ELSE 0 END, CASE WHEN cost > 2 THEN 'high' WHEN cost IS NULL THEN NULL END FROM jobs

-- # coalesce and friends
SELECT COALESCE(parent_id, 0), NULLIF(queue, ''), GREATEST(cost, 1), LEAST(1, 2, cost) FROM jobs

-- # like with escape
SELECT id FROM jobs WHERE queue LIKE 'm!%%' ESCAPE '!' OR queue NOT ILIKE '%x\_%' OR queue SIMILAR TO '(m|s)%'

-- # regular expressions
SELECT id FROM jobs WHERE queue ~ '^m' AND queue ~* 'MAIL|SMS' AND queue !~ '\d{2,}' AND queue !~* '["''$]'

-- # like with a list
SELECT id FROM jobs WHERE queue LIKE ANY (ARRAY['m%', 's%'])

-- # full text search
SELECT id, ts_rank(text, query) AS rank FROM jobs, to_tsquery('english', 'fat & !(rat | dog)') AS query WHERE text @@ query ORDER BY rank DESC

-- # full text search: web query and headline
SELECT ts_headline('simple', 'a fat cat', websearch_to_tsquery('simple', '"fat cat" -dog')), setweight(to_tsvector('simple', coalesce(queue, '')), 'A') || text FROM jobs

-- # string functions with key words
SELECT substring(queue FROM 2 FOR 3), substring(queue from '^.'), trim(BOTH 'x' FROM queue), trim(LEADING FROM queue), overlay(queue PLACING 'x' FROM 1 FOR 1), position('a' IN queue) FROM jobs

-- # string concatenation and format
SELECT queue || ': ' || id::text, concat_ws(', ', queue, id), format('%s-%I-%L', queue, 'x y', 'it''s'), repeat('ab', 2), left(queue, 2) FROM jobs

-- # casts with precision
SELECT cost::numeric(10, 2), CAST(cost AS decimal(5, 1)), queue::varchar(3), '1'::bit(3), '2024-01-01'::timestamp(0) with time zone, cost::double precision FROM jobs

-- # quote in a string
SELECT 'it''s', 'FROM pages', '; DROP TABLE pages; --', '/* not a comment', 'back\slash'

-- # escape strings
SELECT E'tab\tnewline\n', E'it\'s', e'\\', E'\u00e5', E'\x41'

-- # Unicode escapes in a string
SELECT 'å', chr(229), U&'\00e5'

-- # dollar-quoted strings
SELECT $$it's$$, $body$ SELECT * FROM pages $$ $body$, $é$x$é$

-- # strings continued on the next line
SELECT 'a'
  'b' AS ab

-- # national and bit strings
SELECT N'x', b'1', x'ff'

-- # line comment
SELECT id -- the key, from pages
FROM jobs -- not FROM pages
WHERE id > 0 -- it's

-- # block comments in all places
/* SELECT * FROM pages */ SELECT /*+ SeqScan(jobs) */ id/**/,queue/* 'x */FROM/**/jobs/* /* nested */ */ WHERE/**/ id/*"*/=/*$$*/1 /* end */

-- # trace comment of a client
SELECT id FROM jobs /*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01',route='%2Fjobs'*/

-- # operators that hold comment signs apart
SELECT 1 - -1, 2*-3, 4/ 2, -id, + id, @ -1, |/ 4, 2 ^ 3, 5 % 3, 5 & 3, 5 | 3, 5 # 3, ~1, 1 << 2 FROM jobs

-- # operator with its schema
SELECT id FROM jobs WHERE id OPERATOR(pg_catalog.=) 1

-- # function with its schema and named arguments
SELECT pg_catalog.lower(queue), make_date(year => 2024, month => 1, day => 1), make_interval(hours := 1) FROM jobs

-- # function with VARIADIC
SELECT concat(VARIADIC ARRAY['a', 'b']), num_nulls(VARIADIC tags) FROM jobs

-- # columns named like key words
SELECT j.text, j.done AS "from", j.queue AS "table", j.id AS "update", j.cost "join" FROM jobs AS j

-- # alias without AS
SELECT id n, queue q, count(*) OVER () total FROM jobs j

-- # column aliases of a table
SELECT a, b FROM countries AS c (a, b)

-- # composite value and its fields
SELECT (j).queue, (j.*)::text, j.* FROM jobs j

-- # UNION of shared tables
SELECT code FROM countries UNION ALL SELECT queue FROM jobs UNION SELECT 'x' ORDER BY 1

-- # INTERSECT and EXCEPT
(SELECT code FROM countries EXCEPT SELECT queue FROM jobs) INTERSECT ALL (SELECT code FROM countries) LIMIT 3

-- # VALUES
VALUES (1, 'a'), (2, 'b')

-- # VALUES as a table
SELECT v.id, v.name FROM (VALUES (1, 'a'), (2, 'b')) AS v (id, name) JOIN jobs ON jobs.id = v.id

-- # TABLE
TABLE countries

-- # TABLE with order
TABLE countries ORDER BY code LIMIT 1

-- # ONLY and descendants
SELECT * FROM ONLY jobs, ONLY (countries), jobs * AS k

-- # common table expressions
WITH open AS (SELECT * FROM jobs WHERE NOT done), counts (queue, n) AS MATERIALIZED (SELECT queue, count(*) FROM open GROUP BY queue) SELECT * FROM counts JOIN open USING (queue)

-- # nested common table expressions
WITH a AS (WITH b AS (SELECT 1 AS n) SELECT n FROM b) SELECT a.n FROM a WHERE a.n IN (WITH c AS NOT MATERIALIZED (TABLE a) SELECT n FROM c)

-- # recursive tree
WITH RECURSIVE tree AS (SELECT id, parent_id, 1 AS level FROM jobs WHERE parent_id IS NULL UNION ALL SELECT j.id, j.parent_id, t.level + 1 FROM jobs j JOIN tree t ON j.parent_id = t.id) SELECT * FROM tree ORDER BY level

-- # recursive with search and cycle
WITH RECURSIVE tree (id, parent_id) AS (SELECT id, parent_id FROM jobs WHERE parent_id IS NULL UNION ALL SELECT j.id, j.parent_id FROM jobs j, tree t WHERE j.parent_id = t.id) SEARCH DEPTH FIRST BY id SET ord CYCLE id SET is_cycle USING path SELECT * FROM tree ORDER BY ord

-- # recursive with cycle marks
WITH RECURSIVE tree (id, parent_id) AS (SELECT id, parent_id FROM jobs UNION ALL SELECT j.id, j.parent_id FROM jobs j, tree t WHERE j.parent_id = t.id) CYCLE id, parent_id SET looped TO 'Y' DEFAULT 'N' USING way SELECT id FROM tree WHERE looped = 'N'

-- # expression named like a tenant-owned table
WITH pages_of_jobs AS (SELECT id FROM jobs) SELECT * FROM pages_of_jobs

-- # insert
INSERT INTO countries (code, name) VALUES ('dk', 'Denmark'), ('fi', 'Finland')

-- # insert with returning and default
INSERT INTO jobs (queue, payload, tags, run_at) VALUES ('mail', '{}', DEFAULT, now()) RETURNING id, queue AS q

-- # insert from a select
INSERT INTO countries SELECT 'x' || id, queue FROM jobs WHERE done

-- # insert defaults
INSERT INTO jobs DEFAULT VALUES

-- # upsert
INSERT INTO countries AS c (code, name) VALUES ('no', 'Norge') ON CONFLICT (code) DO UPDATE SET name = excluded.name, code = c.code WHERE c.name IS DISTINCT FROM excluded.name RETURNING xmax = 0 AS inserted

-- # upsert that does nothing
INSERT INTO countries (code, name) VALUES ('no', 'Norge') ON CONFLICT ON CONSTRAINT countries_pkey DO NOTHING

-- # update
UPDATE jobs SET done = true, payload = jsonb_set(payload, '{done}', 'true'), cost = cost + 1 WHERE id = 1 RETURNING *

-- # update of several columns
UPDATE jobs SET (queue, done) = ('sms', false), (cost, run_at) = (SELECT 1, now()) WHERE id = 2

-- # update from
UPDATE jobs AS j SET queue = c.code FROM countries c WHERE c.code = j.queue

-- # update by a queue worker
UPDATE jobs SET done = true WHERE id = (SELECT id FROM jobs WHERE NOT done ORDER BY run_at FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id

-- # delete
DELETE FROM jobs WHERE run_at < now() - interval '30 days'

-- # delete using
DELETE FROM jobs j USING countries AS c, jobs p WHERE j.queue = c.code AND p.id = j.parent_id RETURNING j.id

-- # merge
MERGE INTO countries c USING (VALUES ('no', 'Norge'), ('is', 'Iceland')) AS v (code, name) ON c.code = v.code WHEN MATCHED THEN UPDATE SET name = v.name WHEN NOT MATCHED THEN INSERT (code, name) VALUES (v.code, v.name)

-- # data-modifying common table expression
WITH moved AS (DELETE FROM jobs WHERE done RETURNING queue) INSERT INTO countries (code) SELECT DISTINCT queue FROM moved ON CONFLICT DO NOTHING

-- # update under WITH
WITH next AS (SELECT id FROM jobs LIMIT 1 FOR UPDATE) UPDATE jobs SET done = true FROM next WHERE jobs.id = next.id RETURNING jobs.id

-- # advisory locks of a transaction
SELECT pg_try_advisory_xact_lock(42), pg_advisory_xact_lock(1, 2), pg_try_advisory_xact_lock(hashtext('jobs:mail'))

-- # advisory locks of a session
SELECT pg_try_advisory_lock(43), pg_advisory_unlock(43)

-- # notify by function
-- ! args: ["jobs", "{\"id\": 1}"]
SELECT pg_notify(?, ?)

-- # notify
NOTIFY jobs, 'new'

-- # listen
LISTEN jobs

-- # unlisten
UNLISTEN *

-- # savepoint
SAVEPOINT before_import

-- # rollback to a savepoint
-- ! before: SAVEPOINT before_import
ROLLBACK TO SAVEPOINT before_import

-- # release a savepoint
-- ! before: SAVEPOINT before_import
RELEASE SAVEPOINT before_import

-- # lock a shared table
LOCK TABLE jobs IN SHARE MODE

-- # sample of a shared table
SELECT count(*) FROM jobs TABLESAMPLE BERNOULLI (10) REPEATABLE (1)

-- # sample with an alias
SELECT j.id FROM jobs AS j TABLESAMPLE SYSTEM (50.5) WHERE j.done

-- # explain
EXPLAIN SELECT * FROM jobs WHERE id = 1

-- # explain analyze with options
EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) SELECT * FROM jobs j JOIN countries c ON c.code = j.queue

-- # explain analyze of a write
EXPLAIN ANALYZE VERBOSE UPDATE jobs SET done = true

-- # xml functions
SELECT xmlelement(name job, xmlattributes(id AS id), queue), xmlforest(id, queue AS q), xmlagg(xmlelement(name x, id)) OVER () FROM jobs

-- # xml paths and tables
SELECT xpath('/a/text()', note), x.v FROM "Rates", XMLTABLE('/a' PASSING note COLUMNS v int PATH '.') AS x

-- # xml by concatenation and serialisation
SELECT xmlserialize(CONTENT xmlconcat('<a/>'::xml, '<b/>'::xml) AS text), xmlexists('//a' PASSING BY VALUE note) FROM "Rates"

-- # tables of the schema
SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position

-- # existence of a table
SELECT to_regclass('public.jobs') IS NOT NULL, 'jobs'::regclass::oid, EXISTS (SELECT FROM information_schema.tables WHERE table_name = 'pages')

-- # catalogue
SELECT c.relname, n.nspname, c.reltuples::bigint FROM pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')

-- # indexes
SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'jobs'

-- # size of a table
SELECT pg_size_pretty(pg_total_relation_size('jobs')), obj_description('jobs'::regclass, 'pg_class')

-- # enum and type look-up
SELECT t.typname, e.enumlabel FROM pg_type t LEFT JOIN pg_enum e ON e.enumtypid = t.oid WHERE t.typname = 'text'

-- # locks and settings
SELECT l.locktype, l.mode, s.name FROM pg_locks l, pg_settings s WHERE s.name = 'max_connections'

-- # encodings and hashes
SELECT encode(sha256('x'::bytea), 'hex'), decode('eA==', 'base64'), '\xdeadbeef'::bytea, convert_from('\x78', 'UTF8'), hashtextextended('x', 0)

-- # network and geometry
SELECT inet '192.0.2.1' << inet '192.0.2.0/24', point(1, 2) <-> point '(3,4)', box '((0,0),(1,1))' && box '((1,1),(2,2))', circle '<(0,0),1>' @> point(0, 0)

-- # sub-select in LIMIT
SELECT id FROM jobs ORDER BY id LIMIT (SELECT count(*) / 2 FROM jobs)

-- # names with a dollar sign and digits
SELECT a$1, _2 FROM (SELECT 1 AS a$1, 2 AS _2) t$

-- # white space of all kinds
SELECT	id
FROM
	jobs WHERE id=1 AND queue='mail'

-- # no space where none is needed
SELECT(id)FROM jobs WHERE(id)IN(1,2)AND(queue)='mail'

-- # fragment: condition with an operator of jsonb
-- ! in: Where
payload @> '{"to": "a@b.c"}' AND payload ->> 'to' LIKE '%@%'

-- # fragment: condition with a parameter
-- ! in: Where
-- ! args: ["mail", "mail"]
queue = ? OR lower(queue) = lower(?)

-- # fragment: condition with a sub-select on a shared table
-- ! in: Where
EXISTS (SELECT 1 FROM countries WHERE countries.code = jobs.queue)

-- # fragment: condition with a comment
-- ! in: Where
id > 0 /* from the list */ AND NOT done

-- # fragment: alternative
-- ! in: Or
queue ~* '^m' OR cost IS NULL

-- # fragment: negation
-- ! in: Not
-- ! args: {"q": "sms"}
queue = @q

-- # fragment: columns
-- ! in: Select
id, count(*) OVER (PARTITION BY queue) AS n, (SELECT max(code) FROM countries) AS c, extract(year FROM run_at) AS y

-- # fragment: join of a shared table
-- ! in: Joins
LEFT JOIN countries c ON c.code = jobs.queue AND c.name IS DISTINCT FROM jobs.queue

-- # fragment: join of a function
-- ! in: Joins
CROSS JOIN LATERAL jsonb_array_elements_text(jobs.payload -> 'cc') AS cc

-- # fragment: grouping
-- ! in: Group
date_trunc('month', run_at AT TIME ZONE 'UTC')

-- # fragment: condition on groups
-- ! in: Having
-- ! args: [0]
count(*) FILTER (WHERE done) > ? AND max(cost) IS NOT NULL

-- # fragment: order
-- ! in: Order
CASE WHEN done THEN 1 ELSE 0 END, run_at DESC NULLS LAST

-- # fragment: order by position in a list
-- ! in: Order
array_position(ARRAY['sms', 'mail'], queue), id

-- # fragment: distinct
-- ! in: Distinct
queue, date_trunc('day', run_at)

-- # fragment: table with an alias
-- ! in: Table
jobs AS j

-- # fragment: derived table
-- ! in: Table
(SELECT queue, count(*) AS n FROM jobs GROUP BY queue) AS counts

-- # fragment: function as a table
-- ! in: Table
generate_series(1, 3) AS n

-- # the same name in the WITH of two queries
SELECT (WITH x AS (SELECT 1 AS a) SELECT a FROM x), (WITH x AS (SELECT 2 AS a) SELECT a FROM x) FROM countries

-- # an alias within
SELECT name, code FROM countries within GROUP BY name, code

-- # brackets
SELECT ARRAY[c.code, c.name] FROM countries c JOIN jobs j ON ARRAY[c.code, c.name] && j.tags, jobs k

-- # a function without parentheses
SELECT * FROM current_date AS today, current_user

-- # ORDER BY USING
SELECT name, code FROM countries ORDER BY name USING OPERATOR(pg_catalog.<), code

-- # a timeout for the transaction
SET LOCAL statement_timeout = '5s'

-- # a mode for the transaction
SET TRANSACTION READ ONLY

-- # constraints
SET CONSTRAINTS ALL DEFERRED
