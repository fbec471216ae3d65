package lifecycle

import (
	"slices"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

// pollTime is how often it is looked whether a transaction has ended.
const pollTime = 20 * time.Millisecond

// runningSQL lists the transactions of the database, prepared ones too, by names that no
// later one has. It needs no privilege.
const runningSQL = `SELECT l.virtualxid AS id FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a USING (pid)
		WHERE l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock' AND a.datname = current_database() AND a.usesysid IS NOT NULL
		AND pid <> pg_backend_pid()
	UNION ALL SELECT 'prepared ' || transaction::text FROM pg_catalog.pg_prepared_xacts WHERE database = current_database()`

// outlast waits until the transactions that run now have ended: a statement among them
// may have been let through before the tenant was suspended, and write after that. It
// waits for whoever has one open, for whose rows it will write is not known before.
func (c catalogue) outlast(progress func(Progress)) error {
	type running struct{ ID string }
	before, err := read[running](c, runningSQL)
	start := time.Now()
	for err == nil && len(before) > 0 {
		progress(Progress{Step: "waiting for transactions that began before", Total: int64(len(before)), Elapsed: time.Since(start)})
		if err := pace.Sleep(c.ctx, pollTime); err != nil {
			return err
		}
		var now []running
		now, err = read[running](c, runningSQL)
		before = slices.DeleteFunc(before, func(r running) bool { return !slices.Contains(now, r) })
	}
	return err
}
