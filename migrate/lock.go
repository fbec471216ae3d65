package migrate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

// lockKey is the advisory lock's key, "courtrol" in ASCII. Advisory locks
// belong to one database, so the same key serves every one of a server.
const lockKey int64 = 0x636f757274726f6c

// adoptLockKey is that of Adopt, "courtado": it may take days, in which other
// instances start.
const adoptLockKey int64 = 0x636f75727461646f

const (
	lockPollMin    = 20 * time.Millisecond
	lockPollMax    = time.Second
	releaseTimeout = 5 * time.Second
)

// withLock runs fn while its connection holds the migration lock. Everything
// that fn does must run on that connection: a pool of one has no other.
//
// The lock belongs to the server's session. If this process dies, or the
// connection does, the server releases it.
func withLock(ctx context.Context, pool *sql.DB, cfg Config, fn func(*sql.Conn) error) error {
	return withLockKey(ctx, pool, cfg, lockKey, fn)
}

func withLockKey(ctx context.Context, pool *sql.DB, cfg Config, key int64, fn func(*sql.Conn) error) error {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("migrate: connecting: %w", err)
	}
	defer conn.Close()
	if err := acquire(ctx, conn, cfg, key); err != nil {
		discard(conn)
		return err
	}
	defer release(ctx, conn, key)
	return fn(conn)
}

// acquire polls for the lock. It never waits inside the server: a session that
// blocks in pg_advisory_lock keeps its snapshot, CREATE INDEX CONCURRENTLY in
// the session that holds the lock waits for that snapshot to end, and neither
// ever goes on.
func acquire(ctx context.Context, conn *sql.Conn, cfg Config, key int64) error {
	begin := time.Now()
	for pause := lockPollMin; ; pause = min(2*pause, lockPollMax) {
		got, err := tryLock(ctx, conn, key)
		if got || err != nil {
			return err
		}
		waited := time.Since(begin)
		if waited >= cfg.LockTimeout {
			return fmt.Errorf("%w: waited %s", ErrLocked, waited.Round(time.Millisecond))
		}
		cfg.Logger.DebugContext(ctx, "waiting for the migration lock", slog.Duration("waited", waited))
		if err := pace.Sleep(ctx, min(jitter(pause), cfg.LockTimeout-waited)); err != nil {
			return fmt.Errorf("migrate: waiting for the lock: %w", err)
		}
	}
}

func tryLock(ctx context.Context, conn *sql.Conn, key int64) (got bool, err error) {
	err = conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, key).Scan(&got)
	if err != nil {
		return false, fmt.Errorf("migrate: taking the lock: %w", err)
	}
	return got, nil
}

// release gives the lock back though ctx may have ended. A connection that
// cannot say so is closed instead of returned, for the pool would hand it to
// somebody with the lock still on it.
func release(ctx context.Context, conn *sql.Conn, key int64) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	var released bool
	err := conn.QueryRowContext(ctx, `SELECT pg_advisory_unlock($1)`, key).Scan(&released)
	if err != nil || !released {
		discard(conn)
	}
}

// discard makes the pool close the connection.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

// jitter spreads d over its half to its one and a half.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d)
}
