package bouncer_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/bouncer"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// TestBouncerCanary shows that the pooler does what the tests with it are for: a
// session's setting reaches the next client, a transaction's does not.
func TestBouncerCanary(t *testing.T) {
	t.Parallel()
	b := start(t, bouncer.Config{})
	one, other := connect(t, b), connect(t, b)
	wantSame(t, one, other)

	run(t, one, `SET courtroll.tenant_id = 'a'`)
	if got := scalar(t, other, `SELECT current_setting('courtroll.tenant_id', true)`); got != "a" {
		t.Errorf("the session's setting is %q to another client", got)
	}

	run(t, one, `BEGIN`)
	run(t, one, `SELECT set_config('courtroll.actor_id', 'ann', true)`)
	if got := scalar(t, one, `SELECT current_setting('courtroll.actor_id', true)`); got != "ann" {
		t.Errorf("the transaction's setting is %q in the transaction", got)
	}
	run(t, one, `COMMIT`)
	wantSame(t, one, other)
	if got := scalar(t, other, `SELECT coalesce(current_setting('courtroll.actor_id', true), '')`); got != "" {
		t.Errorf("the transaction's setting is %q to another client", got)
	}
}

func TestBouncerPoolSize(t *testing.T) {
	t.Parallel()

	t.Run("OneIsShared", func(t *testing.T) {
		t.Parallel()
		b := start(t, bouncer.Config{})
		first := connect(t, b)
		for range 5 {
			wantSame(t, first, connect(t, b))
		}
		run(t, first, `BEGIN`)
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		if _, err := connect(t, b).Exec(ctx, `SELECT 1`); err == nil {
			t.Error("a second transaction ran beside the first")
		}
		run(t, first, `COMMIT`)
		wantSame(t, first, connect(t, b))
	})

	t.Run("Two", func(t *testing.T) {
		t.Parallel()
		b := start(t, bouncer.Config{PoolSize: 2})
		first, second := connect(t, b), connect(t, b)
		run(t, first, `BEGIN`)
		if backend(t, first) == backend(t, second) {
			t.Error("two transactions at once share a connection")
		}
		run(t, first, `COMMIT`)
	})
}

// TestBouncerSession: what one client leaves is discarded.
func TestBouncerSession(t *testing.T) {
	t.Parallel()
	b := start(t, bouncer.Config{Mode: bouncer.Session})
	if !b.Prepares {
		t.Error("a session has prepared statements")
	}
	one := connect(t, b)
	run(t, one, `SET courtroll.tenant_id = 'a'`)
	pid := backend(t, one)
	noError(t, one.Close(t.Context()))
	other := connect(t, b)
	if backend(t, other) != pid {
		t.Error("another connection is used")
	}
	if got := scalar(t, other, `SELECT coalesce(current_setting('courtroll.tenant_id', true), '')`); got != "" {
		t.Errorf("the setting is %q to the next client", got)
	}
}

// TestBouncerPrepares: statements of two clients' have one name, with texts of their own.
func TestBouncerPrepares(t *testing.T) {
	t.Parallel()
	b := start(t, bouncer.Config{MaxPreparedStatements: 10})
	one, other := connect(t, b), connect(t, b)
	_, err := one.Prepare(t.Context(), "named", `SELECT 'one'`)
	noError(t, err)
	_, err = other.Prepare(t.Context(), "named", `SELECT 'other'`)
	if b.Prepares != (err == nil) {
		t.Errorf("PgBouncer %s: %v", b.Version, err)
	}
}

// TestBouncerDSN: the settings of the DSN, and a proxy on either side of the pooler.
func TestBouncerDSN(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	behind := wire.Listen(t, db.AppDSN)
	b := bouncer.Start(t, bouncer.Config{DSN: behind.DSN()})
	before := wire.Listen(t, b.DSN)
	conn, err := pgx.Connect(t.Context(), before.DSN())
	noError(t, err)
	defer conn.Close(t.Context())
	behind.Reset()
	if got := scalar(t, conn, `SELECT current_user || ' ' || current_database()`, pgx.QueryExecModeSimpleProtocol); got != db.AppRole+" "+db.Name {
		t.Errorf("logged in as %s", got)
	}
	if before.RoundTrips() != 1 || behind.RoundTrips() != 1 {
		t.Errorf("%d round trips before the pooler, %d behind it", before.RoundTrips(), behind.RoundTrips())
	}
}

func TestBouncerWrongPassword(t *testing.T) {
	t.Parallel()
	b := start(t, bouncer.Config{})
	cfg, err := pgx.ParseConfig(b.DSN)
	noError(t, err)
	cfg.Password = "guess"
	if _, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		t.Error("anybody may use the pooler")
	}
}

func TestBouncerINI(t *testing.T) {
	t.Parallel()
	const dsn = "host=/it's user=u password=p sslmode=disable"
	for name, c := range map[string]struct {
		cfg      bouncer.Config
		version  string
		prepares bool
		want     string
		not      string
	}{
		"Default":        {bouncer.Config{DSN: dsn}, "1.18.0", false, "pool_mode = transaction\ndefault_pool_size = 1\n", "max_prepared"},
		"Host":           {bouncer.Config{DSN: dsn}, "1.18.0", false, "* = host='/it''s' port=5432\n", "prefer"},
		"TooOld":         {bouncer.Config{DSN: dsn, MaxPreparedStatements: 5}, "1.20.1", false, "", "max_prepared"},
		"Prepares":       {bouncer.Config{DSN: dsn, MaxPreparedStatements: 5}, "1.21.0", true, "max_prepared_statements = 5\n", "-"},
		"PreparesNot":    {bouncer.Config{DSN: dsn}, "1.24.1", false, "max_prepared_statements = 0\n", "-"},
		"TLS":            {bouncer.Config{DSN: "host=h user=u sslmode=require"}, "2.0", false, "server_tls_sslmode = prefer\n", "disable"},
		"StatementModes": {bouncer.Config{DSN: dsn, Mode: bouncer.Statement, PoolSize: 3}, "1.18.0", false, "pool_mode = statement\ndefault_pool_size = 3\n", "-"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, prepares, err := bouncer.INI(c.cfg, c.version)
			noError(t, err)
			if prepares != c.prepares || !strings.Contains(text, c.want) || strings.Contains(text, c.not) && c.not != "-" {
				t.Errorf("prepares: %v\n%s", prepares, text)
			}
		})
	}
}

// TestBouncerMissing: what to install is said, and no test is skipped.
func TestBouncerMissing(t *testing.T) {
	t.Parallel()
	_, err := bouncer.Find("/nonexistent/pgbouncer")
	if err == nil || !strings.Contains(err.Error(), "apt-get install pgbouncer") {
		t.Errorf("got %v", err)
	}
}

// TestBouncerEndsWithTheTest: neither the process nor its directory is left.
func TestBouncerEndsWithTheTest(t *testing.T) {
	t.Parallel()
	var b *bouncer.Bouncer
	t.Run("Started", func(t *testing.T) { b = start(t, bouncer.Config{}) })
	cfg, err := pgx.ParseConfig(b.DSN)
	noError(t, err)
	if _, err := pgx.ConnectConfig(t.Context(), cfg); err == nil {
		t.Error("it still answers")
	}
	if _, err := os.Stat(filepath.Dir(cfg.Host)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("its directory is still there: %v", err)
	}
	out, err := exec.Command("ps", "-ww", "-eo", "args=").Output()
	noError(t, err)
	if strings.Contains(string(out), cfg.Host) {
		t.Error("it still runs")
	}
}

func start(t *testing.T, cfg bouncer.Config) *bouncer.Bouncer {
	t.Helper()
	cfg.DSN = pgtest.New(t, pgtest.Template{}).AppDSN
	return bouncer.Start(t, cfg)
}

// connect logs in, with statements that are not prepared.
func connect(t *testing.T, b *bouncer.Bouncer) *pgx.Conn {
	t.Helper()
	cfg, err := pgx.ParseConfig(b.DSN)
	noError(t, err)
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	noError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func run(t *testing.T, conn *pgx.Conn, sql string) {
	t.Helper()
	_, err := conn.Exec(t.Context(), sql)
	noError(t, err)
}

func scalar(t *testing.T, conn *pgx.Conn, sql string, args ...any) (text string) {
	t.Helper()
	noError(t, conn.QueryRow(t.Context(), sql, args...).Scan(&text))
	return text
}

func backend(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	return scalar(t, conn, `SELECT pg_backend_pid()::text`)
}

// wantSame expects two clients to have the same connection to the server.
func wantSame(t *testing.T, one, other *pgx.Conn) {
	t.Helper()
	if a, b := backend(t, one), backend(t, other); a != b {
		t.Errorf("the clients have connections of their own, to %s and %s", a, b)
	}
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
