package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// horizonSQL reads the transactions that may have written entries that are not to
// be seen yet: those that hold the lock that writing the trail takes. A statement
// takes it before it reads the clock for an entry, and keeps it to the end of the
// transaction, so every other transaction's entries are to be seen, or will have a
// later time than this statement, whose own time is that of its arrival.
//
// Where another program made the table so that entries have the time of the
// transaction's start, it is all transactions of the database that count, with a
// second for those that have a time already and are not to be seen yet.
//
// When a transaction began is not shown of other logins but to members of
// pg_read_all_stats, and of none where track_activities is off. Of one that ended
// while this was read it is not shown either.
const horizonSQL = `
WITH RECURSIVE trail AS (
	SELECT '` + models.AuditLogsTable + `'::regclass::oid AS oid, '' AS otherwise
	UNION SELECT i.inhrelid, 'clock_timestamp()' FROM trail JOIN pg_catalog.pg_inherits i ON i.inhparent = trail.oid
), early AS (
	SELECT FROM trail JOIN pg_catalog.pg_attribute a ON a.attrelid = trail.oid AND a.attname = 'created_at'
	LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
	WHERE coalesce(pg_get_expr(d.adbin, d.adrelid), otherwise) <> 'clock_timestamp()'
), writers AS (
	SELECT l.pid, l.virtualtransaction AS id FROM pg_catalog.pg_locks l
	WHERE l.granted AND l.locktype = 'relation' AND l.mode = 'RowExclusiveLock' AND l.relation IN (SELECT oid FROM trail)
		AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
	UNION
	SELECT l.pid, l.virtualtransaction FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
	WHERE EXISTS (SELECT FROM early) AND l.locktype = 'virtualxid' AND l.mode = 'ExclusiveLock'
		AND a.datname = current_database() AND a.usesysid IS NOT NULL -- as autovacuum has none
), open AS (
	SELECT w.pid, w.id, a.xact_start FROM writers w LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = w.pid
	WHERE w.pid IS DISTINCT FROM pg_backend_pid()
)
SELECT json_build_object(
	'now', (extract(epoch FROM statement_timestamp() - CASE WHEN EXISTS (SELECT FROM early) THEN interval '1 second' ELSE '0' END) * 1000000)::bigint,
	'oldest', (SELECT (extract(epoch FROM min(xact_start)) * 1000000)::bigint FROM open),
	'open', (SELECT coalesce(json_agg(id), '[]') FROM open),
	'hidden', (SELECT coalesce(json_agg(id), '[]') FROM open WHERE xact_start IS NULL),
	'prepared', EXISTS (SELECT FROM open WHERE pid IS NULL),
	'standby', pg_is_in_recovery(),
	'unbound', row_security_active('` + models.AuditLogsTable + `') AND nullif(current_setting('` + models.TenantSetting + `', true), '') IS NULL AND EXISTS (
		SELECT FROM pg_catalog.pg_policy WHERE polrelid = '` + models.AuditLogsTable + `'::regclass AND polname = 'courtroll_app_select'))::text`

// sight is what [horizonSQL] returns, times in microseconds.
type sight struct {
	Now      int64    `json:"now"`
	Oldest   *int64   `json:"oldest"` // nil where nothing is open, or shown
	Open     []string `json:"open"`   // transactions
	Hidden   []string `json:"hidden"` // those of which the begin is not shown
	Prepared bool     `json:"prepared"`
	Standby  bool     `json:"standby"`
	Unbound  bool     `json:"unbound"` // row-level security hides a tenant's entries from its own context
}

// Of a transaction whose start cannot be seen its end is waited for.
const (
	defaultWait = 10 * time.Second
	hiddenPoll  = 20 * time.Millisecond
)

// horizon returns a time before which no entry will appear any more.
func horizon(ctx context.Context, db *gorm.DB, wait time.Duration) (time.Time, error) {
	first, err := look(ctx, db)
	if err != nil {
		return time.Time{}, err
	}
	at := first.Now
	if first.Oldest != nil {
		at = min(at, *first.Oldest)
	}
	return time.UnixMicro(at).UTC(), awaitEnd(ctx, db, first.Hidden, wait)
}

// clear returns why it cannot be told what is open, nil if it can.
func (s sight) clear(ctx context.Context) error {
	_, noTenant := tenancy.FromContext(ctx)
	switch {
	case s.Standby:
		return fmt.Errorf("%w: the server is a standby: read from the primary", ErrHorizon)
	case s.Prepared:
		return fmt.Errorf("%w: a prepared transaction has written entries: commit it or roll it back (pg_prepared_xacts)", ErrHorizon)
	case s.Unbound && noTenant == nil:
		return fmt.Errorf("the handle does not bind the tenant, and would read nothing: %w", tenancy.ErrNotExpected)
	}
	return nil
}

// awaitEnd returns when none of the transactions is open any more.
func awaitEnd(ctx context.Context, db *gorm.DB, open []string, wait time.Duration) error {
	for deadline := time.Now().Add(wait); len(open) > 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: a transaction is open that has written entries, and when it began is not shown to this login: GRANT pg_read_all_stats TO it, or export when that transaction has ended", ErrHorizon)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(hiddenPoll):
		}
		s, err := look(ctx, db)
		if err != nil {
			return err
		}
		// One whose begin is shown by now is open all the same.
		open = slices.DeleteFunc(open, func(id string) bool { return !slices.Contains(s.Open, id) })
	}
	return nil
}

func look(ctx context.Context, db *gorm.DB) (s sight, err error) {
	err = onPrimary(ctx, db, func(tx *gorm.DB) error {
		var text string
		if err := tx.Statement.ConnPool.QueryRowContext(ctx, horizonSQL).Scan(&text); err != nil {
			return fmt.Errorf("%w: reading the open transactions: %w", ErrHorizon, err)
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return err
		}
		return s.clear(ctx)
	})
	return s, err
}
