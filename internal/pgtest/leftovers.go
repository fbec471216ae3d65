package pgtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// leaseClass is the first key of our advisory locks; the run is the second.
	leaseClass = 0x63727470

	keptMark = "courtroll: kept since "
	keptLife = 24 * time.Hour
)

// takeLease names the run and locks that name for as long as this process is
// connected: the server lets the lock go when the process dies. The connection
// is never idle for the server's liking, so it asks to be let be.
func (h *harness) takeLease(ctx context.Context) (err error) {
	h.lease, err = h.admin.Conn(ctx)
	if err != nil {
		return err
	}
	if _, err := h.lease.ExecContext(ctx, `SET idle_session_timeout = 0`); err != nil {
		return err
	}
	var key [4]byte
	rand.Read(key[:])
	run := prefix + hex.EncodeToString(key[:])
	var locked bool
	err = h.lease.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1::int, $2::int)`,
		leaseClass, int32(binary.BigEndian.Uint32(key[:]))).Scan(&locked)
	if err != nil {
		return err
	}
	if !locked {
		return fmt.Errorf("%s is in use", run)
	}
	h.run = run // from here on what bears the name is dropped at the end
	return nil
}

// sweep drops what runs that hold no lease left behind. Names are read before
// leases: a name that is there was made under a lease, so if none is held now,
// its run has ended. Failures are left to the next sweep, as another binary may
// be sweeping at the same time.
func (h *harness) sweep(ctx context.Context) {
	runs, err := h.runsOnServer(ctx)
	if err != nil {
		return
	}
	for _, run := range runs {
		if held, err := h.leaseHeld(ctx, run); err == nil && !held {
			_ = h.dropRun(ctx, run)
		}
	}
}

func (h *harness) runsOnServer(ctx context.Context) ([]string, error) {
	return scanStrings(h.admin.QueryContext(ctx, `
		SELECT DISTINCT substring(name FROM '^`+prefix+`[0-9a-f]{8}(?=_)') AS run
		FROM (SELECT datname FROM pg_database UNION ALL SELECT rolname FROM pg_roles) AS names(name)
		WHERE name ~ '^`+prefix+`[0-9a-f]{8}_'`))
}

// leaseHeld looks into pg_locks because advisory locks are per database, and
// other binaries may have named another database of this server.
func (h *harness) leaseHeld(ctx context.Context, run string) (held bool, err error) {
	key, err := strconv.ParseUint(strings.TrimPrefix(run, prefix), 16, 32)
	if err != nil {
		return false, err
	}
	err = h.admin.QueryRowContext(ctx, `
		SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'
			AND classid::bigint = $1 AND objid::bigint = $2 AND objsubid = 2)`,
		int64(leaseClass), int64(key)).Scan(&held)
	return held, err
}

// dropRun drops a run's databases, then its roles. Databases that failed tests
// kept stay for a day, and the roles that own them with them.
func (h *harness) dropRun(ctx context.Context, run string) error {
	names, err := scanStrings(h.admin.QueryContext(ctx, `
		SELECT datname FROM pg_database WHERE starts_with(datname, $1)
		AND coalesce(shobj_description(oid, 'pg_database'), '') < $2`,
		run+"_", keptMark+time.Now().Add(-keptLife).UTC().Format(time.RFC3339)))
	if err != nil {
		return fmt.Errorf("listing the databases of %s: %w", run, err)
	}
	var errs []error
	for _, name := range names {
		errs = append(errs, h.dropDatabase(ctx, name))
	}
	return errors.Join(append(errs, h.dropRoles(ctx, run))...)
}

func (h *harness) dropDatabase(ctx context.Context, name string) error {
	if err := h.exec(ctx, `DROP DATABASE IF EXISTS `+name+` WITH (FORCE)`); err != nil {
		return fmt.Errorf("dropping database %s: %w", name, err)
	}
	return nil
}

func (h *harness) dropRoles(ctx context.Context, run string) error {
	var kept bool
	err := h.admin.QueryRowContext(ctx,
		`SELECT EXISTS (SELECT FROM pg_database WHERE starts_with(datname, $1))`, run+"_").Scan(&kept)
	if kept || err != nil {
		return err
	}
	roles, err := scanStrings(h.admin.QueryContext(ctx, `SELECT rolname FROM pg_roles WHERE starts_with(rolname, $1)`, run+"_"))
	if err != nil {
		return fmt.Errorf("listing the roles of %s: %w", run, err)
	}
	var errs []error
	for _, role := range roles {
		if _, err := h.admin.ExecContext(ctx, `DROP ROLE IF EXISTS `+role); err != nil {
			errs = append(errs, fmt.Errorf("dropping role %s: %w", role, err))
		}
	}
	return errors.Join(errs...)
}

// keep marks a database so that neither the end of this run nor the next run
// drops it at once.
func (h *harness) keep(ctx context.Context, name string) error {
	return h.exec(ctx, fmt.Sprintf(`COMMENT ON DATABASE %s IS '%s%s'`, name, keptMark, time.Now().UTC().Format(time.RFC3339)))
}

func scanStrings(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// waitUnused gives the connections just closed a moment to end. PostgreSQL
// would wait for them too, but it looks every 100 ms, and a test is over in less.
func (h *harness) waitUnused(ctx context.Context, name string) {
	for range 40 {
		var used bool
		err := h.admin.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1)`, name).Scan(&used)
		if err != nil || !used {
			return
		}
		time.Sleep(time.Millisecond)
	}
}
