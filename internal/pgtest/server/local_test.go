package server_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

func TestLocal(t *testing.T) {
	t.Parallel()
	s := start(t, local())
	u, err := url.Parse(s.DSN)
	noError(t, err)

	t.Run("DescribesItself", func(t *testing.T) {
		t.Parallel()
		version, _, _ := strings.Cut(mustQuery(t, s.DSN, `SHOW server_version`), " ")
		wantText(t, s.Description(), "PostgreSQL "+version+" from /", ", private")
		password, _ := u.User.Password()
		if strings.Contains(s.Description(), password) || strings.Contains(s.Description(), "\n") {
			t.Errorf("got %q", s.Description())
		}
	})

	t.Run("LoginIsSuperuser", func(t *testing.T) {
		t.Parallel()
		if got := mustQuery(t, s.DSN, `SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user`); got != "true" {
			t.Error("not a superuser")
		}
	})

	t.Run("ErrWrongPassword", func(t *testing.T) {
		t.Parallel()
		other := *u
		other.User = url.UserPassword("postgres", "guess")
		_, err := query(other.String(), `SELECT ''`)
		if err == nil || !strings.Contains(err.Error(), "28P01") {
			t.Errorf("got %v", err)
		}
	})

	t.Run("ListensOnLoopbackOnly", func(t *testing.T) {
		t.Parallel()
		got := mustQuery(t, s.DSN, `SELECT current_setting('listen_addresses') || ' ' || current_setting('unix_socket_directories')`)
		if got != "127.0.0.1 " {
			t.Errorf("listens on %q", got)
		}
	})

	t.Run("KeepsDataToItself", func(t *testing.T) {
		t.Parallel()
		if runtime.GOOS == "windows" {
			t.Skip("windows has no permission bits")
		}
		info, err := os.Stat(mustQuery(t, s.DSN, `SHOW data_directory`))
		noError(t, err)
		if info.Mode().Perm() != 0o700 {
			t.Errorf("the data directory has mode %s", info.Mode())
		}
	})
}

func TestLocalStop(t *testing.T) {
	t.Parallel()
	s, err := server.Start(t.Context(), local())
	noError(t, err)
	dir := filepath.Dir(mustQuery(t, s.DSN, `SHOW data_directory`))
	var calls sync.WaitGroup
	for range 3 {
		calls.Go(func() {
			if err := s.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there: %v", dir, err)
	}
	if _, err := query(s.DSN, `SELECT ''`); err == nil {
		t.Error("the server still answers")
	}
}

func TestLocalSeveralAtOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	dirs := map[string]bool{}
	t.Run("Start", func(t *testing.T) {
		for i := range 3 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				dir := mustQuery(t, start(t, local()).DSN, `SHOW data_directory`)
				mu.Lock()
				defer mu.Unlock()
				dirs[dir] = true
			})
		}
	})
	if len(dirs) != 3 {
		t.Errorf("got %v", dirs)
	}
}

// TestLocalErrors puts shell scripts in the place of the binaries.
func TestLocalErrors(t *testing.T) {
	t.Parallel()
	const current = `if [ "$1" = --version ]; then echo 'postgres (PostgreSQL) 15.18 (Debian 15.18-0)'; exit; fi; `
	for name, c := range map[string]struct {
		initdb, postgres string
		want             []string
	}{
		"ErrTooOld": {
			postgres: `echo 'postgres (PostgreSQL) 14.9'`,
			want:     []string{"PostgreSQL 14.9", "PostgreSQL 15 or newer is needed"},
		},
		"ErrNoVersion": {
			postgres: `echo hello`,
			want:     []string{"reading postgres --version", "hello"},
		},
		"ErrInitdb": {
			initdb:   `echo 'initdb: no room' >&2; exit 1`,
			postgres: current,
			want:     []string{"initdb as ", "initdb: no room"},
		},
		"ErrServerExits": {
			postgres: current + `echo 'FATAL:  out of luck' >&2; exit 1`,
			want:     []string{"starting /", "the server exited", "FATAL:  out of luck"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := local()
			cfg.BinDir = fakeBin(t, c.initdb, c.postgres)
			_, err := server.Start(t.Context(), cfg)
			if err == nil {
				t.Fatal("no error")
			}
			wantText(t, err.Error(), append(c.want, "apt-get install postgresql-15")...)
		})
	}
}

// TestLocalLinkedBinaries: initdb finds its files relative to where it really is.
func TestLocalLinkedBinaries(t *testing.T) {
	t.Parallel()
	real := mustQuery(t, start(t, local()).DSN, `SELECT setting FROM pg_config() WHERE name = 'BINDIR'`)
	link := filepath.Join(openTemp(t), "bin")
	noError(t, os.Symlink(real, link))
	cfg := local()
	cfg.BinDir = link
	wantText(t, start(t, cfg).Description(), real)
}
