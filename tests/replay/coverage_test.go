package replay

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"regexp"
	"slices"
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
	case "22000", "22003", "22008", "2202E":
		return "out of range, or not of the same dimensions"
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
	"slots": {"create", "update", "delete"}, "labels": {"create", "delete"}, "owner_labels": {"create", "delete"}, "tickets": {"create", "update", "delete"}, "traps": {"create", "update", "delete"},
}

// report prints the coverage and holds it against its floors. With a hundred
// programs or more most operations succeed, and each way of losing a change is seen;
// with fewer, chance decides. With 200 each action is seen and each kind of operation
// ran, with 1,000 each has succeeded, with 10,000 each has many times.
func (c *coverage) report(t *testing.T, programs int) {
	t.Helper()
	t.Logf("%d programs, %d operations, %d%% succeeded; %d entries, up to %d in a transaction, %d versions that were no change; errors: %v",
		programs, c.operations, 100*c.succeeded/c.operations, c.entries, c.deepest, c.quiet, c.errors)
	for _, kind := range slices.Sorted(maps.Keys(c.kinds)) {
		t.Logf("%6d %6d %s", c.kinds[kind].ran, c.kinds[kind].succeeded, kind)
	}
	if programs < 100 {
		return
	}
	if 100*c.succeeded < 50*c.operations || c.entries < 4*programs || c.deepest < 4 || c.quiet < programs/20 {
		t.Error("the programs do not reach what they are for")
	}
	for _, outcome := range []string{"rolled back", "panicked", "cancelled", "duplicated key", "foreign key", "check"} {
		if c.errors[outcome] == 0 {
			t.Errorf("no operation ended as %s", outcome)
		}
	}
	if programs >= 200 {
		c.wantActions(t)
		c.wantKinds(t, programs)
	}
}

func (c *coverage) wantActions(t *testing.T) {
	t.Helper()
	for name, all := range actionFloors {
		for _, action := range all {
			if c.actions[name+" "+action] == 0 {
				t.Errorf("%s %s: not seen", name, action)
			}
		}
	}
}

func (c *coverage) wantKinds(t *testing.T, programs int) {
	t.Helper()
	ran, succeeded := 1, 0
	switch {
	case programs >= 10_000:
		ran, succeeded = 200, 100
	case programs >= 1000:
		ran, succeeded = 20, 1
	}
	for _, kind := range kinds() {
		got := tally{}
		if c.kinds[kind] != nil {
			got = *c.kinds[kind]
		}
		if got.ran < ran || got.succeeded < succeeded {
			t.Errorf("%s ran %d times, %d without an error, want %d and %d", kind, got.ran, got.succeeded, ran, succeeded)
		}
	}
}
