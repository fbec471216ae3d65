package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// savepoint is behind what an event of best effort is written. It is no name that
// GORM gives ("sp" and a number). One of the caller's of the same name comes to no
// harm: it is hidden until ours is released, which happens in any case.
const savepoint = `"courtroll_event"`

// settleWait bounds the statements that end a savepoint. They outlive their
// context, for without them the transaction would be lost.
const settleWait = 5 * time.Second

// Lost returns how many events of [Event.BestEffort] could not be recorded since
// the plugin was made. [Config.OnLost] is told which.
func (p *Plugin) Lost() uint64 { return p.lost.Load() }

// attempt writes an event or counts its loss. An error is the transaction's.
func (p *Plugin) attempt(ctx context.Context, pool gorm.ConnPool, event Event, row statement) error {
	var lost, broken error
	if isTransaction(pool) {
		lost, broken = behindSavepoint(ctx, pool, row)
	} else {
		lost = row.insert(ctx, pool)
	}
	switch {
	case lost == nil, broken != nil:
		return broken
	case isMisuse(lost):
		return lost
	}
	p.lost.Add(1)
	if p.config.OnLost != nil {
		p.config.OnLost(ctx, event, &EventError{Action: event.Action, Cause: lost})
	}
	return nil
}

// isMisuse reports whether the context is one that no such event can be written
// with: that is for the developer to see, and never passes by itself.
func isMisuse(err error) bool {
	return slices.ContainsFunc([]error{
		tenancy.ErrTransactionTenant, tenancy.ErrSystemLogin, tenancy.ErrNoReason, tenancy.ErrNeedsTransaction, tenancy.ErrTenantFormat,
	}, func(kind error) bool { return errors.Is(err, kind) })
}

// behindSavepoint writes an event so that the transaction is as it was if that
// fails. Lost is why the event is not in the trail, broken why the transaction is
// not what it was.
func behindSavepoint(ctx context.Context, pool gorm.ConnPool, row statement) (lost, broken error) {
	if _, err := pool.ExecContext(ctx, "SAVEPOINT "+savepoint); err != nil {
		// Nothing was changed: the transaction had failed, or ctx had ended, before. If
		// the connection is gone with it, COMMIT says so.
		return err, nil
	}
	lost = row.insert(ctx, pool)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleWait)
	defer cancel()
	if lost != nil {
		if _, err := pool.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+savepoint); err != nil {
			return lost, fmt.Errorf("%w; the transaction could not be kept: %w", lost, err)
		}
	}
	if _, err := pool.ExecContext(ctx, "RELEASE SAVEPOINT "+savepoint); err != nil {
		return lost, fmt.Errorf("the transaction could not be kept: %w", err)
	}
	return lost, nil
}
