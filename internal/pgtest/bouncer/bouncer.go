// Package bouncer starts a PgBouncer between a test and its PostgreSQL server, so
// that what a pooler does to sessions is tested with a pooler.
//
//	pooler := bouncer.Start(t, bouncer.Config{DSN: db.AppDSN})
//	app := db.Open(postgres.New(postgres.Config{DSN: pooler.DSN, PreferSimpleProtocol: true}), nil)
//
// The zero Config is the harshest: transactions of all clients take turns on one
// connection, whatever one leaves in the session meets the next. Where no
// pgbouncer is installed the test fails; it is never skipped.
package bouncer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/courtroll/courtroll/internal/pgtest/dsn"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

const (
	startTimeout = 20 * time.Second
	pollInterval = 20 * time.Millisecond
)

// Mode is when a client gives its connection to the server back.
type Mode string

// The modes: after each transaction, after each statement, when it disconnects.
const (
	Transaction Mode = "transaction"
	Statement   Mode = "statement"
	Session     Mode = "session"
)

// Config says where a pooler leads, and how it pools.
type Config struct {
	// DSN is the server's, with the one login that the pooler knows. Every
	// database of the server can be reached with it.
	DSN string

	// Mode is Transaction by default.
	Mode Mode

	// PoolSize is how many connections to the server there are for each
	// database. Default: 1.
	PoolSize int

	// MaxPreparedStatements is how many statements of clients are prepared on
	// each connection to the server, for whoever uses it. With 0, and before
	// PgBouncer 1.21, which cannot do it, a prepared statement is left behind
	// when the connection is given back. See [Bouncer.Prepares].
	MaxPreparedStatements int
}

// Bouncer is a running PgBouncer. Its fields are read-only.
type Bouncer struct {
	// DSN is that of the Config, through the pooler.
	DSN string

	// Version is PgBouncer's, such as "1.18.0".
	Version string

	// Prepares reports whether a client may use prepared statements across
	// transactions.
	Prepares bool
}

// Start starts a PgBouncer, and stops it when the test ends, with every
// connection through it. Start it after the database of the test was made: so it
// ends before the database is dropped. A client that waits for a connection to
// the server fails after half a minute.
func Start(t testing.TB, cfg Config) *Bouncer {
	t.Helper()
	binary, err := find(names()...)
	if err != nil {
		t.Fatal(err)
	}
	d, err := server.NewDaemon()
	if err != nil {
		t.Fatalf("bouncer: %v", err)
	}
	t.Cleanup(func() {
		if err := d.Stop(); err != nil {
			t.Errorf("bouncer: %v", err)
		}
	})
	b, err := start(t.Context(), d, binary, cfg)
	if err != nil {
		t.Fatalf("bouncer: %v", err)
	}
	return b
}

func start(ctx context.Context, d *server.Daemon, binary string, cfg Config) (*Bouncer, error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	version, err := versionOf(ctx, binary)
	if err != nil {
		return nil, err
	}
	s, err := newSettings(cfg, version)
	if err != nil {
		return nil, err
	}
	if err := s.write(d); err != nil {
		return nil, err
	}
	b := &Bouncer{Version: version, Prepares: s.prepares()}
	if b.DSN, err = s.clientDSN(d, cfg.DSN); err != nil {
		return nil, err
	}
	if err := d.Start(binary, d.Path(iniName)); err != nil {
		return nil, err
	}
	if err := waitReady(ctx, d, b.DSN); err != nil {
		return nil, fmt.Errorf("starting %s: %w\n%s", binary, err, d.LogTail())
	}
	return b, nil
}

// waitReady logs in through the pooler, which by that logs in to the server. What
// either answers is final.
func waitReady(ctx context.Context, d *server.Daemon, dsn string) error {
	for {
		conn, err := pgx.Connect(ctx, dsn)
		if err == nil {
			return conn.Close(ctx)
		}
		if exit := d.Exited(); exit != nil {
			return exit
		}
		var answer *pgconn.PgError
		if errors.As(err, &answer) || ctx.Err() != nil {
			return err
		}
		time.Sleep(pollInterval)
	}
}

// clientDSN leads to the socket, and has a password where the server wants none.
func (s settings) clientDSN(d *server.Daemon, serverDSN string) (string, error) {
	edited, err := dsn.WithAddress(serverDSN, d.Path(socketDir), socketPort)
	if err != nil {
		return "", err
	}
	return dsn.WithLogin(edited, s.server.User, s.password)
}

func (c Config) withDefaults() Config {
	c.Mode = cmp.Or(c.Mode, Transaction)
	c.PoolSize = cmp.Or(c.PoolSize, 1)
	return c
}
