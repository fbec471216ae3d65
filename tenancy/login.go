package tenancy

import (
	"context"
	"fmt"

	"gorm.io/gorm"
)

// checkLogin finds out whether row-level security binds the login. The owner of
// a table can always take it off.
func (p *Plugin) checkLogin(db *gorm.DB) error {
	unconfined, err := p.isUnconfined(db.Statement.Context, db.ConnPool)
	switch {
	case err != nil:
		return fmt.Errorf("tenancy: reading the login's role: %w", err)
	case unconfined && p.config.RequireConfinedRole:
		return &StatementError{Err: ErrUnconfinedRole}
	case unconfined:
		db.Logger.Warn(db.Statement.Context, "tenancy: %v", ErrUnconfinedRole)
	}
	return nil
}

func (p *Plugin) isUnconfined(ctx context.Context, pool gorm.ConnPool) (bool, error) {
	var unconfined bool
	row := pool.QueryRowContext(ctx, `SELECT r.rolsuper OR r.rolbypassrls OR EXISTS (
			SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $1
			WHERE c.relkind IN ('r', 'p') AND NOT a.attisdropped AND pg_catalog.pg_has_role(c.relowner, 'MEMBER'))
		FROM pg_catalog.pg_roles r WHERE r.rolname = current_user`, p.registry.Column())
	err := row.Scan(&unconfined)
	return unconfined, err
}

// sameLogin reports whether system scope would run with the app's own login, from
// which row-level security hides everything.
func (p *Plugin) sameLogin(ctx context.Context, r *router) (bool, error) {
	if !p.config.RowLevelSecurity {
		return false, nil
	}
	var app, system string
	err := r.app.QueryRowContext(ctx, `SELECT current_user`).Scan(&app)
	if err == nil {
		err = r.system.QueryRowContext(ctx, `SELECT current_user`).Scan(&system)
	}
	return err == nil && app == system, err
}
