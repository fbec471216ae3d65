package migrate

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Retention says which entries of audit_logs go.
type Retention struct {
	// Before is the time before which entries go. It is mandatory, and in the past.
	Before time.Time
	// Reason is recorded with what was removed: the rule, or the ticket. It is mandatory.
	Reason string
	// TenantID is the tenant whose entries go. Empty means everybody's, and those of nobody.
	TenantID string
	// DryRun counts what would go, in the same way, and removes nothing.
	DryRun bool
	// Pace sizes the batches and says how long to rest after each.
	Pace Pace
}

// Retained is what one Retain removed, or would have.
type Retained struct {
	// RunID is in the metadata of each record of this run, as run_id of its data.
	RunID string
	// Rows is how many entries it were, Actions how many of each action.
	Rows    int64
	Actions map[string]int64
	// Oldest and Newest are the first and the last of their times, zero if there are none.
	Oldest, Newest time.Time
	// Batches is how many transactions it took, of which each that removed entries left one record.
	Batches int64
}

// The sizes of batches: a thousand entries are gone in some hundredth of a second.
const (
	firstPurge   = 1_000
	largestPurge = 10_000
)

// Retain removes the entries of audit_logs that are older than r says, oldest first, but
// for those that record such removals and the deletions of tenants, and records what it removed. Its handle is
// that of the table's owner or of [Config.RetentionRole], after [Migrator.AppendOnly].
//
// It works in batches, each of which is a transaction with its own record: an entry
// of audit_logs with the action [PurgeAction], of no tenant or of the one of
// [Retention.TenantID], with the reason, the login, and as data the span and number of
// the entries, the numbers by action and, where it is no tenant's own, by tenant. So
// at no point is an entry gone that is not in the sum of the records. After an error
// (a [RetainError], which says what was done) or a crash the same call goes
// on with what is left. Several at once do no harm.
//
// It locks nothing but the entries that it removes, and rests between the batches as
// [Retention.Pace] says; [Config.Progress] is told after each. It ends with the
// context. The space is that of later entries after the next vacuum.
//
// [ErrRetention] means that r lacks something, [ErrNotAppendOnly] that the database is
// not as AppendOnly makes it. Where row-level security could hide an entry from
// the count it fails.
func (m *Migrator) Retain(ctx context.Context, r Retention) (Retained, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Retained{}, err
	}
	run := &retainRun{Retention: r, cfg: m.cfg.withDefaults(), done: Retained{RunID: id.String(), Actions: map[string]int64{}}}
	if err := run.do(ctx, m); err != nil {
		return run.done, &RetainError{Done: run.done, Err: err}
	}
	return run.done, nil
}

// retainRun is one Retain.
type retainRun struct {
	Retention
	cfg  Config
	call string // the statement that takes a batch
	step string
	done Retained

	lastTime, lastID *string // where the last batch ended
}

func (r *retainRun) do(ctx context.Context, m *Migrator) error {
	if r.Before.IsZero() || strings.TrimSpace(r.Reason) == "" || r.TenantID != "" && strings.TrimSpace(r.TenantID) == "" {
		return ErrRetention
	}
	pool, err := m.pool()
	if err != nil {
		return err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := r.check(ctx, m, conn); err != nil {
		return err
	}
	return r.batches(ctx, conn)
}

// check demands that what AppendOnly made is there and unaltered: it is what keeps
// entries from going without a record, and the count complete.
func (r *retainRun) check(ctx context.Context, m *Migrator, conn *sql.Conn) error {
	return inTransaction(ctx, conn, func(tx *sql.Tx) error {
		a := &appendRun{protectRun: &protectRun{cfg: r.cfg, db: m.db, tx: tx}}
		if err := a.run(ctx, a.checkPurge, a.checkTriggers, a.checkRetentionPolicies); err != nil {
			return err
		}
		r.call = `SELECT ` + ident(a.log.Schema, purgeFunction) + `($1::timestamptz, $2::text, $3::text, $4::bigint, $5::text::timestamptz, $6::text::uuid, $7::text::uuid, $8::boolean)::text`
		r.step = "retain " + a.log.String()
		return nil
	})
}

func (r *retainRun) batches(ctx context.Context, conn *sql.Conn) error {
	begin, sizes := time.Now(), r.Pace.Batches(firstPurge, largestPurge)
	for {
		start, size := time.Now(), sizes.Size()
		seen, err := r.batch(ctx, conn, size)
		if err != nil {
			return err
		}
		r.cfg.Progress(Progress{Step: r.step, Done: r.done.Rows, Elapsed: time.Since(begin)})
		if seen < size {
			return nil
		}
		if err := sizes.Done(ctx, time.Since(start)); err != nil {
			return err
		}
	}
}

// purged is what the function returns.
type purged struct {
	Count    int64            `json:"count"`
	Actions  map[string]int64 `json:"actions"`
	Oldest   string           `json:"oldest"`
	Newest   string           `json:"newest"`
	Seen     int64            `json:"seen"`
	LastTime *string          `json:"last_time"`
	LastID   *string          `json:"last_id"`
}

func (r *retainRun) batch(ctx context.Context, conn *sql.Conn, size int64) (seen int64, err error) {
	var text string
	tenant := sql.NullString{String: r.TenantID, Valid: r.TenantID != ""}
	err = conn.QueryRowContext(ctx, r.call, r.Before, r.Reason, tenant, size, r.lastTime, r.lastID, r.done.RunID, r.DryRun).Scan(&text)
	if sqlState(err) == stateParameter {
		return 0, fmt.Errorf("%w (%w)", ErrRetention, err)
	}
	if err != nil {
		return 0, err
	}
	var p purged
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return 0, err
	}
	r.add(p)
	return p.Seen, nil
}

// add adds up. The last place is kept as text, which says any time that there is.
func (r *retainRun) add(p purged) {
	r.lastTime, r.lastID = p.LastTime, p.LastID
	r.done.Batches++
	r.done.Rows += p.Count
	for action, n := range p.Actions {
		r.done.Actions[action] += n
	}
	if oldest, err := time.Parse(time.RFC3339Nano, p.Oldest); err == nil && (r.done.Oldest.IsZero() || oldest.Before(r.done.Oldest)) {
		r.done.Oldest = oldest.UTC()
	}
	if newest, err := time.Parse(time.RFC3339Nano, p.Newest); err == nil && newest.After(r.done.Newest) {
		r.done.Newest = newest.UTC()
	}
}

// stateParameter is the SQLSTATE of arguments that the function refuses.
const stateParameter = "22023"

func (r *appendRun) checkPurge(ctx context.Context) error {
	for _, f := range r.functions() {
		have, err := r.readFunction(ctx, f.sql())
		if err != nil {
			return err
		}
		if have == nil {
			return &ProtectError{Table: f.table, Object: f.name, Err: ErrNotAppendOnly}
		}
		n, _ := readNote(have.Comment)
		of := f.name == clockFunction || n.Made == hash(f.statement()) // the clock's is made from roles that Retain need not be told
		if n.State != hash(have.State) || !of || have.Owner != f.owner {
			return &ProtectError{Table: f.table, Object: f.name, Err: ErrNotAppendOnly}
		}
	}
	return nil
}

func (r *appendRun) checkTriggers(ctx context.Context) error {
	found, err := r.readAppendTriggers(ctx)
	if err != nil {
		return err
	}
	for _, want := range appendTriggers {
		have := found[want.name]
		if have == nil || !have.is(want, have.Function) {
			return &ProtectError{Table: r.log.String(), Object: want.name, Err: ErrNotAppendOnly}
		}
	}
	return nil
}

func (r *appendRun) checkRetentionPolicies(ctx context.Context) error {
	found, _, err := r.readPolicies(ctx, r.log)
	if err != nil || !r.log.Forced {
		return err
	}
	for _, p := range append(retentionPolicies(r.log), definerInsert(r.log)) {
		if n, _ := readNote(found[p.name].Comment); n.State != hash(found[p.name].State) {
			return &ProtectError{Table: r.log.String(), Object: p.name, Err: ErrNotAppendOnly}
		}
	}
	return nil
}
