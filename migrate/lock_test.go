package migrate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// startUps runs n Ups on one handle together and returns all they applied.
func startUps(ctx context.Context, db *gorm.DB, n int) ([]migrate.Migration, error) {
	results, failures := make([]migrate.Result, n), make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() { results[i], failures[i] = migrate.New(db, migrate.Config{}).Up(ctx) })
	}
	group.Wait()
	applied := []migrate.Migration{}
	for _, r := range results {
		applied = append(applied, r.Applied...)
	}
	return applied, errors.Join(failures...)
}

// child is an instance in a process of its own. It writes what it applied, and
// nothing else.
func child(dsn string) int {
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	applied, err := startUps(ctx, db, upsOfChild())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return exitCode(json.NewEncoder(os.Stdout).Encode(applied))
}

// upsOfChild is how many Ups a child starts together.
func upsOfChild() int {
	if n, err := strconv.Atoi(os.Getenv(childUps)); err == nil {
		return n
	}
	return 3
}

func exitCode(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

// runChild starts the test binary again and returns what its Ups applied.
func runChild(ctx context.Context, dsn string) (applied []migrate.Migration, err error) {
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), childVariable+"="+dsn)
	out, err := command.CombinedOutput()
	if err == nil {
		err = json.Unmarshal(out, &applied)
	}
	if err != nil {
		return nil, fmt.Errorf("running a second process: %w: %s", err, out)
	}
	return applied, nil
}

// Ten goroutines and two further processes start at once on a database whose
// tables another program filled, so that the index builds have work to do while
// the others wait.
func TestUpOnceForManyInstances(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	b := setup(t)
	b.exec(t, foreignTables...)
	b.exec(t, `INSERT INTO audit_logs (tenant_id, actor_id, action, resource_type, resource_id)
		SELECT 't' || g % 7, 'a' || g % 5, 'update', 'things', g % 100 FROM generate_series(1, 20000) g`)

	applied, failures := make([][]migrate.Migration, 3), make([]error, 3)
	var group sync.WaitGroup
	group.Go(func() { applied[0], failures[0] = startUps(ctx, b.owner, 10) })
	group.Go(func() { applied[1], failures[1] = runChild(ctx, b.OwnerDSN) })
	group.Go(func() { applied[2], failures[2] = runChild(ctx, b.OwnerDSN) })
	group.Wait()
	if err := errors.Join(failures...); err != nil {
		t.Fatal(err)
	}
	want, _, err := migrate.Load(migrate.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, slices.Concat(applied...)); diff != "" {
		t.Errorf("together they should have applied each version once: %s", diff)
	}
	if got := b.invalid(t); len(got) > 0 {
		t.Errorf("invalid indexes: %s", got)
	}
	if got := b.advisoryLocks(t); got != "0" {
		t.Errorf("got %s advisory locks left", got)
	}
}

// hold takes the lock in another session and returns what gives it back.
func (b *bundle) hold(t testing.TB) (release func()) {
	t.Helper()
	conn, err := b.sql.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	lock := func(function string) {
		if _, err := conn.ExecContext(t.Context(), `SELECT `+function+`($1)`, migrate.LockKey); err != nil {
			t.Fatal(err)
		}
	}
	lock("pg_advisory_lock")
	return func() { lock("pg_advisory_unlock") }
}

func TestUpErrLocked(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		timeout time.Duration
	}{
		{"after the timeout", 100 * time.Millisecond},
		{"at once with a negative one", -1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.hold(t)
			begin := time.Now()
			_, err := migrate.New(b.owner, migrate.Config{LockTimeout: test.timeout}).Up(t.Context())
			if !errors.Is(err, migrate.ErrLocked) {
				t.Errorf("got %v, want ErrLocked", err)
			}
			if waited := time.Since(begin); waited < test.timeout {
				t.Errorf("gave up after %s, want %s", waited, test.timeout)
			}
			if got := b.catalogue(t); got != "" {
				t.Errorf("something was made:\n%s", got)
			}
		})
	}
}

func TestUpWaitsForTheLock(t *testing.T) {
	t.Parallel()

	t.Run("and goes on when it is free", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		release := b.hold(t)
		failed := make(chan error, 1)
		go func() {
			_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
			failed <- err
		}()
		select {
		case err := <-failed:
			t.Fatalf("did not wait: %v", err)
		case <-time.After(200 * time.Millisecond):
		}
		release()
		if err := <-failed; err != nil {
			t.Error(err)
		}
	})

	t.Run("without a statement that waits in the server", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.hold(t)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() {
			_, err := migrate.New(b.owner, migrate.Config{}).Up(ctx)
			failed <- err
		}()
		for range 20 {
			if got := b.advisoryLocks(t); got != "1" {
				t.Fatal("a session blocks on the lock, which deadlocks with a concurrent index build")
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

func TestUpGivesTheLockBack(t *testing.T) {
	t.Parallel()

	t.Run("after an error", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, `CREATE VIEW tenants AS SELECT 1`)
		if _, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context()); err == nil {
			t.Fatal("got no error")
		}
		if got := b.advisoryLocks(t); got != "0" {
			t.Errorf("got %s advisory locks left", got)
		}
	})

	t.Run("after the context ended between statements", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		ctx, cancel := context.WithCancel(t.Context())
		cfg := migrate.Config{Logger: onMessage("created table", cancel)}
		if _, err := migrate.New(b.owner, cfg).Up(ctx); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v, want context.Canceled", err)
		}
		// pgx closes a connection on which BEGIN was cancelled; the server notices soon.
		eventually(t, "the lock is free", func() bool { return b.advisoryLocks(t) == "0" })
		b.up(t)
	})

	t.Run("after the context ended behind the last statement", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.sql.SetMaxOpenConns(1)
		backend := b.line(t, `SELECT pg_backend_pid()::text`)
		ctx, cancel := context.WithCancel(t.Context())
		one := files("001_a.up.sql", "SELECT 1;", "001_a.down.sql", "SELECT 1;")
		cfg := migrate.Config{Logger: onMessage("applied migration", cancel)}
		if _, err := migrate.New(b.owner, cfg).WithFiles(one).Up(ctx); err != nil {
			t.Fatal(err)
		}
		if got := b.advisoryLocks(t); got != "0" {
			t.Errorf("got %s advisory locks left", got)
		}
		if b.line(t, `SELECT pg_backend_pid()::text`) != backend {
			t.Error("the connection was thrown away")
		}
	})

	t.Run("by dying", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		cfg := migrate.Config{Logger: onMessage("created table", func() {
			b.exec(t, `SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'
				AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
		})}
		var upErr *migrate.UpError
		if _, err := migrate.New(b.owner, cfg).Up(t.Context()); !errors.As(err, &upErr) {
			t.Fatalf("got %v, want an UpError", err)
		}
		b.up(t)
	})
}

func TestJitter(t *testing.T) {
	t.Parallel()
	const d = 100 * time.Millisecond
	seen := map[time.Duration]bool{}
	for range 1000 {
		got := migrate.Jitter(d)
		if got < d/2 || got >= d+d/2 {
			t.Fatalf("got %s for %s", got, d)
		}
		seen[got] = true
	}
	if len(seen) < 100 {
		t.Errorf("got %d different pauses of 1000", len(seen))
	}
}
