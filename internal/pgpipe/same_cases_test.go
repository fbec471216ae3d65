package pgpipe_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const everyType = `SELECT true AS b, 'x'::bytea AS by, 1::int2 AS i2, 2::int4 AS i4, 3::int8 AS i8, 1.5::float4 AS f4, 2.5::float8 AS f8,
	12.34::numeric(6,2) AS n, 't'::text AS t, 'v'::varchar(9) AS v, 'c'::char(3) AS c, '{1,2}'::int[] AS a, '{"a,b",NULL}'::text[] AS ta,
	'{"k": 1}'::jsonb AS jb, '{"k":1}'::json AS j, '2020-02-29'::date AS d, '2020-02-29 12:00'::timestamp AS ts,
	'2020-02-29 12:00+02'::timestamptz AS tz, '1 day'::interval AS iv, '5a1c7e9e-0000-4000-8000-000000000001'::uuid AS u,
	'10.0.0.1'::inet AS ip, 7::oid AS o, '12:00'::time AS tm, '[1,5)'::int4range AS rg, '101'::varbit(7) AS vb, '<a/>'::xml AS x,
	NULL::text AS nt, NULL::int AS ni, 42::money AS m, 'pg_class'::regclass AS rc, ROW(1, 'x') AS rec, 'infinity'::timestamptz AS inf`

// sameCases is what database/sql can ask of a driver.
var sameCases = []sameCase{
	{"EveryType", func(ctx context.Context, r *record, pool *sql.DB) {
		r.query(ctx, pool, everyType)
		r.query(ctx, pool, everyType+` WHERE $1::int = 1`, 1)
		r.query(ctx, pool, everyType+` WHERE $1::int = 1`, 1)
	}},
	{"EveryArgument", func(ctx context.Context, r *record, pool *sql.DB) {
		for _, arg := range []any{1, int64(2), "s", []byte("b"), true, 1.5, nil, time.Unix(0, 0).UTC(), []int32{1, 2}, []string{"a"}, sql.NullString{}} {
			r.query(ctx, pool, `SELECT $1::text IS NULL, pg_typeof($1)::text`, arg)
		}
		r.query(ctx, pool, `SELECT $1::jsonb, $2::int[], $3::uuid`, map[string]any{"k": 1}, []int{1, 2}, "5a1c7e9e-0000-4000-8000-000000000001")
		r.query(ctx, pool, `SELECT $1::int`, "not a number")
		r.query(ctx, pool, `SELECT length($1::text)`, strings.Repeat("x", 6<<20))
	}},
	{"Empty", func(ctx context.Context, r *record, pool *sql.DB) {
		for _, text := range []string{"", " ", ";", "-- nothing", "/* nothing */"} {
			r.exec(ctx, pool, text)
			r.query(ctx, pool, text)
		}
		r.query(ctx, pool, `SELECT WHERE false`)
		r.query(ctx, pool, `SELECT 1 WHERE false`)
	}},
	{"Exec", func(ctx context.Context, r *record, pool *sql.DB) {
		r.exec(ctx, pool, `INSERT INTO plain VALUES ($1, $2), ($3, $4)`, 1, 1, 2, 2)
		r.exec(ctx, pool, `UPDATE plain SET n = n + $1`, 10)
		r.exec(ctx, pool, `UPDATE plain SET n = n + 10`)
		r.exec(ctx, pool, `INSERT INTO plain VALUES (3, 3); DELETE FROM plain WHERE id = 1`)
		r.exec(ctx, pool, `INSERT INTO plain VALUES (4, 4); SELECT 1/0`)
		r.exec(ctx, pool, `SELECT * FROM plain`)
		r.query(ctx, pool, `INSERT INTO plain VALUES ($1, $2) RETURNING *`, 5, 5)
		r.query(ctx, pool, `UPDATE plain SET n = 0 WHERE id = $1`, 99)
		r.query(ctx, pool, `SELECT * FROM plain ORDER BY id`)
	}},
	{"Errors", func(ctx context.Context, r *record, pool *sql.DB) {
		for range 2 {
			r.exec(ctx, pool, `SELEC 1`)
			r.exec(ctx, pool, `SELECT $1 FROM nowhere`, 1)
			r.exec(ctx, pool, `SELECT 'a' 'b`)
			r.query(ctx, pool, `SELECT nothing FROM plain WHERE id = $1`, 1)
			r.query(ctx, pool, `SELECT 1 +`)
			r.query(ctx, pool, `SELECT $1::int`)
			r.query(ctx, pool, `SELECT $1::int`, 1, 2)
			r.exec(ctx, pool, `SELECT $1::int`, 1, 2)
			r.query(ctx, pool, `SELECT $1::int / $2::int`, 1, 0)
			r.query(ctx, pool, `SELECT 10 / (5 - n) FROM generate_series(1, 9) AS n`)
			r.query(ctx, pool, `SELECT $1::int`, make(chan int))
			r.exec(ctx, pool, `DO $$ BEGIN RAISE EXCEPTION 'told' USING HINT = 'what to do'; END $$`)
		}
		r.exec(ctx, pool, `INSERT INTO plain VALUES ($1, $1), ($1, $1)`, 1)
		r.query(ctx, pool, `SELECT count(*) FROM plain`)
	}},
	{"Prepared", func(ctx context.Context, r *record, pool *sql.DB) {
		a, err := pool.PrepareContext(ctx, `SELECT $1::int + 1 AS n`)
		r.fail("prepare", err)
		b, err := pool.PrepareContext(ctx, `SELECT $1::int + 1 AS n`)
		r.fail("prepare again", err)
		for _, stmt := range []*sql.Stmt{a, b, a} {
			rows, err := stmt.QueryContext(ctx, 4)
			r.fail("query", err)
			r.rows(rows)
		}
		r.fail("close", a.Close())
		_, err = b.ExecContext(ctx, 5)
		r.fail("exec", err)
		_, err = b.ExecContext(ctx)
		r.fail("without arguments", err)
		_, err = b.QueryContext(ctx, "x")
		r.fail("wrong argument", err)
		_, err = pool.PrepareContext(ctx, `SELEC`)
		r.fail("prepare nonsense", err)
		tx, err := pool.BeginTx(ctx, nil)
		r.fail("begin", err)
		rows, err := tx.StmtContext(ctx, b).QueryContext(ctx, 8)
		r.fail("in the transaction", err)
		r.rows(rows)
		c, err := tx.PrepareContext(ctx, `INSERT INTO plain VALUES ($1, $1)`)
		r.fail("prepare in the transaction", err)
		_, err = c.ExecContext(ctx, 1)
		r.fail("exec in the transaction", err)
		r.fail("rollback", tx.Rollback())
		r.query(ctx, pool, `SELECT count(*) FROM plain`)
		r.fail("close", b.Close())
	}},
	{"Transaction", func(ctx context.Context, r *record, pool *sql.DB) {
		for i, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
			tx, err := pool.BeginTx(ctx, nil)
			r.fail("begin", err)
			r.exec(ctx, tx, `INSERT INTO plain VALUES ($1, $1)`, 10+i)
			r.query(ctx, tx, `SELECT count(*) FROM plain`)
			r.fail("end", end(tx))
			r.fail("end again", end(tx))
			r.query(ctx, pool, `SELECT count(*) FROM plain`)
		}
		empty, err := pool.BeginTx(ctx, nil)
		r.fail("begin", err)
		r.fail("commit", empty.Commit())
	}},
	{"TransactionOptions", func(ctx context.Context, r *record, pool *sql.DB) {
		for _, options := range []sql.TxOptions{
			{}, {ReadOnly: true}, {Isolation: sql.LevelReadUncommitted}, {Isolation: sql.LevelReadCommitted}, {Isolation: sql.LevelRepeatableRead},
			{Isolation: sql.LevelSnapshot}, {Isolation: sql.LevelSerializable, ReadOnly: true}, {Isolation: sql.LevelLinearizable},
		} {
			for _, query := range []string{`SELECT 1`, ``} {
				tx, err := pool.BeginTx(ctx, &options)
				r.fail("begin", err)
				if err != nil {
					continue
				}
				if query != "" {
					r.query(ctx, tx, query)
				} else {
					r.exec(ctx, tx, `SELECT 1`)
				}
				r.query(ctx, tx, `SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')`)
				r.exec(ctx, tx, `INSERT INTO plain VALUES (77, 77)`)
				r.fail("rollback", tx.Rollback())
			}
		}
	}},
	{"SetTransactionFirst", func(ctx context.Context, r *record, pool *sql.DB) {
		tx, err := pool.BeginTx(ctx, nil)
		r.fail("begin", err)
		r.exec(ctx, tx, `SET TRANSACTION ISOLATION LEVEL SERIALIZABLE`)
		r.query(ctx, tx, `SHOW transaction_isolation`)
		r.fail("commit", tx.Commit())
	}},
	{"FailedTransaction", func(ctx context.Context, r *record, pool *sql.DB) {
		for _, first := range []string{`SELECT 1`, `SELEC`, `SELECT 1/0`, `SELECT $1::int`} {
			for _, prepare := range []bool{false, true} {
				tx, err := pool.BeginTx(ctx, nil)
				r.fail("begin", err)
				if prepare {
					_, err = tx.PrepareContext(ctx, first)
					r.fail(first, err)
				} else {
					r.exec(ctx, tx, first)
					r.query(ctx, tx, first)
				}
				r.query(ctx, tx, `SELECT 'still alive'`)
				r.exec(ctx, tx, `INSERT INTO plain VALUES ($1, $1)`, 20)
				r.fail("commit", tx.Commit())
				r.query(ctx, pool, `SELECT count(*) FROM plain`)
				r.exec(ctx, pool, `DELETE FROM plain`)
			}
		}
	}},
	{"Savepoints", func(ctx context.Context, r *record, pool *sql.DB) {
		tx, err := pool.BeginTx(ctx, nil)
		r.fail("begin", err)
		r.exec(ctx, tx, `SAVEPOINT a`)
		r.exec(ctx, tx, `INSERT INTO plain VALUES ($1, $1)`, 1)
		r.exec(ctx, tx, `INSERT INTO plain VALUES ($1, $1)`, 1)
		r.exec(ctx, tx, `ROLLBACK TO SAVEPOINT a`)
		r.exec(ctx, tx, `INSERT INTO plain VALUES ($1, $1)`, 2)
		r.exec(ctx, tx, `RELEASE SAVEPOINT a`)
		r.exec(ctx, tx, `RELEASE SAVEPOINT a`)
		r.fail("commit", tx.Commit())
		r.query(ctx, pool, `SELECT count(*) FROM plain`)
	}},
	{"LargeResults", func(ctx context.Context, r *record, pool *sql.DB) {
		r.query(ctx, pool, `SELECT n, repeat('x', n % 300) FROM generate_series(1, $1::int) AS n`, 20_000)
		rows, err := pool.QueryContext(ctx, `SELECT n, repeat('x', 100) FROM generate_series(1, $1::int) AS n`, 20_000)
		r.fail("query", err)
		r.add("next %t", rows.Next())
		r.fail("close early", rows.Close())
		r.query(ctx, pool, `SELECT repeat('x', $1)`, 3<<20)
	}},
	{"Cancellation", func(ctx context.Context, r *record, pool *sql.DB) {
		short, cancel := context.WithTimeout(ctx, 60*time.Millisecond)
		defer cancel()
		r.query(short, pool, `SELECT pg_sleep($1)`, 30)
		r.exec(short, pool, `SELECT pg_sleep(30)`)
		_, err := pool.BeginTx(short, nil)
		r.fail("begin", err)
		r.query(ctx, pool, `SELECT 1`)
		again, cancel := context.WithTimeout(ctx, time.Second) // the INSERT has to come through, on a loaded machine as well
		defer cancel()
		tx, err := pool.BeginTx(again, nil)
		r.fail("begin", err)
		r.exec(again, tx, `INSERT INTO plain VALUES (31, 31)`)
		r.exec(again, tx, `SELECT pg_sleep($1)`, 30)
		r.add("commit fails %t", tx.Commit() != nil)
		r.query(ctx, pool, `SELECT count(*) FROM plain`)
	}},
	{"Modes", func(ctx context.Context, r *record, pool *sql.DB) {
		for _, mode := range []pgx.QueryExecMode{pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol} {
			for range 2 {
				r.query(ctx, pool, `SELECT $1::int AS n, $2::text AS t`, mode, 1, "it's")
				r.exec(ctx, pool, `SELECT $1::int`, mode, 1)
				r.query(ctx, pool, `SELECT * FROM plain LIMIT 1`, mode)
			}
			tx, err := pool.BeginTx(ctx, nil)
			r.fail("begin", err)
			r.query(ctx, tx, `SELECT $1::int AS n, $2::text AS t`, mode, 1, "it's")
			r.query(ctx, tx, `SELECT 1 FROM`, mode)
			r.fail("commit", tx.Commit())
		}
	}},
	{"Rewriter", func(ctx context.Context, r *record, pool *sql.DB) {
		r.query(ctx, pool, `SELECT @a::int AS a`, pgx.NamedArgs{"a": 3})
		r.exec(ctx, pool, `SELECT @a::int AS a`, pgx.NamedArgs{"a": 3})
	}},
	{"ChangedType", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		defer conn.Close()
		r.exec(ctx, conn, `CREATE TEMP TABLE shape (a int)`)
		r.query(ctx, conn, `SELECT * FROM shape`)
		r.exec(ctx, conn, `ALTER TABLE shape ALTER a TYPE text`)
		for range 3 {
			r.query(ctx, conn, `SELECT * FROM shape`)
		}
	}},
	{"ManyStatements", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		defer conn.Close()
		for i := range 40 {
			r.query(ctx, conn, fmt.Sprintf(`SELECT $1::int AS n%d`, i), i)
		}
		var n int
		r.fail("scan", conn.QueryRowContext(ctx, `SELECT count(*) FROM pg_prepared_statements WHERE name NOT LIKE 'courtroll%'`).Scan(&n))
		r.add("bounded %t", n <= 7)
	}},
	{"Raw", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		defer conn.Close()
		r.fail("raw", conn.Raw(func(c any) error {
			var n int
			err := c.(interface{ Conn() *pgx.Conn }).Conn().QueryRow(ctx, `SELECT $1::int`, 9).Scan(&n)
			r.add("raw %d", n)
			return err
		}))
		r.fail("bad", conn.Raw(func(any) error { return driver.ErrBadConn }))
		r.query(ctx, pool, `SELECT 1`)
	}},
	{"KilledBackend", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		_, err = conn.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid())`)
		r.add("killed %t", err != nil)
		_, err = conn.ExecContext(ctx, `SELECT 1`)
		r.fail("after", err)
		r.fail("close", conn.Close())
		r.query(ctx, pool, `SELECT 1`)
		tx, err := pool.BeginTx(ctx, nil)
		r.fail("begin", err)
		_, err = tx.ExecContext(ctx, `SELECT pg_terminate_backend(pg_backend_pid()), $1::int`, 1)
		r.add("killed %t", err != nil)
		r.add("commit fails %t", tx.Commit() != nil)
		r.query(ctx, pool, `SELECT 2`)
	}},
	{"Ping", func(ctx context.Context, r *record, pool *sql.DB) {
		r.fail("ping", pool.PingContext(ctx))
		done, cancel := context.WithCancel(ctx)
		cancel()
		r.fail("canceled", pool.PingContext(done))
	}},
	{"Notify", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		defer conn.Close()
		r.exec(ctx, conn, `LISTEN bell`)
		r.exec(ctx, conn, `SELECT pg_notify('bell', $1)`, "rang")
		r.exec(ctx, conn, `DO $$ BEGIN RAISE NOTICE 'heard'; END $$`)
		r.query(ctx, conn, `SELECT 1`)
		r.fail("raw", conn.Raw(func(c any) error {
			n, err := c.(interface{ Conn() *pgx.Conn }).Conn().WaitForNotification(ctx)
			r.add("heard %s %s", n.Channel, n.Payload)
			return err
		}))
	}},
	{"Discard", func(ctx context.Context, r *record, pool *sql.DB) {
		conn, err := pool.Conn(ctx)
		r.fail("conn", err)
		defer conn.Close()
		r.query(ctx, conn, `SELECT $1::int`, 1)
		r.exec(ctx, conn, `DEALLOCATE ALL`)
		_, _ = conn.ExecContext(ctx, `SELECT $1::int + 1`, 1) // its own, or the one that binds, is gone
		r.query(ctx, conn, `SELECT $1::int + 2`, 1)
	}},
}
