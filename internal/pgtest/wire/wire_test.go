package wire_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
)

func TestWireRoundTrips(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mode pgx.QueryExecMode
		run  func(*testing.T, *pgx.Conn)
		want int
	}{
		"Nothing": {pgx.QueryExecModeExec, func(*testing.T, *pgx.Conn) {}, 0},
		"Simple": {pgx.QueryExecModeSimpleProtocol, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `SELECT $1::text`, "x")
		}, 1},
		"Extended": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `SELECT $1::text`, "x")
		}, 1},
		"PreparedOnceExecutedThrice": {pgx.QueryExecModeCacheStatement, func(t *testing.T, conn *pgx.Conn) {
			for range 3 {
				exec(t, conn, `SELECT $1::text`, "x")
			}
		}, 4},
		"Batch": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			execAll(t, conn, batch(2))
		}, 1},
		"Transaction": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			noError(t, pgx.BeginFunc(t.Context(), conn, func(pgx.Tx) error {
				_, err := conn.Exec(t.Context(), `SELECT $1::text`, "x")
				return err
			}))
		}, 3},
		"FailedStatement": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			if _, err := conn.Exec(t.Context(), `SELECT 1/$1::int`, 0); err == nil {
				t.Error("no error")
			}
		}, 1},
		"SeveralResults": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			_, err := conn.PgConn().Exec(t.Context(), `SELECT 1; SELECT 2; SELECT 3`).ReadAll()
			noError(t, err)
		}, 1},
		"ManyRows": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `SELECT repeat('x', 1000) FROM generate_series(1, 10000)`)
		}, 1},
		"LongText": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `SELECT length($1)`, strings.Repeat("x", 3<<20))
		}, 1},
		"Notices": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `DO $$ BEGIN RAISE NOTICE 'one'; RAISE NOTICE 'two'; END $$`)
		}, 1},
		"CopyIn": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			exec(t, conn, `CREATE TEMP TABLE copied (v text)`) // 1
			data := strings.NewReader(strings.Repeat("some text\n", 100_000))
			_, err := conn.PgConn().CopyFrom(t.Context(), data, `COPY copied FROM STDIN`) // 1
			noError(t, err)
		}, 2},
		"CopyOut": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			var b strings.Builder
			_, err := conn.PgConn().CopyTo(t.Context(), &b, `COPY (SELECT generate_series(1, 10000)) TO STDOUT`)
			noError(t, err)
		}, 1},
		"PipelineOfSyncs": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			p := conn.PgConn().StartPipeline(t.Context())
			for range 3 {
				p.SendQueryParams(`SELECT $1::text`, [][]byte{[]byte("x")}, nil, nil, nil)
				p.SendPipelineSync()
			}
			noError(t, p.Flush())
			noError(t, p.Close())
		}, 1},
		"FlushIsWaitedFor": {pgx.QueryExecModeExec, func(t *testing.T, conn *pgx.Conn) {
			p := conn.PgConn().StartPipeline(t.Context())
			p.SendPrepare("named", `SELECT $1::text`, nil)
			p.SendFlushRequest()
			noError(t, p.Flush())
			_, err := p.GetResults()
			noError(t, err)
			p.SendQueryPrepared("named", [][]byte{[]byte("x")}, nil, nil)
			noError(t, p.Sync())
			noError(t, p.Close())
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := setup(t)
			conn := connect(t, p, c.mode)
			wantTrips(t, p, 0) // connecting counts for nothing
			c.run(t, conn)
			wantTrips(t, p, c.want)
			p.Reset()
			wantTrips(t, p, 0)
		})
	}
}

func TestWireByConnection(t *testing.T) {
	t.Parallel()
	p := setup(t)
	first, second := connect(t, p, pgx.QueryExecModeExec), connect(t, p, pgx.QueryExecModeExec)
	exec(t, first, `SELECT 1`)
	exec(t, second, `SELECT 1`)
	exec(t, second, `SELECT 2`)
	if diff := cmp.Diff([]int{1, 2}, p.ByConnection()); diff != "" {
		t.Error(diff)
	}
}

func TestWireMessages(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conn := connect(t, p, pgx.QueryExecModeExec)
	_, err := conn.Prepare(t.Context(), "named", `SELECT $1::text`)
	noError(t, err)
	p.Reset()
	exec(t, conn, "named", "x")
	exec(t, conn, `SELECT $1::int`, 2)
	_, err = conn.PgConn().Exec(t.Context(), `SELECT 3`).ReadAll()
	noError(t, err)
	noError(t, conn.Deallocate(t.Context(), "named"))
	want := []wire.Message{
		{Kind: 'B', Name: "named", SQL: `SELECT $1::text`},
		{Kind: 'P', SQL: `SELECT $1::int`},
		{Kind: 'B', SQL: `SELECT $1::int`},
		{Kind: 'Q', SQL: `SELECT 3`},
	}
	if diff := cmp.Diff(want, p.Messages()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{`SELECT $1::text`, `SELECT $1::int`, `SELECT 3`}, p.Statements()); diff != "" {
		t.Error(diff)
	}
}

func TestWireDelay(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	p := setup(t)
	conn := connect(t, p, pgx.QueryExecModeExec)
	p.Delay(delay)

	one := elapsed(func() { exec(t, conn, `SELECT 1`) })
	if one < 2*delay {
		t.Errorf("a round trip took %s", one)
	}
	three := elapsed(func() {
		for range 3 {
			exec(t, conn, `SELECT 1`)
		}
	})
	if three < 6*delay {
		t.Errorf("three round trips took %s", three)
	}

	p.Reset()
	batched := elapsed(func() { execAll(t, conn, batch(50)) })
	if batched < 2*delay || batched > 50*delay {
		t.Errorf("50 statements at once took %s", batched)
	}
	wantTrips(t, p, 1)
	p.Delay(0)
	big := elapsed(func() { exec(t, conn, `SELECT repeat('x', 1000) FROM generate_series(1, 10000)`) })
	p.Delay(delay)
	late := elapsed(func() { exec(t, conn, `SELECT repeat('x', 1000) FROM generate_series(1, 10000)`) })
	if late < 2*delay || late > big+100*delay {
		t.Errorf("10 MB took %s, without delay %s", late, big)
	}
}

// TestWireDelayedPipeline: what is sent before an answer can have come is one round trip.
func TestWireDelayedPipeline(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conn := connect(t, p, pgx.QueryExecModeExec)
	p.Delay(100 * time.Millisecond)
	pipeline := conn.PgConn().StartPipeline(t.Context())
	for range 5 { // a write each
		pipeline.SendQueryParams(`SELECT $1::text`, [][]byte{[]byte("x")}, nil, nil, nil)
		noError(t, pipeline.Sync())
	}
	noError(t, pipeline.Close())
	wantTrips(t, p, 1)
}

func TestWireCancel(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conn := connect(t, p, pgx.QueryExecModeExec)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Exec(context.Background(), `SELECT pg_sleep(60)`)
		result <- err
	}()
	for {
		noError(t, conn.PgConn().CancelRequest(t.Context())) // may come before the statement
		select {
		case err := <-result:
			var failed *pgconn.PgError
			if !errors.As(err, &failed) || failed.Code != "57014" {
				t.Errorf("got %v", err)
			}
			wantTrips(t, p, 1)
			if got := p.ByConnection(); len(got) != 1 {
				t.Errorf("%d connections", len(got))
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestWireBreak(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conns := []*pgx.Conn{connect(t, p, pgx.QueryExecModeExec), connect(t, p, pgx.QueryExecModeExec)}
	waiting := make(chan error, 1)
	go func() {
		_, err := conns[0].Exec(context.Background(), `SELECT pg_sleep(60)`)
		waiting <- err
	}()
	for p.RoundTrips() == 0 {
		time.Sleep(time.Millisecond)
	}

	p.Break()
	if err := <-waiting; err == nil {
		t.Error("the statement under way did not fail")
	}
	if _, err := conns[1].Exec(t.Context(), `SELECT 1`); err == nil {
		t.Error("an idle connection still works")
	}
	if conn, err := pgx.Connect(t.Context(), p.DSN()); err == nil {
		_ = conn.Close(t.Context())
		t.Error("a new connection was let in")
	}

	p.Mend()
	exec(t, connect(t, p, pgx.QueryExecModeExec), `SELECT 1`)
}

// TestWireSSLRequest: a client that would like TLS is told that there is none.
func TestWireSSLRequest(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conn, err := pgx.Connect(t.Context(), strings.Replace(p.DSN(), "sslmode=disable", "sslmode=prefer", 1))
	noError(t, err)
	exec(t, conn, `SELECT 1`)
	noError(t, conn.Close(t.Context()))
}

// TestWireServerGone: the client hears of it, and the proxy ends.
func TestWireServerGone(t *testing.T) {
	t.Parallel()
	p := wire.Listen(t, "host=/nonexistent user=u")
	if _, err := pgx.Connect(t.Context(), p.DSN()); err == nil {
		t.Error("no error")
	}
}

// TestWireTerminated: the server's last words reach the client.
func TestWireTerminated(t *testing.T) {
	t.Parallel()
	p := setup(t)
	conn := connect(t, p, pgx.QueryExecModeExec)
	_, err := conn.Exec(t.Context(), `SELECT pg_terminate_backend(pg_backend_pid())`)
	var failed *pgconn.PgError
	if !errors.As(err, &failed) || failed.Code != "57P01" {
		t.Errorf("got %v", err)
	}
}

// TestWireEndsWithTheTest: the end waits for all that runs, and for no delay.
func TestWireEndsWithTheTest(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	var dsn string
	took := elapsed(func() {
		t.Run("Left", func(t *testing.T) {
			p := wire.Listen(t, db.AppDSN)
			dsn = p.DSN()
			idle, err := pgx.Connect(t.Context(), dsn)
			noError(t, err)
			p.Delay(time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			if _, err := pgx.Connect(ctx, dsn); err == nil {
				t.Error("an hour passed")
			}
			if err := idle.Ping(ctx); err == nil {
				t.Error("an hour passed")
			}
		})
	})
	if took > time.Minute {
		t.Errorf("it took %s", took)
	}
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Error("the proxy still listens")
	}
}

func elapsed(f func()) time.Duration {
	begin := time.Now()
	f()
	return time.Since(begin)
}
