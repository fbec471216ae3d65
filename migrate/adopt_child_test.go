package migrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// adoptVariable makes the test binary a process that adopts, and may be killed.
const adoptVariable = "COURTROLL_TEST_ADOPT"

// adoptJob is what such a process is to do.
type adoptJob struct {
	DSN, Source string
	// KillAt is the number of the report of progress at which it kills itself.
	KillAt int
	Wait   time.Duration
}

// adoption is a source, and whether clients are adopted before.
func (j adoptJob) adoption() (a migrate.Adoption) {
	switch j.Source {
	case "Parent":
		a.Parent, a.Orphans = "client_id", "nobody"
	case "Constant":
		a.Constant = "o'ne"
	case "SQL":
		a.SQL = `split_part(number, '-', 1)`
	case "Func":
		a.Func, a.Quiet = byNumber, 300*time.Millisecond
	}
	a.Pace = migrate.Pace{BatchTime: 10 * time.Millisecond}
	return a
}

func byNumber(_ context.Context, rows []map[string]any) (tenants []string, err error) {
	for _, row := range rows {
		tenant, _, _ := strings.Cut(row["number"].(string), "-")
		tenants = append(tenants, tenant)
	}
	return tenants, nil
}

const (
	childDone = iota
	childFailed
	childStillWritten
	childKilled
)

func adoptChild(text string) int {
	var job adoptJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return childFailed
	}
	err := job.run()
	switch {
	case errors.Is(err, migrate.ErrStillWritten):
		return childStillWritten
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		return childFailed
	}
	return childDone
}

func (j adoptJob) run() error {
	db, err := gorm.Open(postgres.Open(j.DSN), &gorm.Config{})
	if err != nil {
		return err
	}
	seen := 0
	m := migrate.New(db, migrate.Config{TableLockTimeout: j.Wait, TableLockRetries: 200, Progress: func(migrate.Progress) {
		if seen++; seen == j.KillAt {
			_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
		}
	}})
	if j.Source == "Parent" {
		if _, err := m.Adopt(context.Background(), &Client{}, migrate.Adoption{SQL: tenantOfClient, Pace: j.adoption().Pace}); err != nil {
			return err
		}
	}
	_, err = m.Adopt(context.Background(), &Bill{}, j.adoption())
	return err
}

// start runs the job in a process of its own, kills it when ctx ends, and says how it ended.
func (j adoptJob) start(t testing.TB, ctx context.Context) int {
	t.Helper()
	command := exec.CommandContext(ctx, os.Args[0])
	command.Env = append(os.Environ(), adoptVariable+"="+string(must(json.Marshal(j))))
	var out bytes.Buffer
	command.Stdout, command.Stderr = &out, &out
	err := command.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return childDone
	case errors.As(err, &exit) && !exit.Exited():
		return childKilled
	case errors.As(err, &exit) && exit.ExitCode() == childStillWritten:
		return childStillWritten
	}
	t.Fatalf("%v: %s", err, out.String())
	return childFailed
}
