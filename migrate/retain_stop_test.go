package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// retainVariable makes the test binary a process that runs Retain on that DSN.
const retainVariable = "COURTROLL_TEST_RETAIN_DSN"

// slow makes many small batches of what there is.
var slow = migrate.Pace{BatchTime: time.Millisecond, Rest: -1}

func retainChild(dsn string) int {
	db, err := gorm.Open(postgres.Open(dsn), &gorm.Config{})
	if err == nil {
		_, err = migrate.New(db, migrate.Config{Progress: func(migrate.Progress) { fmt.Println("a batch") }}).
			Retain(context.Background(), migrate.Retention{Before: since(1_000_000), Reason: "child", Pace: slow})
	}
	return exitCode(err)
}

const recorded = `SELECT coalesce(sum((metadata->'data'->>'count')::bigint), 0)::text FROM audit_logs WHERE action = 'audit_logs.purge'`

// Wherever it is stopped, what is gone is in the records, and the next run goes on.
func TestRetainStopped(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	const total = 16_000
	d.fill(t, total/2, "a", "b")
	sums := func() {
		t.Helper()
		got := d.super.line(t, `SELECT ((`+recorded+`)::bigint + count(*))::text FROM audit_logs WHERE action <> 'audit_logs.purge'`)
		if got != itoa(total) {
			t.Errorf("entries and records are %s together, want %d", got, total)
		}
	}
	for stop := 1; stop <= 4; stop++ {
		ctx, cancel := context.WithCancel(t.Context())
		n := 0
		done, err := d.keeper(func(migrate.Progress) {
			if n++; n == stop {
				cancel()
			}
		}).Retain(ctx, migrate.Retention{Before: since(1_000_000), Reason: "stopped", Pace: slow})
		cancel()
		var failed *migrate.RetainError
		if !errors.As(err, &failed) || !errors.Is(err, context.Canceled) || failed.Done.Rows != done.Rows || done.Batches != int64(stop) {
			t.Errorf("got %+v, %v", done, err)
		}
		sums()
	}
	for range 2 {
		command := exec.CommandContext(t.Context(), os.Args[0])
		command.Env = append(os.Environ(), retainVariable+"="+d.OwnerDSN)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		_ = command.Process.Kill()
		_ = command.Wait()
		sums()
	}
	if _, err := d.keeper(nil).Retain(t.Context(), migrate.Retention{Before: since(1_000_000), Reason: "the rest", Pace: full}); err != nil {
		t.Fatal(err)
	}
	sums()
	if left := d.count(t, `action <> 'audit_logs.purge'`); left != "0" {
		t.Errorf("%s are left", left)
	}
}

// Two at once remove each entry once, and record it once.
func TestRetainTwice(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.fill(t, 3000, "a", "")
	errs := make(chan error, 2)
	for range 2 {
		m := migrate.New(d.owner, migrate.Config{})
		go func() {
			_, err := m.Retain(t.Context(), migrate.Retention{Before: since(2001), Reason: "twice", Pace: slow})
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	if got := d.super.line(t, recorded); got != "4000" || d.count(t, `action <> 'audit_logs.purge'`) != "2000" {
		t.Errorf("%s are recorded", got)
	}
}

// The records stay, and so do other tenants' entries; a tenant's record names no other.
func TestRetainOfATenant(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.fill(t, 30, "a", "b", "")
	for range 2 {
		done, err := d.keeper(nil).Retain(t.Context(), migrate.Retention{Before: since(21), Reason: "it left", TenantID: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if n := d.count(t, `tenant_id = 'a' AND action = 'audit_logs.purge' AND metadata->'data'->>'count' = '20' AND NOT metadata->'data' ? 'tenants'`); n != "1" {
			t.Errorf("%s records after %+v", n, done)
		}
	}
	if _, err := migrate.New(d.owner, migrate.Config{}).Retain(t.Context(), migrate.Retention{Before: time.Now().Add(-time.Millisecond), Reason: "all"}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(d.super.lines(t, `SELECT concat_ws(' ', tenant_id, metadata->'data'->>'count') FROM audit_logs ORDER BY created_at`), ", "); got != "a 20, 70" {
		t.Errorf("got %s", got)
	}
}

func TestRetainRefuses(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.fill(t, 5, "a")
	good := migrate.Retention{Before: since(9), Reason: "x"}
	for name, r := range map[string]migrate.Retention{
		"no time": {Reason: "x"}, "no reason": {Before: since(9)}, "a blank reason": {Before: since(9), Reason: " "},
		"the future": {Before: time.Now().Add(time.Hour), Reason: "x"}, "a blank tenant": {Before: since(9), Reason: "x", TenantID: " "},
	} {
		if _, err := d.keeper(nil).Retain(t.Context(), r); !errors.Is(err, migrate.ErrRetention) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := migrate.New(d.Open(postgresOf(d.logins["trusted"]), &gorm.Config{}), migrate.Config{}).Retain(t.Context(), good); code(err) != "42501" {
		t.Errorf("a trusted role: got %v", err)
	}
	d.exec(t, `CREATE POLICY mine ON audit_logs AS RESTRICTIVE USING (tenant_id <> 'a')`)
	if _, err := d.keeper(nil).Retain(t.Context(), good); code(err) != "55000" {
		t.Errorf("behind a restrictive policy: got %v", err)
	}
	if got := d.count(t, "true"); got != "5" {
		t.Errorf("%s are left", got)
	}
	if _, err := migrate.New(setupDesk(t, false).owner, migrate.Config{}).Retain(t.Context(), good); !errors.Is(err, migrate.ErrNotAppendOnly) {
		t.Errorf("without AppendOnly: got %v", err)
	}
}
