package audit

import (
	"context"
	"errors"

	"github.com/courtroll/courtroll/internal/identity"
	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/tenancy"
)

// capturedSQL asks whether the triggers that migrate makes write the trail of a table.
const capturedSQL = `SELECT count(*) = 4 FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass($1::text) AND tgenabled IN ('O', 'A')
	AND tgname IN ('courtroll_capture_insert', 'courtroll_capture_update', 'courtroll_capture_delete', 'courtroll_capture_truncate')`

var (
	errNoTrigger = errors.New("no trigger captures the table (migrate.CaptureByTrigger)")
	errOutlives  = errors.New("rows that are read later need a transaction, so that triggers know the actor")
)

// leaveToTrigger returns nil if the statement may go as it is, for triggers of
// the table write the trail. It is asked each time: they may be gone.
func (p *Plugin) leaveToTrigger(ctx context.Context, pool *stmtpool.Pool, ref sqllex.Ref, outlives bool) error {
	var captured bool
	if err := stmtpool.ScanRow(nobody{ctx}, pool.ConnPool, &captured, capturedSQL, quoted(ref)); err != nil {
		return err
	}
	if !captured {
		return errNoTrigger
	}
	if actor, _ := ActorFromContext(ctx); p.config.RequireActor && !actor.named() {
		return ErrNoActor
	}
	return p.tellTrigger(ctx, pool, outlives)
}

// tellTrigger makes the actor known to triggers, where the driver does not.
func (p *Plugin) tellTrigger(ctx context.Context, pool *stmtpool.Pool, outlives bool) error {
	tenant, err := tenancy.FromContext(ctx)
	_, system := tenancy.SystemFromContext(ctx)
	if db, dbErr := p.handle.DB(); dbErr == nil && pgpipe.Binds(db) && (err == nil || system) {
		return nil
	}
	if outlives && !pool.InTransaction() {
		return errOutlives
	}
	if err := pool.Begin(ctx); err != nil {
		return err
	}
	actor, request := identity.From(ctx)
	_, err = pool.ConnPool.ExecContext(ctx, pgpipe.BindSQL, tenant, actor, request)
	return err
}
