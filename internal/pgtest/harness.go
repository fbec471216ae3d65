package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib" // the driver of the administrator's connections

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

const (
	prefix     = "courtroll_test_"
	adminConns = 8
)

// harness is one server and what a test binary made on it.
type harness struct {
	config func() (server.Config, error)
	output io.Writer // hears which server was taken

	ready     atomic.Bool // Main runs
	breakOff  context.CancelFunc
	startOnce func() error
	stopOnce  func() error

	server *server.Server
	admin  *sql.DB
	lease  *sql.Conn

	run        string // prefix and random digits: begins every name that is ours
	owner, app login
	system     login
	serial     atomic.Int64

	mu        sync.Mutex
	templates map[string]func() (string, error)
}

// login is a role with its password.
type login struct{ name, password string }

func newHarness(output io.Writer, config func() (server.Config, error)) *harness {
	ctx, cancel := context.WithCancel(context.Background())
	h := &harness{config: config, output: output, breakOff: cancel, templates: map[string]func() (string, error){}}
	h.startOnce = sync.OnceValue(func() error { return h.startUp(ctx) })
	h.stopOnce = sync.OnceValue(h.shutDown)
	return h
}

// start finds the server, once; every caller gets the outcome.
func (h *harness) start() error {
	if !h.ready.Load() {
		return errNoMain
	}
	return h.startOnce()
}

func (h *harness) startUp(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	cfg, err := h.config()
	if err != nil {
		return err
	}
	h.server, err = server.Start(ctx, cfg)
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	fmt.Fprintln(h.output, "pgtest:", h.server.Description())
	if err := h.prepare(ctx); err != nil {
		return fmt.Errorf("pgtest: preparing %s: %w", h.server.Description(), err)
	}
	return nil
}

// prepare takes the lease before anything is made, so that whatever bears the
// run's name without a lease is a leftover.
func (h *harness) prepare(ctx context.Context) (err error) {
	h.admin, err = sql.Open("pgx", h.server.DSN)
	if err != nil {
		return err
	}
	h.admin.SetMaxOpenConns(adminConns)
	h.admin.SetMaxIdleConns(adminConns)
	if err := h.requireSuperuser(ctx); err != nil {
		return err
	}
	if err := h.takeLease(ctx); err != nil {
		return fmt.Errorf("taking the lease: %w", err)
	}
	if h.outlives() {
		h.sweep(ctx)
	} else if err := h.hurrySuperuser(ctx); err != nil {
		return err
	}
	return h.createRoles(ctx)
}

// hurrySuperuser makes the log-ins of a superuser fast, on a server that is ours.
func (h *harness) hurrySuperuser(ctx context.Context) error {
	cfg, err := pgx.ParseConfig(h.server.DSN)
	if err != nil {
		return err
	}
	return h.exec(ctx, fmt.Sprintf(`ALTER ROLE CURRENT_USER PASSWORD '%s'`, Verifier(cfg.Password)))
}

// outlives reports whether the server, and so our leftovers, outlive the run.
func (h *harness) outlives() bool { return h.server.Backend == server.DSN }

func (h *harness) requireSuperuser(ctx context.Context) error {
	var super bool
	err := h.admin.QueryRowContext(ctx, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`).Scan(&super)
	if err == nil && !super {
		return errors.New("its role is not a superuser, and only one can make roles and databases and test what superusers can do")
	}
	return err
}

// createRoles makes the logins. Roles belong to the whole server, where
// other binaries run at the same time; their names are therefore the run's own.
func (h *harness) createRoles(ctx context.Context) error {
	h.owner = login{name: h.run + "_owner", password: rand.Text()}
	h.app = login{name: h.run + "_app", password: rand.Text()}
	h.system = login{name: h.run + "_system", password: rand.Text()}
	for _, l := range []login{h.owner, h.app, h.system} {
		err := h.exec(ctx, fmt.Sprintf(
			`CREATE ROLE %s LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEDB NOCREATEROLE PASSWORD '%s'`, l.name, Verifier(l.password)))
		if err != nil {
			return fmt.Errorf("creating role %s: %w", l.name, err)
		}
	}
	return nil
}

// exec runs a statement of the administrator's. Names in it are ours, made of
// lower-case letters, digits and underscores, and need no quotes.
func (h *harness) exec(ctx context.Context, sql string) error {
	_, err := h.admin.ExecContext(ctx, sql)
	return err
}

func (h *harness) newName(kind string) string {
	return h.run + "_" + kind + strconv.FormatInt(h.serial.Add(1), 10)
}

// stop ends the server, once. A start in progress is broken off and waited for.
func (h *harness) stop() error { return h.stopOnce() }

func (h *harness) shutDown() error {
	h.ready.Store(false)
	h.breakOff()
	_ = h.startOnce() // whoever asked for a database was told why there is none
	if h.server == nil {
		return nil
	}
	return errors.Join(h.disconnect(), h.server.Stop())
}

func (h *harness) disconnect() error {
	var errs []error
	if h.lease != nil {
		if h.outlives() && h.run != "" {
			errs = append(errs, h.dropRun(context.Background(), h.run))
		}
		errs = append(errs, h.lease.Close())
	}
	if h.admin != nil {
		errs = append(errs, h.admin.Close())
	}
	return errors.Join(errs...)
}
