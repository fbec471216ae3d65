package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	superuser    = "postgres"
	pollInterval = 20 * time.Millisecond
	pingTimeout  = 2 * time.Second
)

// settings make a server fast that nobody will ever need to recover. Autovacuum
// is off because a worker inside a template database makes CREATE DATABASE wait.
func settings() []string {
	return []string{
		"fsync=off", "synchronous_commit=off", "full_page_writes=off",
		"max_connections=300", "max_prepared_transactions=20", "shared_buffers=64MB", "autovacuum=off",
		"timezone=UTC", "log_timezone=UTC",
		// The request that cancels a statement is lost where it overtakes it, as on a busy
		// machine: one that waits for a lock then outlives its connection.
		"client_connection_check_interval=500ms",
	}
}

func settingArgs(more ...string) []string {
	var args []string
	for _, s := range append(settings(), more...) {
		args = append(args, "-c", s)
	}
	return args
}

func superDSN(password, host string, port int) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, password),
		Host:     net.JoinHostPort(host, strconv.Itoa(port)),
		Path:     "/postgres",
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// useDSN takes the server that the caller names. It reads its version and
// nothing more.
func useDSN(ctx context.Context, cfg Config) (*Server, error) {
	if cfg.DSN == "" {
		return nil, fmt.Errorf("%s is not set", cfg.DSNVariable)
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.StartTimeout)
	defer cancel()
	version, err := ping(ctx, cfg.DSN)
	if err != nil {
		return nil, fmt.Errorf("using %s: %w", cfg.DSNVariable, err)
	}
	description := fmt.Sprintf("PostgreSQL %s from %s", version, cfg.DSNVariable)
	return newServer(DSN, cfg.DSN, description, func() error { return nil }), nil
}

// waitReady pings the addresses in turn until one answers, the server is known
// to have exited, or the time is up. Earlier addresses are preferred.
func waitReady(ctx context.Context, exited func() error, dsns ...string) (dsn, version string, err error) {
	for {
		dsn, version, err = firstAnswer(ctx, dsns)
		if err == nil && dsn != dsns[0] {
			// It may have come up after the first was tried.
			return firstAnswer(ctx, dsns)
		}
		if err == nil || errors.Is(err, errTooOld) {
			return dsn, version, err
		}
		if exit := exited(); exit != nil {
			return "", "", exit
		}
		if sleep(ctx, pollInterval) != nil {
			return "", "", fmt.Errorf("waiting for the server to answer: %w", err)
		}
	}
}

func firstAnswer(ctx context.Context, dsns []string) (dsn, version string, err error) {
	for _, dsn := range dsns {
		version, err = pingShortly(ctx, dsn)
		if err == nil || errors.Is(err, errTooOld) {
			return dsn, version, err
		}
	}
	return "", "", err
}

func pingShortly(ctx context.Context, dsn string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	return ping(ctx, dsn)
}

var errTooOld = fmt.Errorf("PostgreSQL %d or newer is needed", minMajor)

// ping logs in and returns the server's version.
func ping(ctx context.Context, dsn string) (version string, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
	return version, checkVersion(version)
}

// checkVersion takes "15.18", "18beta1" or "19devel".
func checkVersion(version string) error {
	digits := version
	if end := strings.IndexFunc(version, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = version[:end]
	}
	major, err := strconv.Atoi(digits)
	if err != nil {
		return fmt.Errorf("reading PostgreSQL version %q: %w", version, err)
	}
	if major < minMajor {
		return fmt.Errorf("this is PostgreSQL %s: %w", version, errTooOld)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
