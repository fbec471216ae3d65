package pgtest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// childVariable makes the test binary a run on the server of that DSN, which
// says what its database is called and holds it until it is killed.
const childVariable = "COURTROLL_PGTEST_CHILD"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childVariable); dsn != "" {
		os.Exit(holdDatabase(dsn))
	}
	pgtest.Main(m)
}

func holdDatabase(dsn string) int {
	h := pgtest.NewHarness(io.Discard, onServer(dsn))
	return h.Main(func() int {
		r := newRecorder()
		fmt.Print(r.run(func(tb testing.TB) {
			fmt.Println(h.New(tb, projects).Name)
			_, _ = io.Copy(io.Discard, os.Stdin)
		}))
		return 0
	})
}

// child is such a process; run is the beginning of the names of what it made.
type child struct {
	cmd *exec.Cmd
	run string
}

func startChild(t *testing.T, dsn string) child {
	t.Helper()
	c := child{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), childVariable+"="+dsn)
	c.cmd.Stderr = os.Stderr
	stdin, err := c.cmd.StdinPipe()
	noError(t, err)
	stdout, err := c.cmd.StdoutPipe()
	noError(t, err)
	noError(t, c.cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close()
		_ = c.cmd.Wait()
	})
	name, err := bufio.NewReader(stdout).ReadString('\n')
	noError(t, err)
	end := strings.LastIndex(name, "_")
	if end < 0 {
		t.Fatalf("the child says %q", name)
	}
	c.run = name[:end]
	return c
}

func interrupt(t *testing.T, c child) {
	t.Helper()
	noError(t, c.cmd.Process.Signal(os.Interrupt))
	_ = c.cmd.Wait()
}

// privateServer is a configuration whose server ends with the run.
func privateServer() server.Config {
	return server.Config{Order: []server.Backend{server.Local, server.Docker}}
}

func waitUntil(t *testing.T, done func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !done(ctx) {
		time.Sleep(10 * time.Millisecond)
	}
}
