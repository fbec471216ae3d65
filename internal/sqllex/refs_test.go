package sqllex_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/internal/sqllex"
)

func TestAnalyze(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct{ sql, want string }{
		{`SELECT 1`, ``},
		{``, ``},
		{`SELECT * FROM pages`, `pages`},
		{`select * from "Pages" where x in (1, 2)`, `Pages`},
		{`SELECT * FROM pages AS p, books b, "c d"`, `pages:p books:b c d`},
		{`SELECT * FROM shared set, pages`, `shared:set pages`},
		{`SELECT * FROM shared values, pages`, `shared:values pages`},
		{`SELECT * FROM a WHERE x = 1 UNION SELECT y, z FROM pages`, `a pages`},
		{`SELECT * FROM app.pages p JOIN b USING (id), c`, `pages:p b c`},
		{`SELECT * FROM (a JOIN b ON true) LEFT JOIN c ON a.x = c.x, d`, `a b c d`},
		{`SELECT extract(year FROM pages), b IS DISTINCT FROM pages FROM c`, `c`},
		{`SELECT substring((SELECT t FROM pages) FROM 2) FROM c`, `pages c`},
		{`SELECT * FROM generate_series(1, 2) g, pages`, `pages`},
		{`SELECT * FROM LATERAL (SELECT * FROM a) x, LATERAL f(1) y, ONLY b`, `a b`},
		{`SELECT 'FROM pages', "from" FROM a -- FROM pages`, `a`},
		{"SELECT * /* FROM pages /* nested */ */ FROM a", `a`},
		{`SELECT $$ FROM pages $$, $t$ ' $t$, E'\' FROM pages', U FROM a`, `a`},
		{`SELECT 1. FROM pages`, `pages`},
		{`SELECT a.from, b FROM pages`, `pages`},
		{`INSERT INTO pages (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2 WHERE pages.b`, `pages!`},
		{`INSERT INTO pages AS p SELECT * FROM b`, `pages:p! b`},
		{`UPDATE pages AS p SET a = 1, b = 2 FROM c, d WHERE x`, `pages:p! c d`},
		{`DELETE FROM pages USING b, c WHERE x RETURNING *`, `pages! b c`},
		{`MERGE INTO pages USING b ON x WHEN MATCHED THEN UPDATE SET a = 1`, `pages! b`},
		{`SELECT * FROM pages FOR UPDATE OF pages`, `pages`},
		{`SELECT * FROM values, set JOIN update ON true, lock, truncate`, `values set update lock truncate`},
		{`SELECT * FROM (VALUES (1)) v, pages`, `pages`},
		{`SELECT * FROM (values v CROSS JOIN pages)`, `values:v pages`},
		{`TABLE values`, `values`},
		{`UPDATE set SET a = 1`, `set!`},
		{`UPDATE values v SET a = 1`, `values:v!`},
		{`DELETE FROM update`, `update!`},
		{`INSERT INTO values (a) VALUES (1)`, `values!`},
		{`INSERT INTO set VALUES (1)`, `set!`},
		{`MERGE INTO lock USING values ON x WHEN MATCHED THEN UPDATE SET a = 1 WHEN NOT MATCHED THEN INSERT VALUES (1)`, `lock! values`},
		{`WITH x AS (SELECT * FROM pages), y (a, b) AS MATERIALIZED (SELECT 1) SELECT * FROM x, y`, `pages x y`},
		{`WITH d AS (DELETE FROM pages RETURNING *) SELECT * FROM d`, `pages! d`},
		{`TABLE pages`, `pages`},
		{`SELECT * FROM pages; `, `pages`},
		{`SELECT (SELECT secret FROM pages LIMIT 1)`, `pages`},
		{`TRUNCATE TABLE pages`, `pages!`},
		{`SELECT * FROM (SELECT 1) update, pages`, `pages`},
		{`SELECT * FROM a AS update, pages`, `a:update pages`},
		{`SELECT * FROM pages nowait CROSS JOIN b`, `pages:nowait b`},
		{`SELECT * FROM pages set, b values`, `pages:set b:values`},
		{`UPDATE pages AS set SET a = 1`, `pages:set!`},
		{"SELECT * FROM pages \u212Ab", "pages:\u212Ab"},
		{`SELECT a AS distinct FROM pages`, `pages`},
		{`SELECT a distinct FROM pages WHERE a IS NOT DISTINCT FROM b`, `pages`},
		{`WITH RECURSIVE r(n) AS (SELECT 1) SEARCH DEPTH FIRST BY n SET key UPDATE pages SET a = 1`, `pages!`},
		{`SELECT 1 FROM a FOR NO KEY UPDATE`, `a`},
		{`DELETE FROM a USING (pages CROSS JOIN b) WHERE true`, `a! pages b`},
		{`INSERT INTO trim (SELECT a FROM pages)`, `trim! pages`},
		{`EXPLAIN (ANALYZE, VERBOSE) DELETE FROM pages`, `pages!`},
		{`SELECT * FROM ROWS FROM (f(1), g(2)) AS x, pages`, `pages`},
		{`SELECT 1 AS from, rows FROM (pages CROSS JOIN a)`, `pages a`},
		{`SELECT U&'\', a FROM pages --'`, `pages`},
		{`((SELECT a FROM pages) UNION TABLE b)`, `pages b`},
		{`WITH RECURSIVE r(n) AS (SELECT 1) CYCLE n, m SET c USING a TABLE pages`, `pages`},
		{`WITH RECURSIVE r(n) AS (SELECT 1) CYCLE n SET c USING a UPDATE pages SET a = 1`, `pages!`},
		{`WITH RECURSIVE r(n) AS (SELECT 1) CYCLE n SET c TO 1 DEFAULT 2 USING a DELETE FROM b USING pages`, `b! pages`},
		{`WITH RECURSIVE r(n) AS (SELECT 1) SEARCH DEPTH FIRST BY cycle, n SET o DELETE FROM b USING pages`, `b! pages`},
		{`DELETE FROM cycle x USING pages`, `cycle:x! pages`},
		{`SELECT x.is distinct FROM pages, LATERAL (SELECT 1 AS "is") x`, `pages`},
		{`SELECT x.is, x.not distinct FROM pages, a x`, `pages a:x`},
		{`SELECT 1 FROM a JOIN b ON COLLATION FOR (a.n) IS NOT NULL, pages`, `a b pages`},
		{`SELECT 1 FROM a JOIN b ON mode() WITHIN GROUP (ORDER BY a.n) IS NOT NULL, pages`, `a b pages`},
		{`SELECT 1 FROM a collation FOR UPDATE OF a, b`, `a:collation`},
		{`SELECT 1 FROM a within GROUP BY a, b`, `a:within`},
		{`SELECT 1 FROM current_date, localtimestamp(3), user, app.user, "user", pages`, `user user pages`},
		{`SELECT 1 FROM a JOIN b ON ARRAY[a.x, pages.y] && b.z, c`, `a b c`},
		{`SELECT ARRAY[(SELECT 1 FROM pages, a), 2] FROM b`, `pages a b`},
		{`SELECT 1 FROM a ORDER BY x USING OPERATOR(pg_catalog.<), b`, `a`},
		{`SELECT x.where, x.union FROM a x, b WHERE x.from = 1`, `a:x b`},
	} {
		s, err := sqllex.Analyze(tc.sql)
		if err != nil {
			t.Errorf("%s: %v", tc.sql, err)
			continue
		}
		if got := describe(s.Refs); got != tc.want {
			t.Errorf("%s\n got %s\nwant %s", tc.sql, got, tc.want)
		}
	}
}

func describe(refs []sqllex.Ref) string {
	var words []string
	for _, r := range refs {
		word := r.Name
		if r.Alias != r.Name {
			word += ":" + r.Alias
		}
		if r.Write {
			word += "!"
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestAnalyze_CTE(t *testing.T) {
	t.Parallel()
	s, err := sqllex.Analyze(`WITH RECURSIVE x AS (SELECT 1), y (a, b) AS NOT MATERIALIZED (SELECT 1) SELECT 1 AS z`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"x": true, "y": true, "z": false, "a": false} {
		if s.IsCTE(sqllex.Ref{Name: name, Index: len(s.Tokens)}) != want {
			t.Errorf("IsCTE(%q) = %v", name, !want)
		}
	}
}

func TestAnalyze_Refuses(t *testing.T) {
	t.Parallel()
	for sql, want := range map[string]error{
		`SELECT '`:                    sqllex.ErrUnterminated,
		`SELECT "a`:                   sqllex.ErrUnterminated,
		`SELECT /* /* */`:             sqllex.ErrUnterminated,
		`SELECT $a$ $b$`:              sqllex.ErrUnterminated,
		`SELECT E'\'`:                 sqllex.ErrUnterminated,
		`SELECT 1=1) OR (1=0`:         sqllex.ErrUnbalanced,
		`SELECT (1`:                   sqllex.ErrUnbalanced,
		`SELECT a[1`:                  sqllex.ErrUnbalanced,
		`SELECT a[1)`:                 sqllex.ErrUnbalanced,
		`SELECT [1=1) OR (1=0]`:       sqllex.ErrUnbalanced,
		`SELECT U&"d\0061ta"`:         sqllex.ErrUnreadable,
		`SELECT 1; DELETE FROM pages`: sqllex.ErrSeveral,
		"SELECT E'a'\n'\\'' , 1 --'":  sqllex.ErrUnreadable,
		"SELECT E'a' --x\n '\\''":     sqllex.ErrUnreadable,
		`SELECT $`:                    sqllex.ErrUnreadable,
	} {
		if _, err := sqllex.Analyze(sql); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", sql, err, want)
		}
	}
}

func TestParseTable(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`pages`: `pages pages`, `"pages"`: `pages pages`, `public.pages`: `pages pages`, `"public"."pages" AS "p"`: `pages p`,
		`pages p`: `pages p`, `a, b`: ``, `(SELECT 1) x`: ``, `a JOIN b ON true`: ``, `f(1)`: ``, ``: ``, `pages p WHERE true`: ``,
	} {
		got := ""
		if ref, ok := sqllex.ParseTable(text); ok {
			got = fmt.Sprint(ref.Name, " ", ref.Alias)
		}
		if got != want {
			t.Errorf("ParseTable(%q) = %q, want %q", text, got, want)
		}
	}
}

func FuzzAnalyze(f *testing.F) {
	f.Add(`SELECT * FROM pages WHERE (a = '''') -- x`)
	f.Add(`WITH x (a) AS (SELECT $1) DELETE FROM y USING x`)
	for _, file := range []string{"harmless.sql", "refused.sql"} {
		corpus, err := os.ReadFile("../../tests/testdata/raw/" + file)
		if err != nil {
			f.Fatal(err)
		}
		for block := range strings.SplitSeq(string(corpus), "\n-- # ") {
			_, text, _ := strings.Cut(block, "\n")
			f.Add(text)
		}
	}
	f.Fuzz(func(t *testing.T, sql string) {
		s, err := sqllex.Analyze(sql)
		if err != nil {
			return
		}
		for _, r := range s.Refs {
			if r.Index >= len(s.Tokens) || r.Name != s.Tokens[r.Index].Text {
				t.Fatalf("reference %+v does not stand in %q", r, sql)
			}
		}
	})
}
