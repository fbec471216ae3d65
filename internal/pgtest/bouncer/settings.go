package bouncer

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

const (
	iniName   = "pgbouncer.ini"
	usersName = "users"

	// The socket lies in a directory of this run's own, so that its number,
	// which it has to have, is never taken.
	socketDir  = "socket"
	socketPort = 6432

	firstToPrepare = 21 // the minor version
)

// settings are what PgBouncer's files are made from.
type settings struct {
	Config
	server     *pgx.ConnConfig
	password   string
	canPrepare bool
}

func newSettings(cfg Config, version string) (settings, error) {
	s := settings{Config: cfg.withDefaults()}
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return s, fmt.Errorf("reading PgBouncer's version %q: %w", version, err)
	}
	s.canPrepare = major > 1 || minor >= firstToPrepare
	var err error
	if s.server, err = pgx.ParseConfig(cfg.DSN); err != nil {
		return s, err
	}
	s.password = cmp.Or(s.server.Password, rand.Text())
	return s, nil
}

func (s settings) prepares() bool {
	return s.Mode == Session || s.canPrepare && s.MaxPreparedStatements > 0
}

// write makes the files. The one with the login serves both sides: clients have
// to know the password, and the server may ask for it in any way.
func (s settings) write(d *server.Daemon) error {
	return errors.Join(
		d.Mkdir(socketDir, 0o711),
		d.WriteFile(usersName, quoted(s.server.User, `"`)+" "+quoted(s.password, `"`)+"\n"),
		d.WriteFile(iniName, s.ini(d.Path(""))))
}

func (s settings) ini(dir string) string {
	lines := []string{
		"[databases]",
		fmt.Sprintf("* = host=%s port=%d", quoted(s.server.Host, "'"), s.server.Port),
		"[pgbouncer]",
		"unix_socket_dir = " + filepath.Join(dir, socketDir),
		fmt.Sprintf("listen_port = %d", socketPort),
		"auth_type = scram-sha-256",
		"auth_file = " + filepath.Join(dir, usersName),
		"pool_mode = " + string(s.Mode),
		fmt.Sprintf("default_pool_size = %d", s.PoolSize),
		"ignore_startup_parameters = extra_float_digits",
		"max_client_conn = 200",
		"query_wait_timeout = 30",  // a test that deadlocks fails
		"server_login_retry = 0.2", // a failed login is told sooner
	}
	if s.server.TLSConfig == nil {
		lines = append(lines, "server_tls_sslmode = disable")
	} else {
		lines = append(lines, "server_tls_sslmode = prefer")
	}
	if s.canPrepare {
		lines = append(lines, fmt.Sprintf("max_prepared_statements = %d", s.MaxPreparedStatements))
	}
	return strings.Join(lines, "\n") + "\n"
}

// quoted puts a value in quotes, and doubles those within.
func quoted(value, quote string) string {
	return quote + strings.ReplaceAll(value, quote, quote+quote) + quote
}
