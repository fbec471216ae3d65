-- SQL that reaches a tenant-owned table in some way, or cannot be read: the
-- tenancy plugin must refuse it and send nothing. corpus_test.go says how a block is read.

-- # select
SELECT * FROM pages

-- # upper case
SELECT * FROM PAGES

-- # quoted
SELECT "title" FROM "pages"

-- # qualified
SELECT p.title FROM public.pages p

-- # qualified and quoted
SELECT * FROM "public"."pages" AS "countries"

-- # qualified with comments and spaces
SELECT * FROM public/**/. -- x
  pages

-- # own filter written by hand
SELECT * FROM pages WHERE tenant_id = 'hal'

-- # own filter with a parameter
-- ! args: ["hal"]
SELECT * FROM pages WHERE "pages"."tenant_id" = ?

-- # own filter beside an OR
-- ! args: {"t": "hal"}
SELECT * FROM pages WHERE pages.tenant_id = @t OR 1=1

-- # count
SELECT count(*) FROM pages

-- # the tenants
SELECT slug FROM tenants

-- # the trail
SELECT metadata FROM audit_logs WHERE tenant_id = 'hal'

-- # list of tables
SELECT pages.title FROM countries, pages

-- # list of tables after a function
SELECT p.title FROM generate_series(1, 2) AS g (n), pages p

-- # list of tables after an alias that looks like a key word
SELECT p.title FROM countries AS set, pages p

-- # list of tables after a sample
SELECT p.title FROM countries TABLESAMPLE SYSTEM (100) REPEATABLE (1), pages p

-- # list of tables after ROWS FROM
SELECT p.title FROM ROWS FROM (generate_series(1, 2), generate_series(1, 3)) AS r (a, b), pages p

-- # column named rows before FROM
SELECT 1 AS from, rows FROM (pages CROSS JOIN (SELECT 1 AS rows) x)

-- # inner join
SELECT c.name, p.title FROM countries c JOIN pages p ON p.title = c.name

-- # left join
-- ! broken: countries has no id
SELECT c.name, p.title FROM countries c LEFT OUTER JOIN pages p USING (id)

-- # right, full, natural and cross join
SELECT p.title FROM countries c RIGHT JOIN authors a ON true FULL JOIN revisions r ON r.page_id = a.id NATURAL JOIN "Rates" d CROSS JOIN pages p

-- # join in parentheses
SELECT p.title FROM (countries c CROSS JOIN (pages p LEFT JOIN authors a ON a.id = p.author_id))

-- # lateral
SELECT x.title FROM countries c, LATERAL (SELECT title FROM pages p WHERE p.title > c.name) x

-- # lateral join
SELECT x.title FROM countries c LEFT JOIN LATERAL (SELECT title FROM pages LIMIT 1) AS x ON true

-- # only
SELECT title FROM ONLY pages

-- # only in parentheses
SELECT title FROM ONLY (pages)

-- # descendants
SELECT title FROM pages * p

-- # sample
SELECT title FROM pages TABLESAMPLE BERNOULLI (100)

-- # column aliases
SELECT t FROM pages AS p (i, t)

-- # derived table
SELECT * FROM (SELECT * FROM pages) AS jobs

-- # sub-select in the list of columns
SELECT code, (SELECT max(title) FROM pages) FROM countries

-- # sub-select in an array
SELECT ARRAY(SELECT title FROM pages)

-- # sub-select in a function
SELECT coalesce((SELECT title FROM pages LIMIT 1), '')

-- # sub-select in a function with key words
SELECT substring((SELECT title FROM pages LIMIT 1) FROM 1 FOR 2), trim(BOTH 'x' FROM (SELECT name FROM authors LIMIT 1))

-- # sub-select in extract
SELECT extract(epoch FROM (SELECT updated_at FROM pages LIMIT 1))

-- # sub-select in a condition
SELECT code FROM countries WHERE name IN (SELECT title FROM pages)

-- # sub-select in EXISTS
SELECT code FROM countries WHERE EXISTS (SELECT FROM pages WHERE title LIKE 'a%')

-- # sub-select with ANY
SELECT code FROM countries WHERE name = ANY (SELECT title FROM pages)

-- # sub-select in the order
SELECT code FROM countries ORDER BY (SELECT count(*) FROM pages)

-- # sub-select in the grouping
SELECT (SELECT max(title) FROM pages), count(*) FROM countries GROUP BY (SELECT max(title) FROM pages)

-- # sub-select in HAVING
SELECT count(*) FROM countries GROUP BY code HAVING count(*) < (SELECT count(*) FROM pages)

-- # sub-select in LIMIT
SELECT code FROM countries LIMIT (SELECT count(*) FROM pages)

-- # sub-select in a window
SELECT count(*) OVER (PARTITION BY (SELECT title FROM pages LIMIT 1)) FROM countries

-- # sub-select in a filter
SELECT count(*) FILTER (WHERE name IN (SELECT title FROM pages)) FROM countries

-- # sub-select in VALUES
VALUES ((SELECT title FROM pages LIMIT 1))

-- # sub-select in CASE
SELECT CASE WHEN EXISTS (SELECT FROM pages) THEN 1 END

-- # sub-select behind IS DISTINCT FROM
SELECT 1 IS DISTINCT FROM (SELECT count(*) FROM pages)

-- # a column named distinct
SELECT title AS distinct FROM pages

-- # union
SELECT name FROM countries UNION SELECT title FROM pages

-- # union all in parentheses
(SELECT name FROM countries) UNION ALL (SELECT title FROM pages)

-- # except
SELECT title FROM pages EXCEPT ALL SELECT name FROM countries

-- # intersect
SELECT name FROM countries INTERSECT SELECT title FROM pages ORDER BY 1

-- # parentheses around all
((SELECT title FROM pages))

-- # table command
TABLE pages

-- # table command in a union
TABLE countries UNION ALL TABLE countries UNION ALL SELECT title, name FROM pages, authors

-- # table command in a sub-select
SELECT count(*) FROM (TABLE pages) AS x

-- # common table expression
WITH p AS (SELECT * FROM pages) SELECT title FROM p

-- # common table expression with columns
WITH p (i, t) AS NOT MATERIALIZED (SELECT id, title FROM pages) SELECT t FROM p

-- # common table expression of the table's own name
WITH pages AS (SELECT * FROM pages) SELECT title FROM pages

-- # common table expression beside the qualified table
WITH pages AS (SELECT 1) SELECT title FROM public.pages

-- # common table expression out of its reach
SELECT title FROM (WITH pages AS (SELECT 1) SELECT 1 FROM pages) x, pages

-- # recursive
WITH RECURSIVE r AS (SELECT id, title FROM pages UNION ALL SELECT p.id, p.title FROM pages p JOIN r ON r.id = p.id + 1) SELECT title FROM r

-- # recursive with search, then a write
WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2) SEARCH DEPTH FIRST BY n SET key UPDATE pages SET title = 'x'

-- # recursive with cycle, then a read
WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2) CYCLE n SET c USING p SELECT title FROM pages

-- # recursive with cycle, then a table
WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2) CYCLE n SET c USING countries TABLE pages

-- # recursive with cycle, then an update
WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2) CYCLE n SET c USING countries UPDATE pages SET title = 'x'

-- # recursive with cycle marks, then an update
WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < 2) CYCLE n SET c TO 'Y' DEFAULT 'N' USING countries UPDATE pages SET title = 'x'

-- # recursive with search by a column named cycle, then a delete
WITH RECURSIVE r (cycle, n) AS (SELECT 1, 1 UNION ALL SELECT n + 1, 1 FROM r WHERE n < 1) SEARCH DEPTH FIRST BY cycle, n SET ord DELETE FROM countries USING pages

-- # insert under WITH
WITH i AS (INSERT INTO authors (id, tenant_id, email) VALUES (99, 'acme', 'x') RETURNING id) SELECT id FROM i

-- # update under WITH
WITH u AS (UPDATE pages SET title = 'x' RETURNING *) SELECT title FROM u

-- # delete under WITH
WITH d AS (DELETE FROM revisions RETURNING *) SELECT count(*) FROM d

-- # delete under WITH that is not read
WITH d AS (DELETE FROM revisions) SELECT 1

-- # insert
INSERT INTO authors (id, tenant_id, email) VALUES (99, 'hal', 'x')

-- # insert without columns
-- ! broken: revisions refers to pages
INSERT INTO revisions VALUES ('acme', 1, 1, 'x')

-- # insert from a select into a shared table
INSERT INTO countries SELECT id::text, title FROM pages

-- # insert from a table into a shared table
INSERT INTO countries TABLE countries EXCEPT TABLE countries UNION SELECT 'x', email FROM authors

-- # insert with a sub-select
INSERT INTO countries (code, name) VALUES ('x', (SELECT max(title) FROM pages))

-- # insert that returns a sub-select
INSERT INTO countries (code) VALUES ('x') RETURNING (SELECT max(title) FROM pages)

-- # upsert
INSERT INTO authors AS a (id, tenant_id, email) VALUES (1, 'hal', 'x') ON CONFLICT (id) DO UPDATE SET name = 'stolen'

-- # upsert into a shared table with a sub-select
INSERT INTO countries (code) VALUES ('no') ON CONFLICT (code) DO UPDATE SET name = (SELECT max(title) FROM pages)

-- # update
UPDATE pages SET title = 'x' WHERE id = 1

-- # update with alias
UPDATE ONLY public.pages AS p SET title = 'x'

-- # update of a shared table from a tenant's
UPDATE countries SET name = p.title FROM pages p

-- # update of a shared table with a join
UPDATE countries c SET name = p.title FROM jobs j LEFT JOIN pages p ON p.id = j.id WHERE true

-- # update of a shared table with a sub-select
UPDATE countries SET (name, code) = (SELECT max(title), 'x' FROM pages) WHERE code = 'no'

-- # update that returns a sub-select
UPDATE countries SET name = name RETURNING (SELECT max(title) FROM pages)

-- # delete
DELETE FROM pages

-- # delete only
DELETE FROM ONLY pages AS p WHERE p.id = 1

-- # delete of a shared table using a tenant's
DELETE FROM countries USING pages WHERE pages.title = countries.name RETURNING pages.title

-- # delete of a shared table using a join
DELETE FROM countries USING (jobs j CROSS JOIN pages p) WHERE true RETURNING p.title

-- # delete of a shared table with a sub-select
DELETE FROM countries WHERE name IN (SELECT title FROM pages)

-- # merge into a tenant's table
MERGE INTO pages p USING countries c ON c.name = p.title WHEN MATCHED THEN DELETE

-- # merge from a tenant's table
MERGE INTO countries c USING pages p ON c.name = p.title WHEN MATCHED THEN UPDATE SET name = p.title WHEN NOT MATCHED THEN INSERT (code, name) VALUES (p.id::text, p.title)

-- # lock of a row by a writer
SELECT id FROM countries, pages FOR UPDATE OF pages

-- # lock of a table
LOCK TABLE countries, pages IN ACCESS EXCLUSIVE MODE

-- # truncate
-- ! error: ErrMigrateHandle
TRUNCATE pages CASCADE

-- # create table as
-- ! error: ErrMigrateHandle
CREATE TEMP TABLE stolen AS SELECT * FROM pages

-- # create a view
-- ! error: ErrMigrateHandle
CREATE TEMP VIEW stolen AS TABLE pages

-- # create a function
-- ! error: ErrMigrateHandle
CREATE FUNCTION stolen() RETURNS SETOF pages LANGUAGE sql AS 'SELECT * FROM pages'

-- # select into a new table
-- ! error: ErrUnclassified
SELECT * INTO TEMP stolen FROM pages

-- # select into with a key word
-- ! error: ErrUnclassified
SELECT title INTO TABLE stolen FROM pages

-- # copy out
-- ! as: super
COPY pages TO '/dev/null'

-- # copy of a query
-- ! as: super
COPY (SELECT title FROM pages) TO '/dev/null'

-- # copy in
-- ! as: super
COPY countries FROM '/dev/null'

-- # anonymous block
DO $$ BEGIN UPDATE pages SET title = 'x'; END $$

-- # anonymous block with a language
DO LANGUAGE plpgsql $body$ BEGIN PERFORM 1; END $body$

-- # call
CALL hide_pages()

-- # prepare
-- ! after: DEALLOCATE stolen
PREPARE stolen AS SELECT * FROM pages

-- # execute
-- ! after: DEALLOCATE stolen
-- ! before: PREPARE stolen (text) AS SELECT title FROM pages WHERE title > $1
EXECUTE stolen ('')

-- # explain execute
-- ! after: DEALLOCATE stolen
-- ! before: PREPARE stolen AS UPDATE pages SET title = 'x'
EXPLAIN ANALYZE EXECUTE stolen

-- # deallocate
-- ! before: PREPARE stolen AS SELECT 1
DEALLOCATE stolen

-- # declare a cursor
DECLARE c CURSOR FOR SELECT * FROM pages

-- # fetch from a cursor
-- ! before: DECLARE c CURSOR FOR SELECT * FROM pages
FETCH ALL FROM c

-- # move and close
-- ! before: DECLARE c CURSOR FOR SELECT * FROM pages
MOVE NEXT IN c

-- # explain
EXPLAIN SELECT * FROM pages WHERE title = 'x'

-- # explain analyze of a delete
EXPLAIN (ANALYZE, COSTS off) DELETE FROM revisions

-- # explain of a declared cursor
EXPLAIN DECLARE c CURSOR FOR SELECT * FROM pages

-- # set
SET search_path = public

-- # set local
SET LOCAL standard_conforming_strings = off

-- # set by a two-word name
SET TIME ZONE 'UTC'

-- # set role
-- ! as: super
SET ROLE pg_monitor

-- # set session authorization
-- ! as: super
SET SESSION AUTHORIZATION DEFAULT

-- # reset
RESET ALL

-- # discard
DISCARD PLANS

-- # set_config
SELECT set_config('search_path', 'public', true)

-- # set_config qualified and quoted
SELECT pg_catalog."set_config" ('courtroll.tenant_id', 'acme', true)

-- # set_config in a condition of a shared table
SELECT code FROM countries WHERE SET_CONFIG/* */('a.b', code, false) IS NOT NULL

-- # settings by the view
-- ! broken: no RETURNING without a rule that has it
UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings' RETURNING 1

-- # settings by the view without returning
UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'

-- # query_to_xml
SELECT query_to_xml('SELECT * FROM pages', true, true, '')

-- # query_to_xml with the schema
SELECT query_to_xml_and_xmlschema($q$ TABLE pages $q$, true, true, '')

-- # table_to_xml
SELECT pg_catalog.table_to_xml('pages', true, false, '')::text

-- # schema_to_xml and database_to_xml
SELECT schema_to_xml('public', true, false, ''), database_to_xml(true, false, '')

-- # cursor_to_xml
-- ! before: DECLARE c CURSOR FOR SELECT * FROM pages
SELECT cursor_to_xml('c', 10, true, true, '')

-- # ts_stat
SELECT * FROM ts_stat('SELECT to_tsvector(title) FROM pages')

-- # ts_rewrite
SELECT ts_rewrite('a & b'::tsquery, 'SELECT to_tsquery(title), to_tsquery(name) FROM pages, authors')

-- # dblink
-- ! broken: the extension is not there
SELECT * FROM dblink('dbname=postgres', 'SELECT title FROM pages') AS t (title text)

-- # dblink_exec
-- ! broken: the extension is not there
SELECT dblink_exec('dbname=postgres', 'DELETE FROM pages')

-- # planner's samples
-- ! error: ErrUnclassified
SELECT most_common_vals::text FROM pg_stats WHERE tablename = 'pages'

-- # planner's samples, qualified
-- ! error: ErrUnclassified
-- ! as: super
SELECT stavalues1::text FROM pg_catalog.pg_statistic

-- # texts of other sessions
-- ! error: ErrUnclassified
SELECT query FROM pg_stat_activity

-- # prepared statements and cursors
-- ! error: ErrUnclassified
SELECT p.statement, c.statement FROM pg_prepared_statements p, pg_cursors c

-- # large objects
-- ! error: ErrUnclassified
-- ! as: super
SELECT data FROM pg_largeobject

-- # Unicode escapes in a name
SELECT * FROM U&"p\0061ges"

-- # Unicode escapes with their own escape sign
SELECT * FROM u&"p!0061ges" UESCAPE '!'

-- # escape string that hides a quote
SELECT E'\'', title FROM pages --'

-- # escape string continued on the next line
SELECT E'a'
'\' , title FROM pages --'

-- # string with a backslash at its end
SELECT '\', title FROM pages --'

-- # dollar quotes with tags
SELECT $a$ $b$ $a$, title FROM pages -- $b$

-- # dollar sign inside a name
SELECT a$a$.title FROM pages a$a$

-- # nested comment
SELECT /* /* */ ' -- */ title FROM pages

-- # line comment that ends at a carriage return
SELECT title -- x
FROM pages

-- # quoted name with quotes
SELECT """FROM".title FROM pages """FROM"

-- # Kelvin sign, which is no K
SELECT kb.title FROM (SELECT 'hal' AS tenant_id) AS Kb, pages kb

-- # two statements
-- ! by: Exec
SELECT 1; SELECT title FROM pages

-- # two statements after a string
-- ! by: Exec
SELECT ';'; DELETE FROM pages

-- # unbalanced parentheses
-- ! broken: so it is
SELECT code FROM countries WHERE (1 = 1) OR (1 = 1

-- # closed too often
-- ! broken: so it is
SELECT code FROM countries WHERE 1 = 1) OR (1 = 1

-- # unterminated string
-- ! broken: so it is
SELECT 'FROM countries

-- # unterminated comment
-- ! broken: so it is
SELECT 1 /* FROM countries

-- # unterminated dollar quotes
-- ! broken: so it is
SELECT $x$ FROM countries $y$

-- # key words that are no statement
-- ! broken: so it is
GIVE ME pages

-- # fragment: condition with a sub-select
-- ! in: Where
queue IN (SELECT title FROM pages)

-- # fragment: condition that closes too early
-- ! in: Where
id = 1 OR EXISTS (SELECT FROM pages) UNION SELECT * FROM jobs

-- # fragment: condition that hides the rest
-- ! in: Where
EXISTS (SELECT FROM "pages" -- )
)

-- # fragment: unbalanced condition
-- ! in: Where
-- ! broken: so it is
1 = 1) OR (1 = 1

-- # fragment: unterminated comment in a condition
-- ! in: Where
-- ! broken: so it is
id = 1 /* and no more

-- # fragment: alternative
-- ! in: Or
queue = (SELECT max(title) FROM pages)

-- # fragment: negation
-- ! in: Not
EXISTS (SELECT FROM public.pages)

-- # fragment: columns
-- ! in: Select
id, (SELECT max(title) FROM pages) AS title

-- # fragment: columns with their own FROM
-- ! in: Select
title FROM pages --

-- # fragment: raw join
-- ! in: Joins
JOIN pages ON pages.id = jobs.id

-- # fragment: raw join with the tenant
-- ! in: Joins
-- ! args: ["hal"]
LEFT JOIN pages p ON p.id = jobs.id AND p.tenant_id = ?

-- # fragment: comma join
-- ! in: Joins
, pages

-- # fragment: union in a join
-- ! in: Joins
UNION ALL SELECT count(*)::int FROM pages

-- # fragment: grouping
-- ! in: Group
(SELECT max(title) FROM pages)

-- # fragment: union in the grouping
-- ! in: Group
id UNION SELECT count(*) FROM pages

-- # fragment: condition on groups
-- ! in: Having
count(*) < (SELECT count(*) FROM pages)

-- # fragment: order
-- ! in: Order
(SELECT max(title) FROM pages), id

-- # fragment: distinct
-- ! in: Distinct
(SELECT max(title) FROM pages)

-- # fragment: table and another
-- ! in: Table
jobs, pages

-- # fragment: derived table
-- ! in: Table
(SELECT * FROM pages) AS jobs

-- # fragment: table with a join
-- ! in: Table
jobs AS j LEFT JOIN LATERAL (SELECT title FROM pages) p ON true

-- # distinct after a column named is
SELECT x.is distinct FROM pages, LATERAL (SELECT 1 AS "is") x

-- # a list goes on after COLLATION FOR
SELECT pages.title FROM countries a JOIN countries b ON COLLATION FOR (a.name) IS NOT NULL, pages

-- # a list goes on after WITHIN GROUP
SELECT (SELECT string_agg(pages.title, ',') FROM (SELECT 1) a JOIN (SELECT 1) b ON mode() WITHIN GROUP (ORDER BY c.name) IS NOT NULL, pages) FROM countries c

-- # an alias that is a function with FROM in it
INSERT INTO countries AS trim ((SELECT 'zz', 'zz') UNION SELECT title, title FROM pages)

-- # the columns of an alias that is a function with FROM in it
INSERT INTO countries AS extract (SELECT title, title FROM pages)

-- # the query's own WITH is over at RETURNING
INSERT INTO countries (code, name) WITH pages AS (SELECT 'q' AS a, 'r' AS b) SELECT a, b FROM pages RETURNING (SELECT string_agg(title, ',') FROM pages)

-- # a function of a text as its attribute
SELECT (('SELECT to_tsvector(title) FROM pages')::text).ts_stat

-- # a function of a column as its attribute
SELECT (x.q).ts_stat FROM (SELECT 'SELECT to_tsvector(title) FROM pages'::text AS q) x

-- # an update of a table named like a WITH
WITH authors AS (SELECT 1) UPDATE authors SET name = 'x'

-- # a delete of a table named like a WITH
WITH revisions AS (SELECT 1) DELETE FROM revisions
