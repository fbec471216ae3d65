//go:build linux

package server_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

func TestDaemon(t *testing.T) {
	t.Parallel()
	d, err := server.NewDaemon()
	noError(t, err)
	noError(t, d.Mkdir("own", 0o711))
	noError(t, d.WriteFile("script", "echo $$ $(id -u); echo made > own/file; exec sleep 600"))
	noError(t, d.Start("/bin/sh", d.Path("script")))
	waitFor(t, func() bool { _, err := os.Stat(d.Path("own/file")); return err == nil })
	noError(t, d.Exited())
	pid, uid, _ := strings.Cut(d.LogTail(), " ")
	if uid == "0" {
		t.Error("it runs as root")
	}
	noError(t, d.Stop())
	if d.Exited() == nil {
		t.Error("it still runs")
	}
	if _, err := os.Stat(filepath.Join("/proc", pid)); err == nil {
		t.Error("it was not reaped")
	}
	if _, err := os.Stat(d.Path("")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestDaemonNotStarted(t *testing.T) {
	t.Parallel()
	d, err := server.NewDaemon()
	noError(t, err)
	if err := d.Start("/nonexistent/binary"); err == nil {
		t.Error("no error")
	}
	noError(t, d.Stop())
}

// TestSweepDaemon: a daemon ends with the next run, at the latest.
func TestSweepDaemon(t *testing.T) {
	t.Parallel()
	temp := openTemp(t)
	killed := startHelper(t, daemon, temp)
	living := startHelper(t, daemon, temp)
	killed.kill(t)
	if !runs(killed.Dir) {
		t.Fatal("the daemon went with its owner")
	}
	startHelper(t, daemon, temp)
	if _, err := os.Stat(killed.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
	if runs(killed.Dir) || !runs(living.Dir) {
		t.Errorf("killed run's: %v, living one's: %v", runs(killed.Dir), runs(living.Dir))
	}
}

// runs reports whether a process has a path in the directory as an argument.
func runs(dir string) bool {
	found, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range found {
		if args, err := os.ReadFile(path); err == nil && strings.Contains(string(args), dir) {
			return true
		}
	}
	return false
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
	}
}
