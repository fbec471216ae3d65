// Package server finds or starts a PostgreSQL server: one that the caller
// names, one in a Docker container, or one from the binaries on this machine,
// started privately.
//
// A server that this package started belongs to the process that started it
// and is thrown away by [Server.Stop]: it runs without fsync, unless Config.Settings
// say otherwise, and keeps nothing.
// What a killed process leaves behind, server, directory or container, is
// removed by the next [Start]; servers of living processes are left alone.
// Package testing is not imported, so programs may use it too.
package server

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// Backend is a way to come by a server.
type Backend string

// The backends, in the order that a zero [Config] tries them.
const (
	DSN    Backend = "dsn"    // a server that the caller names and nobody here starts or stops
	Docker Backend = "docker" // a container of an engine on this machine
	Local  Backend = "local"  // installed binaries, started in a directory of their own
)

// Backends lists every backend in its default order. The slice is the caller's.
func Backends() []Backend { return []Backend{DSN, Docker, Local} }

const (
	minMajor     = 15
	defaultImage = "postgres:15"

	imageVariable = "COURTROLL_PG_IMAGE"
	binVariable   = "COURTROLL_PG_BIN"
)

// Config says which servers will do. The zero value tries Docker, then local
// binaries.
type Config struct {
	// Order lists the backends to try; the first that works is taken.
	// Default: DSN, Docker, Local.
	Order []Backend

	// DSN names a running server, as URL or as keywords and values, with a role
	// that may do what the caller is up to. Empty: the DSN backend is passed
	// over. Set: where Order has the DSN backend it is used or Start fails;
	// nothing else is tried, because that would hide a mistake in it.
	DSN string

	// DSNVariable is the environment variable that the caller took DSN from,
	// for error messages. Default: "the DSN".
	DSNVariable string

	// Image is the container image, "repository:tag".
	// Default: $COURTROLL_PG_IMAGE, then postgres:15.
	Image string

	// DockerHost is the engine's endpoint, such as unix:///var/run/docker.sock.
	// Default: $DOCKER_HOST, then the usual socket.
	DockerHost string

	// PullTimeout bounds the single attempt to pull a missing image.
	// Default, and maximum: 60 s.
	PullTimeout time.Duration

	// CacheDir keeps the note that a pull has failed, which spares later runs
	// the wait for an hour. Default: the user's cache directory.
	CacheDir string

	// BinDir is the directory of initdb and postgres; no other is looked at.
	// Default: $COURTROLL_PG_BIN, then PATH and the usual places.
	BinDir string

	// StartTimeout bounds the wait for a started server to answer. Default: 60 s.
	StartTimeout time.Duration

	// Settings are the server's own, as name=value, and win over those of this
	// package, which make it fast and not safe. Those of the DSN backend stay as
	// they are.
	Settings []string

	// LogFunc hears what Start tries and why it moves on. May be nil.
	LogFunc func(format string, args ...any)
}

func (c Config) withDefaults() Config {
	if len(c.Order) == 0 {
		c.Order = Backends()
	}
	c.DSNVariable = cmp.Or(c.DSNVariable, "the DSN")
	c.Image = cmp.Or(c.Image, os.Getenv(imageVariable), defaultImage)
	c.BinDir = cmp.Or(c.BinDir, os.Getenv(binVariable))
	c.PullTimeout = min(cmp.Or(c.PullTimeout, maxPullTimeout), maxPullTimeout)
	c.StartTimeout = cmp.Or(c.StartTimeout, time.Minute)
	if c.LogFunc == nil {
		c.LogFunc = func(string, ...any) {}
	}
	return c
}

func (c Config) validate() error {
	for _, b := range c.Order {
		if !slices.Contains(Backends(), b) {
			return fmt.Errorf("server: unknown backend %q: use %s, %s or %s", b, DSN, Docker, Local)
		}
	}
	return nil
}

// Server is a running PostgreSQL server. Its fields are read-only.
type Server struct {
	// DSN reaches the server as a superuser:
	// postgres://user:password@host:port/postgres?sslmode=disable,
	// or [Config].DSN, word for word, with the DSN backend.
	DSN string

	// Backend is the way the server was come by.
	Backend Backend

	description string
	stopOnce    func() error
}

func newServer(b Backend, dsn, description string, stop func() error) *Server {
	return &Server{DSN: dsn, Backend: b, description: description, stopOnce: sync.OnceValue(stop)}
}

// Description is one line on what the server is and where it comes from,
// without any password.
func (s *Server) Description() string { return s.description }

// Stop ends the server and removes all that it stored. A server of the DSN
// backend is left alone. Stop may be called from any goroutine and more than
// once; each call returns the outcome of the first.
func (s *Server) Stop() error { return s.stopOnce() }

// Start returns the first server of cfg.Order that works. Where none does, the
// error is a [*StartError], which says what was tried, why each failed and what
// to install. The context bounds the start alone; the server outlives it.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	failed := &StartError{dsnVariable: cfg.DSNVariable, image: cfg.Image}
	for _, b := range cfg.Order {
		s, err := startBackend(ctx, cfg, b)
		if err == nil {
			return s, nil
		}
		cfg.LogFunc("%s: %v", b, err)
		failed.Attempts = append(failed.Attempts, Attempt{Backend: b, Err: err})
		if b == DSN && cfg.DSN != "" || ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

func startBackend(ctx context.Context, cfg Config, b Backend) (*Server, error) {
	switch b {
	case DSN:
		return useDSN(ctx, cfg)
	case Docker:
		return startDocker(ctx, cfg)
	default:
		return startLocal(ctx, cfg)
	}
}
