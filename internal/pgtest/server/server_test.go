package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

func TestStart(t *testing.T) {
	t.Parallel()

	t.Run("ErrNoneAvailable", func(t *testing.T) {
		t.Parallel()
		_, err := server.Start(t.Context(), server.Config{
			DSNVariable: "SOME_DSN", DockerHost: nowhere, BinDir: "/nonexistent/bin", Image: "postgres:15",
		})
		var failed *server.StartError
		if !errors.As(err, &failed) || len(failed.Attempts) != 3 {
			t.Fatalf("got %v", err)
		}
		wantText(t, err.Error(),
			"dsn: SOME_DSN is not set", "docker: no Docker engine answers at "+nowhere, "local: looking for PostgreSQL in /nonexistent/bin",
			"apt-get install postgresql-15", "start Docker with a postgres:15 image", "set SOME_DSN")
	})

	t.Run("ErrUnknownBackend", func(t *testing.T) {
		t.Parallel()
		_, err := server.Start(t.Context(), server.Config{Order: []server.Backend{"podman"}})
		if err == nil {
			t.Fatal("no error")
		}
		wantText(t, err.Error(), `"podman"`, "dsn", "docker", "local")
	})

	t.Run("ErrNamedServerIsNotReplaced", func(t *testing.T) {
		t.Parallel()
		_, err := server.Start(t.Context(), server.Config{
			Order: []server.Backend{server.DSN, server.Local}, DSN: "postgres://u:secret@127.0.0.1:1/x?connect_timeout=2", DSNVariable: "SOME_DSN",
		})
		var failed *server.StartError
		if !errors.As(err, &failed) || len(failed.Attempts) != 1 {
			t.Fatalf("got %v", err)
		}
		wantText(t, err.Error(), "using SOME_DSN")
		if strings.Contains(err.Error(), "secret") {
			t.Error("the error shows the password")
		}
	})

	t.Run("OrderIsTheCallers", func(t *testing.T) {
		t.Parallel()
		var log strings.Builder
		s := start(t, server.Config{
			Order: []server.Backend{server.Docker, server.DSN, server.Local}, DockerHost: nowhere,
			LogFunc: func(format string, args ...any) { log.WriteString(format) },
		})
		if s.Backend != server.Local {
			t.Errorf("took %s", s.Backend)
		}
		if n := strings.Count(log.String(), "%s: %v"); n != 2 {
			t.Errorf("logged %d failures, want 2: %s", n, log.String())
		}
	})

	t.Run("ErrCanceled", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := server.Start(ctx, local())
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDSN(t *testing.T) {
	t.Parallel()
	owner := start(t, local())
	s, err := server.Start(t.Context(), server.Config{DSN: owner.DSN, DSNVariable: "SOME_DSN"})
	noError(t, err)
	if s.Backend != server.DSN || s.DSN != owner.DSN {
		t.Errorf("got %s %s", s.Backend, s.DSN)
	}
	wantText(t, s.Description(), "PostgreSQL ", " from SOME_DSN")
	noError(t, s.Stop())
	mustQuery(t, owner.DSN, `SELECT 'still here'`)
}

// TestWaitReadyTriesEachAddress: a published port may not work where the
// container's own address does.
func TestWaitReadyTriesEachAddress(t *testing.T) {
	t.Parallel()
	s := start(t, local())
	running := func() error { return nil }
	dsn, _, err := server.WaitReady(t.Context(), running, "postgres://postgres@127.0.0.1:1/postgres", s.DSN)
	noError(t, err)
	if dsn != s.DSN {
		t.Errorf("took %s", dsn)
	}
}
