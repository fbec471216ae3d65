package replay

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
)

// Kinds of outcomes.
const (
	succeeded  = "succeeded"
	again      = "again" // another transaction got in the way: to be run again
	unexpected = "unexpected"
)

// classify says what an error is. Of those that are no part of a program's plan
// none is accepted: a change that the audit plugin makes fail is a fault.
func classify(err error) (kind string, _ error) {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return succeeded, nil
	case errors.Is(err, audit.ErrAudit):
		return again, err
	case errors.Is(err, context.Canceled), errors.Is(err, sql.ErrTxDone), lost.MatchString(err.Error()):
		return "cancelled", err
	case errors.As(err, &pg):
		return ofState(pg.Code), err
	}
	for kind, known := range map[string]error{
		"not found": gorm.ErrRecordNotFound, "duplicated key": gorm.ErrDuplicatedKey, "foreign key": gorm.ErrForeignKeyViolated,
		"check": gorm.ErrCheckConstraintViolated, "no condition": gorm.ErrMissingWhereClause, "rolled back": errRolledBack, "panicked": errPanic,
	} {
		if errors.Is(err, known) {
			return kind, err
		}
	}
	return unexpected, err
}

// lost is a connection that was given up with its context. Where GORM has two
// errors, the first one can be told by its text alone.
var lost = regexp.MustCompile(`context canceled|conn closed|bad connection`)

func ofState(code string) string {
	switch code {
	case "40001", "40P01":
		return again
	case "23505":
		return "duplicated key"
	case "23503":
		return "foreign key"
	case "23514", "23502":
		return "check"
	case "21000":
		return "a key twice in an upsert"
	case "57014":
		return "cancelled"
	case "22003", "22008":
		return "out of range"
	}
	return unexpected
}

// tally is how often a kind of operation ran, and how often without an error.
type tally struct{ ran, succeeded int }

// coverage counts what the programs did.
type coverage struct {
	mu                      sync.Mutex
	operations, succeeded   int
	kinds                   map[string]*tally
	actions, errors         map[string]int
	entries, quiet, deepest int // versions without an entry; entries of one transaction
}

func (c *coverage) count(o op, outcome string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations++
	if outcome == succeeded {
		c.succeeded++
	} else {
		c.errors[outcome]++
	}
	c.add(o, outcome)
}

// add counts an operation and those in it.
func (c *coverage) add(o op, outcome string) {
	if c.kinds[o.kind] == nil {
		c.kinds[o.kind] = &tally{}
	}
	c.kinds[o.kind].ran++
	if outcome == succeeded {
		c.kinds[o.kind].succeeded++
	}
	for _, inner := range o.inner {
		c.add(inner, outcome)
	}
}

func (c *coverage) countEntries(entries []entry, versions []version) {
	perTransaction := map[string]int{}
	for _, e := range entries {
		c.actions[e.Table+" "+e.Action]++
		perTransaction[e.Xid]++
		c.deepest = max(c.deepest, perTransaction[e.Xid])
	}
	c.entries += len(entries)
	c.quiet += len(versions) - len(entries)
}

// actionFloors are the actions that have to be seen, of each table.
var actionFloors = map[string][]string{
	"things": {"create", "update", "delete", "soft_delete", "restore"}, "owners": {"create", "update", "delete"},
	"slots": {"create", "update", "delete"}, "labels": {"create", "delete"}, "owner_labels": {"create", "delete"}, "tickets": {"create", "update", "delete"},
}

// report prints the coverage and holds it against its floors: with a hundred
// programs, most operations succeed and each action is seen; with 300 each kind of
// operation has succeeded; with 10,000 each has many times.
func (c *coverage) report(t *testing.T, programs int) {
	t.Helper()
	t.Logf("%d programs, %d operations, %d%% succeeded; %d entries, up to %d in a transaction, %d versions that were no change; errors: %v",
		programs, c.operations, 100*c.succeeded/c.operations, c.entries, c.deepest, c.quiet, c.errors)
	floor := 0
	switch {
	case programs >= 10_000:
		floor = 100
	case programs >= 300:
		floor = 1
	}
	for _, kind := range slices.Sorted(maps.Keys(c.kinds)) {
		t.Logf("%6d %6d %s", c.kinds[kind].ran, c.kinds[kind].succeeded, kind)
	}
	if programs < 100 {
		return
	}
	if 100*c.succeeded < 50*c.operations || c.entries < 5*programs || c.deepest < 5 || c.quiet < programs/10 {
		t.Error("the programs do not reach what they are for")
	}
	for name, all := range actionFloors {
		for _, action := range all {
			if c.actions[name+" "+action] <= floor {
				t.Errorf("%s %s: seen %d times", name, action, c.actions[name+" "+action])
			}
		}
	}
	for _, kind := range kinds() {
		if tally := c.kinds[kind]; floor > 0 && (tally == nil || tally.succeeded < floor) {
			t.Errorf("%s: %+v, want %d that succeeded", kind, tally, floor)
		}
	}
	for _, outcome := range []string{"rolled back", "panicked", "cancelled", "duplicated key", "foreign key", "check"} {
		if !strings.Contains(strings.Join(slices.Collect(maps.Keys(c.errors)), ","), outcome) {
			t.Errorf("nothing was %s", outcome)
		}
	}
}
