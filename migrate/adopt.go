package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
)

// DefaultQuiet is what [Adoption.Quiet] is unless it says otherwise.
const DefaultQuiet = 10 * time.Second

// Adoption says whose the rows are that know no tenant: exactly one of Constant,
// Parent, SQL and Func, else the error is [ErrAdoption].
type Adoption struct {
	// Constant is the tenant of all rows.
	Constant string

	// Parent is a column of a foreign key, or a belongs-to association of the model:
	// a row is its parent's tenant's. The parent's table is adopted before, or the
	// table itself. A row that moves to another parent follows it, unless its writer
	// gives it a tenant; one that loses its parent stays where it is. A writer that gives
	// the tenant which the row has already is not told from one that gives none. Only the
	// row itself follows: its own children that are adopted do not. With a foreign key
	// such a move fails, without one they stay. A row whose parent its writer does not see
	// yet stays without a tenant, which fails once the column is NOT NULL: with a deferred
	// key and the child first, in REPEATABLE READ with a parent that is newer than the
	// snapshot, and in an upsert whose INSERT names no parent, though it would only update.
	// A role that may write the table and not read the parent is [ErrParentHidden].
	Parent string

	// Orphans is, with Parent, the tenant of rows that refer to no parent, since their
	// column is NULL, or to themselves. Without it such rows are [ErrOrphans], and can no longer be
	// written once the tenant column is NOT NULL.
	Orphans string

	// SQL is an expression over the columns of the row, "customer_tenant(customer_id)"
	// for one, looked up along the search_path of this login. It is evaluated with the
	// rights of whoever writes the row.
	SQL string

	// Func is given rows, by column, and returns the tenant of each. It runs outside
	// of any transaction. Rows that the old version writes meanwhile stay without a
	// tenant until the next sweep: [ErrStillWritten] while there are any.
	Func func(ctx context.Context, rows []map[string]any) ([]string, error)

	// Quiet is, with Func, for how long no row without a tenant must have come before
	// the column becomes NOT NULL. Zero means [DefaultQuiet]; a negative value means
	// no such wait.
	Quiet time.Duration

	// Pace is that of the backfill.
	Pace Pace
}

// Adopted is what one Adopt did. All of it is committed, after an error, too.
type Adopted struct {
	// Changed are the statements that changed the schema, in order. It is empty if
	// there was nothing to do.
	Changed []string
	// Drifted names what had been altered by hand and was repaired, as "schema.table.trigger".
	Drifted []string
	// Filled is how many rows the backfill gave a tenant.
	Filled int64
}

// Adopt gives the model's table, of an app that knew no tenants, its tenant column,
// while the app goes on reading and writing: its old version, which does not know
// the column, and its new one, which fills it. It is run by the table's owner, and
// may be stopped, or die, at any point, and be run again: what is done it finds in
// the catalogue and the rows. On a table that is adopted it changes nothing; with
// another Adoption it changes what fills new rows, and not those that are there. Once
// the table is protected it is [ErrFiltered]: it has nothing to do there any more.
//
//   - The column is added, nullable, with a trigger that fills it where a writer
//     leaves it NULL. It is the last of the BEFORE triggers, so that it sees what the
//     others make of the row. Of Func there is no trigger.
//   - The rows that are there are filled, range by range of the table's blocks, each
//     in a transaction of its own that passes over rows which others have locked:
//     those are found by a later sweep. The table's own triggers fire for each row.
//   - The column becomes NOT NULL, by a constraint that is validated without a lock
//     that hinders anybody. Transactions that began before that are waited for.
//   - What [Migrator.Protect] needs is built beforehand, concurrently: the indexes, and
//     the foreign keys, beside those that are there, to and from tables whose tenant
//     column is NOT NULL. Protect, which is the cut-over, puts them in the old ones'
//     place under its lock. The old ones stay until then. From here on a write that
//     refers to another tenant's row fails; where rows do, it is [ErrRowsViolate]
//     before anything is added.
//
// A statement of the app waits for no longer than [Config.TableLockTimeout], and a
// batch of [Adoption.Pace]. But as after any ADD COLUMN a prepared "SELECT *" fails
// once for each statement and connection, and a COPY or an INSERT … SELECT * without a
// list of columns, or a trigger that puts NEW.* into a table of history, each time. A
// transaction of REPEATABLE READ may fail with 40001 on a row that was filled
// meanwhile: it is to be tried again.
//
// From the unique indexes of each tenant on, an INSERT … ON CONFLICT of the old version
// may fail with 23505 beside another of the same key: PostgreSQL waits on one index
// only, and it is to be tried again. What is DEFERRABLE UNIQUE is left to Protect. SET
// CONSTRAINTS that names an old foreign key does not reach the one beside it. An
// association that has no key in the database is left to Protect, which reads its
// tables. One Adopt runs at a time; [ErrLocked] means that another one
// does. It does not take the lock of [Migrator.Up] and Protect.
//
// Each transaction sets row_security to off. So where row-level security would hide
// rows from this login it is [ErrFiltered], and nothing is passed over in silence.
//
// A column that is there already must have no default but ours, and no blank tenants:
// [ErrDefault], [ErrBlankRows].
//
// Other errors are [ErrNoParent], [ErrParentFirst], [ErrGenerated], [ErrTenantValue],
// [ErrTriggerOrder] and [ErrNotFilled], those of an unfit table or tenant column as
// Protect has them, and [ErrTableBusy]. Most come inside a [ProtectError] or an
// [AdoptError].
func (m *Migrator) Adopt(ctx context.Context, model any, a Adoption) (Adopted, error) {
	pool, err := m.pool()
	if err != nil {
		return Adopted{}, err
	}
	r := &adoptRun{cfg: m.cfg.withDefaults(), db: m.db, adoption: a}
	if r.model, err = plan.Parse(m.db, model); err != nil {
		return Adopted{}, err
	}
	err = withLockKey(ctx, pool, r.cfg, adoptLockKey, func(conn *sql.Conn) error {
		r.conn = conn
		return r.run(ctx)
	})
	if err != nil {
		return r.done, fmt.Errorf("migrate: adopting %q: %w", r.model.Table, err)
	}
	return r.done, nil
}

// adoptRun is one Adopt under its lock.
type adoptRun struct {
	cfg      Config
	db       *gorm.DB // it reads models, and runs nothing
	conn     *sql.Conn
	adoption Adoption
	model    *schema.Schema
	done     Adopted

	table  *guarded // as find saw it; its state is read anew where it matters
	tenant tenantType
	source tenantSource
	step   string
	began  time.Time
}

func (r *adoptRun) run(ctx context.Context) error {
	if err := r.adoption.check(); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{r.find, r.ensureColumn, r.ensureNotNull, r.ensureReady} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (a Adoption) check() error {
	given := 0
	for _, is := range []bool{a.Constant != "", a.Parent != "", a.SQL != "", a.Func != nil} {
		if is {
			given++
		}
	}
	if given != 1 || a.Orphans != "" && a.Parent == "" {
		return ErrAdoption
	}
	return nil
}

// transact runs fn in a short transaction that sees every row or fails, and again
// while a lock is not to be had.
func (r *adoptRun) transact(ctx context.Context, fn func(*protectRun) error) error {
	var p *protectRun
	err := r.cfg.untilFree(ctx, func() error {
		return inTransaction(ctx, r.conn, func(tx *sql.Tx) error {
			p = &protectRun{cfg: r.cfg, db: r.db, tx: tx}
			if err := p.startAdopting(ctx); err != nil {
				return err
			}
			return fn(p)
		})
	})
	if err != nil {
		return r.filtered(err)
	}
	r.done.Changed = append(r.done.Changed, p.done.Changed...)
	r.done.Drifted = append(r.done.Drifted, p.done.Drifted...)
	return nil
}

// startAdopting makes the transaction what its statements count on, whatever the
// role, the database or the DSN say. With one snapshot for all, a batch would fail
// on every row that somebody changed meanwhile.
func (r *protectRun) startAdopting(ctx context.Context) error {
	for _, setting := range []string{
		`SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE`,
		`SET LOCAL row_security = off`,
	} {
		if _, err := r.tx.ExecContext(ctx, setting); err != nil {
			return err
		}
	}
	return r.leaveSearchPath(ctx)
}

// vacuumPatience is how long Adopt waits for a vacuum of the table, which hinders
// nobody. It is longer than deadlock_timeout, after which the server cancels an
// automatic one in favour of who waits for it.
const vacuumPatience = 5 * time.Second

// lockTables takes the locks of a short transaction. The app waits from when the
// first one is asked for, so they share one time limit. The weak lock that comes
// before keeps vacuums out, which would not yield within that limit.
func (r *protectRun) lockTables(ctx context.Context, mode string, tables ...*guarded) error {
	patient := r.cfg
	patient.TableLockTimeout = vacuumPatience
	if err := r.lockAll(ctx, patient, `SHARE UPDATE EXCLUSIVE`, tables); err != nil {
		return err
	}
	if err := r.lockAll(ctx, r.cfg, mode, tables); err != nil {
		return err
	}
	return r.cfg.limitLocks(ctx, r.tx)
}

func (r *protectRun) lockAll(ctx context.Context, cfg Config, mode string, tables []*guarded) error {
	deadline := time.Now().Add(cfg.TableLockTimeout)
	for _, g := range tables {
		cfg.TableLockTimeout = time.Until(deadline)
		if err := cfg.limitLocks(ctx, r.tx); err != nil {
			return err
		}
		if _, err := r.tx.ExecContext(ctx, `LOCK TABLE ONLY `+g.sql()+` IN `+mode+` MODE`); err != nil {
			return err
		}
	}
	return nil
}

// exec runs a statement that cannot run in a transaction, or should not hold its locks to the
// end of a longer one.
func (r *adoptRun) exec(ctx context.Context, statement string) error {
	err := withoutTimeouts(ctx, r.conn, func() error {
		_, err := r.conn.ExecContext(ctx, statement)
		return err
	})
	if err != nil {
		return err
	}
	r.done.Changed = append(r.done.Changed, statement)
	r.cfg.Logger.DebugContext(ctx, "changed", slog.String("statement", statement))
	return nil
}

// at tells how far the run is.
func (r *adoptRun) at(step string, done, total int64) {
	step += " " + r.table.String()
	if step != r.step {
		r.step, r.began = step, time.Now()
	}
	r.cfg.Progress(Progress{Step: step, Done: done, Total: total, Elapsed: time.Since(r.began)})
}

// locked puts tables into one order, each once.
func locked(tables ...*guarded) []*guarded {
	slices.SortFunc(tables, func(a, b *guarded) int { return int(a.OID - b.OID) })
	return slices.CompactFunc(tables, func(a, b *guarded) bool { return a.OID == b.OID })
}
