package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

const (
	busyPauseMin = 100 * time.Millisecond
	busyPauseMax = 5 * time.Second
)

// untilFree tries a transaction until it gets the tables' locks. Between the tries
// whoever waited behind it goes on: a try ends after Config.TableLockTimeout, which
// the transaction has to set (limitLocks). A deadlock is a busy table, too.
func (c Config) untilFree(ctx context.Context, try func() error) error {
	pause := busyPauseMin
	for n := 0; ; n++ {
		err := try()
		if state := sqlState(err); state != stateLock && state != stateDeadlock {
			return err
		}
		if n >= c.TableLockRetries {
			return fmt.Errorf("%w (%w)", ErrTableBusy, err)
		}
		c.Logger.DebugContext(ctx, "a table is busy", slog.Int("try", n+1))
		if sleepErr := pace.Sleep(ctx, jitter(pause)); sleepErr != nil {
			return fmt.Errorf("%w (%w)", sleepErr, err)
		}
		pause = min(2*pause, busyPauseMax)
	}
}

// limitLocks bounds for the rest of the transaction how long a statement waits for a lock.
func (c Config) limitLocks(ctx context.Context, s session) error {
	_, err := s.ExecContext(ctx, fmt.Sprintf(`SET LOCAL lock_timeout = %d`, max(1, c.TableLockTimeout.Milliseconds())))
	return err
}

// briefly runs a transaction that queues nobody for long, again and again until it
// gets its locks.
func (c Config) briefly(ctx context.Context, conn *sql.Conn, fn func(*sql.Tx) error) error {
	return c.untilFree(ctx, func() error {
		return unlimited(ctx, conn, func(tx *sql.Tx) error {
			if err := c.limitLocks(ctx, tx); err != nil {
				return err
			}
			return fn(tx)
		})
	})
}

// unlimited runs a transaction that the limits of the role or the database do not end:
// ctx does. It is for locks that no reader and no writer waits for. What holds these up
// is VACUUM, say, for which no number of short tries would do: the server ends an
// autovacuum only for whoever waits for longer than deadlock_timeout.
func unlimited(ctx context.Context, conn *sql.Conn, fn func(*sql.Tx) error) error {
	return inTransaction(ctx, conn, func(tx *sql.Tx) error {
		for _, setting := range []string{`SET LOCAL lock_timeout = 0`, `SET LOCAL statement_timeout = 0`} {
			if _, err := tx.ExecContext(ctx, setting); err != nil {
				return err
			}
		}
		return fn(tx)
	})
}
