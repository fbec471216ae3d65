package audit

import (
	"context"
	"errors"

	"github.com/courtroll/courtroll/internal/identity"
	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// capturedSQL asks whether the triggers that migrate makes write the trail of a
// table. As a replica the server runs only those that are always enabled.
const capturedSQL = `SELECT count(*) = 4 FROM pg_catalog.pg_trigger WHERE tgrelid = to_regclass($1::text) AND NOT tgisinternal
	AND (tgenabled = 'A' OR tgenabled = 'O' AND current_setting('session_replication_role') <> 'replica')
	AND tgname IN ('` + models.CaptureInsertTrigger + `', '` + models.CaptureUpdateTrigger + `', '` + models.CaptureDeleteTrigger + `', '` + models.CaptureTruncateTrigger + `')`

var (
	errNoTrigger = errors.New("no trigger captures the table")
	errOutlives  = errors.New("the rows of Row, Rows and Scan are read later: use Find, a transaction, or tenancy.Postgres, so that triggers know the actor")
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
