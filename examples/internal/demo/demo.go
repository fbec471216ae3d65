// Package demo gives an example a database of its own, with the two logins
// that an app has: the role that owns the tables, and the role that the app
// runs as, which owns nothing.
//
// The server is the one that DATABASE_URL names, or else a private one, from
// binaries on this machine or in a Docker container, which ends with the
// example. On a server of DATABASE_URL everything made has a random name and is
// dropped at the end, and the database that the URL names is not written to. Of
// an example that is killed they stay, under the names that it printed.
//
// [Main] and [Run] also put up the walls and install the plugins, for an example
// that is about something else. The rest is what such an example needs around its
// subject: [Play] sends requests, [App.LoadEdits] makes a trail, [Checks] prints.
package demo

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

const urlVariable = "DATABASE_URL"

// ErrKeepNeedsURL is [Config.Keep] on a server that does not outlive the example.
var ErrKeepNeedsURL = errors.New("-keep needs " + urlVariable + ": a private server ends with the example, and all that it holds with it")

// Config says what an example wants.
type Config struct {
	// Name of the example: begins the names of what is made. It consists of
	// lower-case letters.
	Name string
	// URL is the value of $DATABASE_URL. Empty: a private server.
	URL string
	// System asks for a third login, for work across tenants.
	System bool
	// Keep leaves database and roles on the server of URL, for a look.
	Keep bool
	// Out hears which server was taken, and how to reach what was kept.
	Out io.Writer
}

// Database is a database of the example's own. The DSNs hold passwords.
type Database struct {
	Name               string
	OwnerRole, AppRole string
	OwnerDSN, AppDSN   string
	// SystemRole and SystemDSN are empty without [Config.System].
	SystemRole, SystemDSN string
	// TrustedRoles is the login of the server where it can act as the owner, for it made
	// the roles: from PostgreSQL 16 on it is a member of them, unless it is a superuser.
	TrustedRoles []string

	config Config
	server *server.Server
	roles  []role
}

// role is a login with its password.
type role struct{ name, secret string }

func (d *Database) roleNames() (names []string) {
	for _, r := range d.roles {
		names = append(names, r.name)
	}
	return names
}

// Open finds a server and makes the database and its two roles. After an error
// nothing is left of them. The caller must call [Database.Close].
func Open(ctx context.Context, cfg Config) (*Database, error) {
	if cfg.Keep && cfg.URL == "" {
		return nil, ErrKeepNeedsURL
	}
	s, err := server.Start(ctx, serverConfig(cfg))
	if ctx.Err() != nil { // what else failed by then says nothing about the machine
		err = fmt.Errorf("starting a server: %w", ctx.Err())
	}
	if err != nil {
		return nil, errors.Join(err, stop(s))
	}
	fmt.Fprintln(cfg.Out, "Server:  ", s.Description())
	d, err := newDatabase(cfg, s)
	if err == nil {
		err = d.checkPrivileges(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Stop())
	}
	if err := d.create(ctx); err != nil {
		return nil, errors.Join(err, d.discard(ctx))
	}
	fmt.Fprintf(cfg.Out, "Database: %s, roles %s\n", d.Name, strings.Join(d.roleNames(), " and "))
	return d, nil
}

// Close drops what [Open] made, also where ctx has ended, or says how to reach
// it if it is to be kept. Connections to the database should be closed by then.
func (d *Database) Close(ctx context.Context) error {
	if d.config.Keep {
		return errors.Join(d.keep(ctx), d.server.Stop())
	}
	return d.discard(ctx)
}

// stop ends the server, if there is one.
func stop(s *server.Server) error {
	if s == nil {
		return nil
	}
	return s.Stop()
}

// serverConfig has the order DATABASE_URL, binaries, Docker.
func serverConfig(cfg Config) server.Config {
	order := []server.Backend{server.Local, server.Docker}
	if cfg.URL != "" {
		order = []server.Backend{server.DSN}
	}
	return server.Config{
		Order: order, DSN: cfg.URL, DSNVariable: urlVariable,
		LogFunc: func(format string, args ...any) {
			if _, isAttempt := first(args).(server.Backend); !isAttempt { // the error has those, should all of them fail
				fmt.Fprintf(cfg.Out, "  "+format+"\n", args...)
			}
		},
	}
}

func first(args []any) any {
	if len(args) == 0 {
		return nil
	}
	return args[0]
}

func newDatabase(cfg Config, s *server.Server) (_ *Database, err error) {
	var suffix [4]byte
	rand.Read(suffix[:])
	name := "courtroll_" + cfg.Name + "_" + hex.EncodeToString(suffix[:])
	d := &Database{Name: name, config: cfg, server: s}
	d.OwnerRole, d.OwnerDSN, err = d.login("owner")
	if err == nil {
		d.AppRole, d.AppDSN, err = d.login("app")
	}
	if err == nil && cfg.System {
		d.SystemRole, d.SystemDSN, err = d.login("system")
	}
	return d, err
}

// login plans a role, and returns its name and how it logs in.
func (d *Database) login(suffix string) (name, dsn string, err error) {
	r := role{name: d.Name + "_" + suffix, secret: rand.Text()}
	d.roles = append(d.roles, r)
	dsn, err = loginDSN(d.server.DSN, d.Name, r.name, r.secret)
	return r.name, dsn, err
}
