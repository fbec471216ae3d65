package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

// instances is how many processes start at once.
const instances = 10

// moment is the middle of a step, at which a process is killed.
type moment struct {
	name    string
	version int // of the step; 0 while there is nothing
	// hold is what somebody else has done, so that the step waits in the server.
	hold string
	// building means that the step is an index build, which by then has its index in
	// the catalogue, not valid.
	building bool
	// apart means that the step is no transaction, so that others see it half done.
	apart bool
}

// moments are those of a fresh Up: one in each step.
func moments(t *testing.T) []moment {
	t.Helper()
	list, builds, err := migrate.Load(migrate.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	var all []moment
	for _, table := range []string{"tenants", "audit_logs", "courtroll_migrations"} {
		all = append(all, moment{name: "create " + table, hold: `CREATE TABLE ` + table + ` ()`})
	}
	for i, m := range list {
		name := fmt.Sprintf("%03d_%s", m.Version, m.Name)
		recording := moment{name: name, version: m.Version, apart: builds[i],
			hold: fmt.Sprintf(`INSERT INTO courtroll_migrations (version, name, checksum) VALUES (%d, 'held', '')`, m.Version)}
		if !builds[i] {
			all = append(all, recording)
			continue
		}
		table, columns := "audit_logs", "(action, resource_type)"
		if strings.HasPrefix(m.Name, "tenants") {
			table, columns = "tenants", "(id, name, slug)"
		}
		values := strings.Repeat(", 'x'", strings.Count(columns, ",")+1)[2:]
		all = append(all, moment{name: name, version: m.Version, building: true, apart: true,
			hold: `INSERT INTO ` + table + ` ` + columns + ` VALUES (` + values + `)`})
		if m.Version == 2 {
			recording.name += ", built and not recorded"
			all = append(all, recording)
		}
	}
	return all
}

// process is one instance, which its session's application_name tells from the others.
type process struct {
	*exec.Cmd
	name string
	out  strings.Builder
}

func start(t *testing.T, ctx context.Context, dsn string, n int) *process {
	t.Helper()
	p := &process{Cmd: exec.CommandContext(ctx, os.Args[0]), name: fmt.Sprintf("instance-%d", n)}
	p.Env = append(os.Environ(), childVariable+"="+dsn, childUps+"=1", "PGAPPNAME="+p.name)
	p.Stdout, p.Stderr = &p.out, &p.out
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	return p
}

// In the middle of each step of a fresh Up the one of ten processes that works is killed.
// The others finish, and what they leave is what a lone Up leaves.
func TestUpSurvivesAKill(t *testing.T) {
	t.Parallel()
	lone := setup(t)
	lone.up(t)
	want := lone.blueprint(t)
	for i, m := range moments(t) {
		if (testing.Short() || underRace) && i%5 > 0 {
			continue // each takes ten processes, which the race detector makes slow to start
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			b := setup(t)
			if m.version > 0 {
				b.upTo(t, m.version-1)
			}
			before := b.blueprint(t)
			release := b.holdUp(t, m.hold)
			var running []*process
			for n := range instances {
				running = append(running, start(t, ctx, b.OwnerDSN, n))
			}
			victim := b.waiting(t, m, running)
			if diff := cmp.Diff(before, b.blueprint(t)); diff != "" && !m.apart {
				t.Errorf("a transaction shows before its end: %s", diff)
			}
			killed(t, victim)
			if m.building {
				b.notice(t, victim)
			}
			release()
			finish(t, slices.DeleteFunc(running, func(p *process) bool { return p == victim }))
			if diff := cmp.Diff(want, b.blueprint(t)); diff != "" {
				t.Errorf("lone (-), after the kill (+): %s", diff)
			}
			eventually(t, "the lock is free", func() bool { return b.advisoryLocks(t) == "0" })
		})
	}
}

// holdUp leaves a transaction open that has run the statement.
func (b *bundle) holdUp(t *testing.T, statement string) (release func()) {
	t.Helper()
	tx, err := b.sql.BeginTx(t.Context(), &sql.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}

// waiting returns the process that is in the middle of the step.
func (b *bundle) waiting(t *testing.T, m moment, running []*process) *process {
	t.Helper()
	var names []string
	eventually(t, "a process is in the middle of "+m.name, func() bool {
		names = b.lines(t, `SELECT application_name FROM pg_stat_activity
			WHERE datname = current_database() AND application_name LIKE 'instance-%' AND wait_event_type = 'Lock'`)
		return len(names) > 0 && (!m.building || len(b.invalid(t)) > 0)
	})
	at := slices.IndexFunc(running, func(p *process) bool { return p.name == names[0] })
	if len(names) != 1 || at < 0 {
		t.Fatalf("%q work at once", names)
	}
	return running[at]
}

// killed kills a process and demands that it died of that.
func killed(t *testing.T, p *process) {
	t.Helper()
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := p.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the process was to be killed in the middle: %v: %s", err, &p.out)
	}
}

// notice makes the server see that its client is gone, which it does by itself where
// client_connection_check_interval is set. Else it goes on to the end of the statement,
// and the index would be whole.
func (b *bundle) notice(t *testing.T, p *process) {
	t.Helper()
	const sessions = `FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1`
	b.lines(t, `SELECT pg_terminate_backend(pid)::text `+sessions, p.name)
	eventually(t, "the server noticed", func() bool { return b.line(t, `SELECT count(*)::text `+sessions, p.name) == "0" })
}

func finish(t *testing.T, running []*process) {
	t.Helper()
	for _, p := range running {
		if err := p.Wait(); err != nil {
			t.Errorf("%s: %v: %s", p.name, err, &p.out)
		}
	}
}
