package tenancy

import (
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
)

// Rules say which tables are whose: TenantColumn names the column that makes a
// table tenant-owned ("tenant_id" if empty), Models are known by their tables'
// names from the start, and Shared lists, as models or as table names, those
// that belong to no tenant. Package audit takes the same type, so that an app
// writes its rules once.
type Rules = plan.Rules

// Config configures the plugin. The zero value is the strict choice: every
// table must be tenant-owned by a column "tenant_id".
type Config struct {
	Rules

	// RowLevelSecurity says that the database is the second wall: that
	// migrate.Protect made policies for all tenant-owned tables and for the app's
	// login. [Verify] then proves it, table by table. SQL written by hand is let
	// through on the tables that it has proven, for the policies confine it, as
	// long as it does not name the settings that they read; and system scope needs
	// System. With a dialector of [Postgres] each statement is bound at no round
	// trip more; with any other, as [ErrNeedsTransaction] says.
	// Default: false, the plugin is the only wall.
	RowLevelSecurity bool

	// System is a handle on the same database, without plugins, whose login is
	// migrate's Config.SystemRole: statements of system scope run on it, in
	// transactions of their own. The app's login must not be a member of that
	// role. Its pool is the caller's to size and to close.
	// Default: none, and system scope is [ErrSystemLogin] with RowLevelSecurity.
	System *gorm.DB

	// RequireConfinedRole makes [gorm.DB.Use] fail with [ErrUnconfinedRole] where
	// row-level security does not bind the login: a superuser, one with BYPASSRLS,
	// or the owner of a tenant-owned table. Default: false, with RowLevelSecurity
	// GORM's logger is warned of it.
	RequireConfinedRole bool

	// Suspended is what becomes of the statements of a suspended tenant, whose row in
	// tenants has is_active = false. It needs the function of migrate's Up, and EXECUTE
	// on it, which Protect grants. Default: [IgnoreSuspended].
	Suspended Suspended
}
