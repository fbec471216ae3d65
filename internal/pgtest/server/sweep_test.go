//go:build unix

package server_test

import (
	"errors"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// TestSweepLocal has a temporary directory of its own, where nobody but its
// helpers sweeps.
func TestSweepLocal(t *testing.T) {
	t.Parallel()
	temp := openTemp(t)
	living := startHelper(t, server.Local, temp)
	killed := startHelper(t, server.Local, temp)
	unlocked := filepath.Join(temp, "courtroll-new-1")
	foreign := filepath.Join(temp, "courtroll-pg-foreign")
	noError(t, errors.Join(os.Mkdir(unlocked, 0o700), os.Mkdir(foreign, 0o700)))

	killed.kill(t)
	mustQuery(t, killed.DSN, `SELECT 'outlives its owner'`)

	var sweepers sync.WaitGroup
	for range 2 {
		sweepers.Go(func() { startHelper(t, server.Local, temp) })
	}
	sweepers.Wait()

	if listens(t, killed.DSN) {
		t.Error("the killed run's server is still there")
	}
	if _, err := os.Stat(filepath.Dir(killed.Dir)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the killed run's directory is still there: %v", err)
	}
	mustQuery(t, living.DSN, `SELECT 'untouched'`)
	for _, dir := range []string{living.Dir, unlocked, foreign} {
		if _, err := os.Stat(dir); err != nil {
			t.Error(err)
		}
	}
}

// TestSweepLocalPIDReused: the number of a dead postmaster may belong to anybody.
func TestSweepLocalPIDReused(t *testing.T) {
	t.Parallel()
	temp := openTemp(t)
	killed := startHelper(t, server.Local, temp)
	bystander := startHelper(t, server.Local, openTemp(t))
	stray := postmaster(t, killed)
	noError(t, os.WriteFile(filepath.Join(killed.Dir, "postmaster.pid"), []byte(strconv.Itoa(postmaster(t, bystander))+"\n"), 0o600))
	killed.kill(t)
	startHelper(t, server.Local, temp)
	mustQuery(t, bystander.DSN, `SELECT 'untouched'`)
	noError(t, syscall.Kill(stray, syscall.SIGKILL))
}

// listens tells a server that is gone from one that merely lost its files.
func listens(t *testing.T, dsn string) bool {
	t.Helper()
	u, err := url.Parse(dsn)
	noError(t, err)
	conn, err := net.DialTimeout("tcp", u.Host, time.Second)
	if err != nil {
		return false
	}
	noError(t, conn.Close())
	return true
}

func postmaster(t *testing.T, h *helper) int {
	t.Helper()
	pid, err := strconv.Atoi(mustQuery(t, h.DSN, `SELECT split_part(pg_read_file('postmaster.pid'), E'\n', 1)`))
	noError(t, err)
	return pid
}
