package tenancy

import (
	"errors"
	"slices"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/hooks"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

func (p *Plugin) registerCallbacks(db *gorm.DB) error {
	if p.config.Shadow != nil {
		return p.registerShadow(db)
	}
	set := func(guard func(*gorm.DB)) hooks.Set {
		return hooks.Set{Guard: p.routed(guard), Open: p.openBound, Close: p.close}
	}
	return hooks.Plugin{
		Name:   "tenancy",
		Create: set(p.guardCreate),
		Query:  set(p.guardQuery),
		Update: set(p.guardUpdate),
		Delete: set(p.guardChange),
		Row:    hooks.Set{Guard: p.guardRow, Open: p.openRow, Close: p.close},
		Raw:    set(func(*gorm.DB) {}), // the text is there: the verifier decides
	}.Register(db)
}

// routed chooses the pool before BEGIN, and refuses a statement that would run
// with another login, or in a transaction of another tenant.
func (p *Plugin) routed(guard func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		if db.Error == nil && stmtpool.Of(db.Statement) == nil {
			pool, err := p.route(db.Statement.Context, db.Statement.ConnPool, false)
			if err != nil {
				_ = db.AddError(refuse(db.Statement.Table, err))
			}
			db.Statement.ConnPool = pool
		}
		guard(db)
	}
}

// openBound opens a transaction for a statement that can be bound in one alone.
// Rows outlive their callbacks, and it: they are refused.
func (p *Plugin) openBound(db *gorm.DB) {
	p.open(db)
	p.ask(db.Statement, false)
	pool := stmtpool.Of(db.Statement)
	p.readFresh(pool, db.Statement)
	if pool == nil || p.router == nil || !p.router.unbound(db.Statement.Context) {
		return
	}
	if err := pool.Begin(db.Statement.Context); err != nil {
		_ = db.AddError(err)
	}
}

// openRow is for rows that GORM reads after the callbacks, if it does.
func (p *Plugin) openRow(db *gorm.DB) {
	p.open(db)
	p.ask(db.Statement, true)
	p.readFreshLater(stmtpool.Of(db.Statement), db.Statement)
}

// open puts the check of the final text between the statement and its
// connection, which another plugin may have chosen by now.
func (p *Plugin) open(db *gorm.DB) {
	if db.Error != nil || db.DryRun || removed("text") {
		return
	}
	ctx, byHand := db.Statement.Context, db.Statement.SQL.Len() > 0
	pool := stmtpool.Open(db)
	check := verifier{plugin: p, scope: scopeOf(ctx)}
	conn, err := p.route(ctx, pool.ConnPool, byHand)
	pool.ConnPool = conn
	// Whose statement it is comes before what else may be wrong with it.
	pool.Verify = slices.Insert(pool.Verify, 0, check.verify)
	if err != nil {
		pool.Verify = slices.Insert(pool.Verify, 0, func(string, []any) error { return refuse(db.Statement.Table, err) })
	}
}

func (p *Plugin) close(db *gorm.DB) {
	err := guardError(db.Error)
	if pool := stmtpool.Of(db.Statement); pool != nil && err == nil {
		err = guardError(pool.Err) // an app's dialector may have made another error of it
	}
	if errors.Is(db.Error, ErrTransactionTenant) {
		err = ErrTransactionTenant // of the driver, which does not know the table
	}
	if isSuspension(db) {
		err = ErrSuspended
	}
	stmtpool.Close(db)
	dropEmptyWhere(db.Statement)
	if s := scopeOf(db.Statement.Context); db.DryRun && !s.inherited {
		_ = s.settle(db.Statement.Vars) // for whoever looks at them: nothing is sent
	}
	if err != nil {
		db.Error = refuse(db.Statement.Table, err)
	}
}
