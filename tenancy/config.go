package tenancy

import (
	"context"

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

	// Suspended is what becomes of the statements of a tenant that is not active: whose
	// row in tenants has is_active = false, or which has none. It needs the function of migrate's Up, and EXECUTE
	// on it, which Protect grants. Default: [IgnoreSuspended].
	Suspended Suspended

	// Shadow, where it is set, takes the plugin's effect away: NOBODY IS KEPT APART.
	// It is for the time in which an app that had one tenant adopts the column.
	// Statements run as the app wrote them, and it is told of each that the strict
	// plugin would have refused, or that would have met other rows: see [ShadowReport].
	// A statement that would have done the same is not reported. Created rows get
	// the tenant of the context where they name none, and a Save or an upsert never
	// takes a row's tenant away; a foreign tenant that the app writes is reported and written.
	//
	// It is called after the statement, failed or not, on its goroutine, in the
	// statement's transaction if there is one, and must be safe for concurrent use;
	// a panic in it is the caller's. The rows are counted before the statement, in
	// one statement more that reads both forms in one snapshot, under a savepoint of
	// the same transaction, or, where there is none, in a read-only transaction on a
	// connection of its own. What others commit between the two can differ. That
	// costs up to three times the reading and some round trips. A count takes at most
	// two seconds, and a quarter of the time that the context leaves; LIMIT without
	// ORDER BY may need two. A failure is [ShadowUnknown] and not the app's. It is
	// unknown, too, for UPDATE … FROM, volatile functions, SKIP LOCKED, in a
	// serializable transaction, and where LIMIT has no ORDER BY and decides what comes.
	// An upsert that would meet another tenant's row is [ShadowRefused] with
	// gorm.ErrDuplicatedKey; a key that the database chooses is taken for a new one.
	// What ORDER BY leaves undecided is compared as the database decides it that time.
	// A statement of system scope is not counted, but may be refused.
	//
	// It still refuses a sub-query of a tenant-owned table beside parameters
	// numbered by hand, or whose own text does not close its parentheses; and
	// with the dialector of [Postgres] a transaction stays one tenant's.
	// With RowLevelSecurity, System or Suspended it is an error of the configuration.
	// Default: nil, strict.
	Shadow func(ctx context.Context, report ShadowReport)
}
