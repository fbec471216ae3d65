package tenancy

import (
	"errors"
	"fmt"

	"github.com/courtroll/courtroll/internal/hooks"
	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/suspension"
)

// Errors of a statement that was refused, to be matched with [errors.Is]. They
// come wrapped in a [StatementError], which names the table. None of them, nor
// any text of this package, holds a row's values or another tenant's id.
var (
	// ErrNoTenant is a statement on a tenant-owned table without a tenant, or
	// with a blank one. The way out is a context made by [WithTenant], or by
	// [AsSystem] for work across tenants. A create in system scope that names
	// no tenant is one too: there the row must say whose it is.
	ErrNoTenant = errors.New("no tenant: use db.WithContext with a context made by tenancy.WithTenant, or by tenancy.AsSystem for work across tenants, where each created row names its tenant")

	// ErrNoReason is a statement in a system scope whose reason is blank.
	ErrNoReason = errors.New("no reason: tenancy.AsSystem needs one")

	// ErrCrossTenant is a row or a sub-query that names another tenant than the context's.
	ErrCrossTenant = errors.New("another tenant is named: leave the tenant column empty, or use the context of that tenant")

	// ErrTenantImmutable is an update of a tenant column. A row never changes
	// its tenant: delete it and create it anew.
	ErrTenantImmutable = errors.New("the tenant of a row cannot change: delete the row and create it for the other tenant")

	// ErrOpaqueSQL is SQL written by hand that reaches a tenant-owned table, or
	// that cannot be read well enough to know, or that changes settings. The way
	// out is GORM's query methods, a join by the name of an association, a
	// *gorm.DB as sub-query, or, to read, a context made by [AsSystem].
	ErrOpaqueSQL = errors.New("hand-written SQL reaches a tenant-owned table, changes settings or cannot be read: use GORM's methods, joins by the name of an association and a *gorm.DB as sub-query; to read, a context of tenancy.AsSystem; or protect the table (migrate.Protect, Config.RowLevelSecurity, Verify)")

	// ErrUnclassified is a statement on a table of which it is not known whether
	// it is tenant-owned. The way out is a model with the tenant column, listed in
	// Config.Models where the table is reached without it (for the join table of
	// a many2many: [gorm.DB.SetupJoinTable]), or listing it in Config.Shared.
	ErrUnclassified = errors.New("the table is neither tenant-owned nor shared: give its model the tenant column (a many2many: one of SetupJoinTable), and list it in Config.Models where it is reached by name, or list the table in Config.Shared")

	// ErrTenantFormat is a tenant id that does not fit the type of the tenant
	// column: not a canonical integer or UUID where the column holds these.
	ErrTenantFormat = plan.ErrTenantFormat

	// ErrNoModel is a table with the tenant column of which no model is known. It
	// is one of [Verify]'s.
	ErrNoModel = errors.New("the table has the tenant column, but no model: give its model to Verify, or list it in Config.Models")

	// ErrTenantColumn is a tenant column that the table's model or Config.Shared
	// contradicts. It is one of [Verify]'s.
	ErrTenantColumn = errors.New("the database contradicts the model: a tenant-owned table needs a tenant column of the type of the model's field, and a shared one has none")

	// ErrTransactionTenant is a statement in a transaction of another tenant or
	// scope. It is not sent. The way out is a transaction for each.
	ErrTransactionTenant = pgpipe.ErrTransactionTenant

	// ErrNeedsTransaction is, with Config.RowLevelSecurity and a dialector other
	// than that of [Postgres], a Row, Rows or Scan outside of a transaction: such a
	// connection can be bound in a transaction alone, which would have to end before
	// the rows are read. Other statements get a transaction of their own, at three
	// more round trips. With Config.Suspended and such a dialector it is one that writes,
	// too, as its question belongs into its transaction, and any of a suspended tenant
	// that can only read. The way out is Find or Take, a transaction, or [Postgres].
	ErrNeedsTransaction = errors.New("rows are read outside of a transaction on a connection that row-level security cannot be bound on: use Find or Take, a transaction, or tenancy.Postgres")

	// ErrSystemLogin is a statement of system scope, where row-level security
	// hides all tenants' rows from the login that it would run with.
	ErrSystemLogin = errors.New("row-level security hides all tenants from this login: give Config.System a handle of migrate's SystemRole, and begin the transaction in system scope")

	// ErrUnconfinedRole is a login that row-level security does not bind.
	ErrUnconfinedRole = errors.New("the login is a superuser, has BYPASSRLS or owns tenant-owned tables, so that row-level security does not bind it: log in as migrate's AppRole")

	// ErrUnprotected is a table that row-level security was expected to confine and
	// does not. It is one of [Verify]'s.
	ErrUnprotected = errors.New("row-level security does not confine this login on the table: run migrate.Protect with its model")

	// ErrNotExpected is a table that row-level security confines while the config
	// does not speak of it: system scope sees no row then, and nothing does where the
	// dialector is not that of [Postgres]. It is one of [Verify]'s.
	ErrNotExpected = errors.New("row-level security confines this login on the table, and Config.RowLevelSecurity is not set: set it, and open the handle with tenancy.Postgres")

	// ErrUnknownTenant is a tenant that [Resolve] does not find, or that is inactive:
	// which of the two is not told.
	ErrUnknownTenant = errors.New("no such tenant")

	// ErrSuspended is, with Config.Suspended, a statement of a suspended tenant. It has
	// changed no row; a transaction that it was in has failed.
	ErrSuspended = suspension.ErrSuspended

	// ErrSeveralStatements is, with Config.Suspended and a dialector of [Postgres], a
	// text of several statements, one of which begins or ends a transaction or goes back
	// to a savepoint, on the *sql.DB: those behind it would run unasked. It is not sent.
	ErrSeveralStatements = pgpipe.ErrSeveral

	// ErrCannotAsk is, with Config.Suspended, a database without the function that says
	// whether a tenant is suspended, or a login that may not call it: at [gorm.DB.Use], or
	// later, of a statement, which then has not run.
	ErrCannotAsk = suspension.ErrCannotAsk

	// ErrNotInstalled is a handle without the plugin, where it is needed.
	ErrNotInstalled = errors.New("tenancy: the plugin is not installed on this handle: call db.Use(tenancy.New(...))")

	// ErrDisplaced is a statement on a handle on which another plugin, installed
	// after this one, replaced or removed its callbacks, or anchored its own so
	// that GORM runs none. The way out is to install that plugin first.
	ErrDisplaced = hooks.ErrDisplaced

	// ErrMigrateHandle is DDL on a handle with the plugin. The way out is a
	// second handle of the tables' owner, without plugins.
	ErrMigrateHandle = errors.New("DDL belongs on a handle of the tables' owner without plugins: open a second *gorm.DB for migrations")
)

// StatementError says which table a refused statement was about.
type StatementError struct {
	Table string // empty where the statement names none
	Err   error  // one of this package's errors
}

// Error implements error.
func (e *StatementError) Error() string {
	if e.Table == "" {
		return fmt.Sprintf("tenancy: %v", e.Err)
	}
	return fmt.Sprintf("tenancy: table %q: %v", e.Table, e.Err)
}

// Unwrap returns the kind of the refusal.
func (e *StatementError) Unwrap() error { return e.Err }

func refuse(table string, err error) error { return &StatementError{Table: table, Err: err} }
