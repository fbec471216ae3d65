package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// nowhere is an engine's endpoint where none answers.
const nowhere = "unix:///nonexistent/docker.sock"

// helperVariable makes the test binary start a server of that backend, say
// where, and hold it until its standard input ends or it is killed.
const helperVariable = "COURTROLL_SERVER_TEST_HELPER"

func TestMain(m *testing.M) {
	if backend := os.Getenv(helperVariable); backend != "" {
		os.Exit(hold(server.Backend(backend)))
	}
	os.Exit(m.Run())
}

// held is what a helper says about its server.
type held struct {
	DSN, Dir, Error string
}

func hold(b server.Backend) int {
	if b == daemon {
		return holdDaemon()
	}
	var h held
	s, err := server.Start(context.Background(), server.Config{Order: []server.Backend{b}})
	if err != nil {
		h.Error = err.Error()
	} else {
		h.DSN = s.DSN
		h.Dir, err = query(s.DSN, `SHOW data_directory`)
	}
	_ = json.NewEncoder(os.Stdout).Encode(h)
	if err != nil {
		return 1
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// daemon makes a helper hold a daemon instead.
const daemon server.Backend = "daemon"

func holdDaemon() int {
	d, err := server.NewDaemon()
	if err == nil {
		err = errors.Join(d.WriteFile("script", "exec tail -f "+d.Path("script")), d.Start("/bin/sh", d.Path("script")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	_ = json.NewEncoder(os.Stdout).Encode(held{Dir: d.Path("")})
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := d.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// helper is a process with a server.
type helper struct {
	held
	cmd   *exec.Cmd
	stdin io.Closer
}

// startHelper runs a helper whose temporary directory is temp.
func startHelper(t *testing.T, b server.Backend, temp string) *helper {
	t.Helper()
	h := &helper{cmd: exec.Command(os.Args[0])}
	h.cmd.Env = append(os.Environ(), helperVariable+"="+string(b), "TMPDIR="+temp)
	h.cmd.Stderr = os.Stderr
	stdin, err := h.cmd.StdinPipe()
	noError(t, err)
	h.stdin = stdin
	stdout, err := h.cmd.StdoutPipe()
	noError(t, err)
	noError(t, h.cmd.Start())
	t.Cleanup(func() { _ = h.end() })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	noError(t, err)
	noError(t, json.Unmarshal(line, &h.held))
	if h.Error != "" {
		t.Fatal(h.Error)
	}
	return h
}

// end lets the helper stop its server.
func (h *helper) end() error {
	_ = h.stdin.Close()
	return h.cmd.Wait()
}

// kill gives the helper no chance to clean up.
func (h *helper) kill(t *testing.T) {
	t.Helper()
	noError(t, h.cmd.Process.Kill())
	_ = h.cmd.Wait()
}

// start starts a server and stops it with the test.
func start(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	s, err := server.Start(t.Context(), cfg)
	noError(t, err)
	t.Cleanup(func() { noError(t, s.Stop()) })
	return s
}

func local() server.Config { return server.Config{Order: []server.Backend{server.Local}} }

// query returns one text from a server.
func query(dsn, sql string) (text string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	err = conn.QueryRow(ctx, sql).Scan(&text)
	return text, err
}

func mustQuery(t *testing.T, dsn, sql string) string {
	t.Helper()
	text, err := query(dsn, sql)
	noError(t, err)
	return text
}

// openTemp is a temporary directory that the account of a private server can
// enter; where root runs the tests, t.TempDir is not.
func openTemp(t *testing.T) string {
	t.Helper()
	base, err := server.TempDir()
	noError(t, err)
	dir, err := os.MkdirTemp(base, "courtroll-test-")
	noError(t, err)
	t.Cleanup(func() { noError(t, os.RemoveAll(dir)) })
	noError(t, os.Chmod(dir, 0o755))
	return dir
}

// fakeBin is a directory with an initdb and a postgres of shell.
func fakeBin(t *testing.T, initdb, postgres string) string {
	t.Helper()
	dir := openTemp(t)
	for name, script := range map[string]string{"initdb": initdb, "postgres": postgres} {
		noError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
	return dir
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}
