package lifecycle

import (
	"context"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/internal/suspension"
	"github.com/courtroll/courtroll/tenancy"
)

// handle is the app's handle for one call.
type handle struct {
	db     *gorm.DB
	ctx    context.Context //nolint:containedctx // of the call, in system scope
	plugin *tenancy.Plugin
}

func open(ctx context.Context, db *gorm.DB) (*handle, error) {
	plugin, ok := db.Plugins[tenancy.PluginName].(*tenancy.Plugin)
	if !ok {
		return nil, tenancy.ErrNotInstalled
	}
	if _, ok := tenancy.SystemFromContext(ctx); !ok {
		return nil, ErrNoSystemScope
	}
	if (&stmtpool.Pool{ConnPool: db.Statement.ConnPool}).InTransaction() {
		return nil, ErrInTransaction
	}
	return &handle{db: db, ctx: ctx, plugin: plugin}, nil
}

func (h *handle) checks() bool { return h.plugin.Suspended() != tenancy.IgnoreSuspended }

// system is a session across tenants.
func (h *handle) system() *gorm.DB {
	return h.db.Session(&gorm.Session{NewDB: true, Context: h.ctx})
}

// of is a session of one tenant, suspended or not, that sees soft-deleted rows too. An
// app's hooks are not called: they are for the app's own changes.
func (h *handle) of(tenant string) *gorm.DB {
	ctx := suspension.Past(tenancy.WithTenant(h.ctx, tenant))
	return h.db.Session(&gorm.Session{NewDB: true, Context: ctx, SkipHooks: true}).Unscoped()
}
