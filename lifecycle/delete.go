package lifecycle

import (
	"context"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pace"
	"github.com/courtroll/courtroll/tenancy"
)

// Pace says how fast rows are deleted: how long a batch takes, and how long it rests
// after each. Its zero value leaves half of the time to others.
type Pace = pace.Pace

// Progress is how far a deletion is.
type Progress struct {
	// Step is what is being done, "deleting projects" for one. It never holds a value
	// of a row.
	Step string
	// Done of Total are rows of the step, or transactions that are waited for.
	Done, Total int64
	// Elapsed is the time since the step began.
	Elapsed time.Duration
}

// Deletion says how [Delete] works.
type Deletion struct {
	// DryRun counts the rows that would go, and changes nothing.
	DryRun bool
	// Reason is for whoever reads the trail. It must not be blank, but with DryRun.
	Reason string
	// Models are those that are not in the plugin's Config.Models. Default: none.
	Models []any
	// Pace of the batches.
	Pace Pace
	// Progress is called after each batch, by the goroutine that called Delete.
	// Default: nobody is told.
	Progress func(Progress)
}

// Delete deletes all rows of a suspended tenant, soft-deleted ones too, and its row in
// tenants last. It returns how many rows there were, by table, tenants not among them;
// with DryRun, how many there are. No row of audit_logs is deleted.
//
// Before the first row goes it checks that no table is forgotten ([Verify]), that no row
// of another tenant, and none of tenants, refers to one of the tenant's, that the
// tenant is suspended, and waits until the transactions have ended that are open in the
// database, whoever's they are: one may belong to the tenant and have begun before. Then
// it deletes in batches, each a transaction of its own, children before parents, the
// leaves first in a table that refers to itself. Where tables, or rows of one, refer to
// each other in a circle, a nullable column of a key in it is set NULL first; rows of a
// circle in one table whose key cannot be NULL go in one statement. Each is audited as
// any change of the tenant, with the actor of ctx. The models' hooks are not called.
//
// The trail keeps two entries of the deletion itself, of no tenant and about this one,
// with its reason and the counts:
// tenant.delete_begun, committed before the first row goes, and tenant.delete, committed
// with the deletion of the tenant's row. In between, [Resume] is [ErrDeleting]. It may be
// stopped at any point: what is deleted stays so, and another call goes on.
//
// It looks again for rows of other tenants before each table, and before each batch
// where a foreign key would delete or change them. One that comes to refer to the tenant's
// between the look and the end of the batch it does not see: only the tenant column in the
// foreign key keeps them out at all times.
//
// When it returns nil, all is committed, and no row of the tenant is left in a
// tenant-owned table. An id without a row in tenants is not suspended: whoever still has
// a context of that tenant could create rows again. [tenancy.Resolve] tells that it is
// unknown.
//
// ctx is of system scope. Errors are [ErrNoReason], [ErrUnchecked], [ErrUnknownTenant],
// [ErrNotSuspended], [ErrForeignRow], [ErrRegisterKey], [ErrStillWritten], [ErrStuck], those of [Verify], and the database's, a
// trigger's or a constraint's for one. Two calls at once for one tenant end as one would,
// or one of them fails.
func Delete(ctx context.Context, db *gorm.DB, id string, d Deletion) ([]Count, error) {
	counts, err := remove(ctx, db, id, d)
	return counts, while("deleting a tenant", err)
}

// deletion is one call of Delete.
type deletion struct {
	*handle
	*inventory
	Deletion
	id      string
	order   []*table // children first
	cut     []link
	counts  map[string]int64 // of what there was, by table
	deleted map[string]int64 // by this call
}

func remove(ctx context.Context, db *gorm.DB, id string, d Deletion) ([]Count, error) {
	r, err := prepare(ctx, db, id, d)
	if err != nil {
		return nil, err
	}
	if d.DryRun {
		err := r.count()
		return r.result(), err
	}
	c := catalogue{ctx: tenancy.WithTenant(ctx, ""), pool: db.Statement.ConnPool}
	if err := c.outlast(r.Progress); err != nil {
		return nil, err
	}
	if err := r.begin(); err != nil {
		return nil, err
	}
	return r.result(), r.run()
}

// prepare checks all that can be checked before the first change.
func prepare(ctx context.Context, db *gorm.DB, id string, d Deletion) (*deletion, error) {
	h, err := open(ctx, db)
	switch {
	case err != nil:
		return nil, err
	case strings.TrimSpace(d.Reason) == "" && !d.DryRun:
		return nil, ErrNoReason
	case !h.checks():
		return nil, ErrUnchecked
	}
	r := &deletion{handle: h, Deletion: d, id: id, counts: map[string]int64{}, deleted: map[string]int64{}}
	if r.Deletion.Progress == nil {
		r.Deletion.Progress = func(Progress) {}
	}
	if r.inventory, err = take(ctx, db, h.plugin, d.Models); err != nil {
		return nil, err
	}
	if err := r.arrange(); err != nil {
		return nil, err
	}
	tenant, err := find(h.system(), id)
	if err == nil && tenant.IsActive && !d.DryRun {
		err = ErrNotSuspended
	}
	if err != nil {
		return nil, err
	}
	return r, r.checkForeign(h.system(), r.crossing(nil, false))
}

func (r *deletion) arrange() error {
	cut, left, err := r.cuts()
	if err != nil {
		return err
	}
	r.cut, r.order = cut, newGraph(r.tables, left).parentsFirst()
	for i, j := 0, len(r.order)-1; i < j; i, j = i+1, j-1 {
		r.order[i], r.order[j] = r.order[j], r.order[i]
	}
	return nil
}

func (r *deletion) count() error {
	for _, t := range r.order {
		var n int64
		if err := r.of(r.id).Model(t.model()).Count(&n).Error; err != nil {
			return err
		}
		r.counts[t.schema.Table] = n
	}
	return nil
}

// result lists the tables in the order in which they are emptied.
func (r *deletion) result() (counts []Count) {
	for _, t := range r.order {
		name := t.schema.Table
		counts = append(counts, Count{Table: name, Rows: max(r.counts[name], r.deleted[name])})
	}
	return counts
}

// rounds is how often it is gone through the tables, should rows keep coming.
const rounds = 3

func (r *deletion) run() error {
	for range rounds {
		for _, l := range r.cut {
			if err := r.sever(l); err != nil {
				return err
			}
		}
		for _, t := range r.order {
			if err := r.checkForeign(r.system(), r.crossing(t, false)); err != nil {
				return err
			}
			if err := r.empty(t); err != nil {
				return err
			}
		}
		if done, err := r.finish(); done || err != nil {
			return err
		}
	}
	return ErrStillWritten
}
