package lifecycle

import (
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// Errors, to be matched with [errors.Is]. None holds a row's values or a tenant's id.
var (
	// ErrUnknownTenant is an id without a row in tenants.
	ErrUnknownTenant = tenancy.ErrUnknownTenant

	// ErrTaken is a tenant whose id or slug another one has, or whose id a deleted one
	// had. It is a [gorm.ErrDuplicatedKey].
	ErrTaken = fmt.Errorf("another tenant has the id or the slug, or had the id: choose another: %w", gorm.ErrDuplicatedKey)

	// ErrInvalid is a tenant whose id, name or slug is blank, begins or ends with a
	// space, or cannot be stored as text.
	ErrInvalid = errors.New("it is blank, begins or ends with a space, or is no text")

	// ErrNoSystemScope is a context that is not of system scope.
	ErrNoSystemScope = errors.New("work across tenants: give it a context of tenancy.AsSystem")

	// ErrInTransaction is a handle that is in a transaction.
	ErrInTransaction = errors.New("it makes transactions of its own: give it a handle that is in none")

	// ErrUnchecked is a handle whose plugin asks nobody whether a tenant is suspended:
	// the tenant would go on working.
	ErrUnchecked = errors.New("no statement asks whether its tenant is suspended: set tenancy's Config.Suspended")

	// ErrNotSuspended is a deletion of a tenant that may still write.
	ErrNotSuspended = errors.New("the tenant is active and may write meanwhile: suspend it first")

	// ErrDeleting is a tenant of which a part is deleted.
	ErrDeleting = errors.New("the tenant's deletion has begun: run Delete again to finish it")

	// ErrStillWritten is a deletion during which rows of the tenant kept coming, from
	// somebody who is not asked: in system scope, by SQL outside of the app, or by a
	// handle without tenancy's Config.Suspended.
	ErrStillWritten = errors.New("somebody who is not asked whether the tenant is suspended creates rows of it: stop that and run Delete again")

	// ErrStuck is a deletion of which a batch changes rows and they stay the same, or
	// deletes none of those that are there: a trigger's doing for one.
	ErrStuck = errors.New("the rows stay though they are deleted, or their references though they are set NULL: does a trigger keep them? Let it pass those and run Delete again")

	// ErrNoReason is a deletion without a reason.
	ErrNoReason = errors.New("no reason: a deletion needs one, for whoever reads the trail")

	// ErrForgotten is a table with the tenant column that no model stands for, or a
	// materialized view with it: its copies of rows cannot be deleted. It comes in a
	// [TablesError].
	ErrForgotten = errors.New("no model stands for these tables, which have the tenant column: list their models in Config.Models, or give them")

	// ErrNoTable is a model whose table is not there. It comes in a [TablesError].
	ErrNoTable = errors.New("the tables of these models are not there: migrate first")

	// ErrView is a model of a view that shows rows of a table which no model stands for,
	// or of a materialized view. It comes in a [TablesError].
	ErrView = errors.New("these models are of views, whose rows are in tables that no model stands for: list models of those tables; leave the tenant column out of a materialized view")

	// ErrChild is a table that refers to a tenant's row, and does not say whose its own
	// are: they could be neither exported nor deleted in the scope of the tenant. That
	// its key cascades does not help, for the cascade would leave no trail. It comes in
	// a [TablesError].
	ErrChild = errors.New("these tables refer to a tenant's rows and lack the tenant column: add it (migrate's Adopt), or drop the foreign key")

	// ErrCycle is a circle of tables that refer to each other by keys that cannot be
	// set NULL, so that no row of it could be deleted first; or rows of one table that
	// refer to each other by keys that are ON DELETE RESTRICT. It comes in a [TablesError].
	ErrCycle = errors.New("these tables refer to each other in a circle, by keys that can be neither NULL nor deleted together: make one of their columns nullable")

	// ErrForeignRow is a row of another tenant that refers to one that is to be deleted,
	// by a key that does not hold the tenant column: it would be deleted or changed, too,
	// or keep the row from being deleted. It comes in a [TablesError], with the tables of
	// the rows that refer.
	ErrForeignRow = errors.New("rows of other tenants in these tables refer to the tenant's: point them elsewhere, and put the tenant column into the foreign keys")

	// ErrRegisterKey is a row of tenants that refers to one that is to be deleted; or a
	// key from tenants that is ON DELETE CASCADE, by which a tenant would be gone with a
	// row of its own. It comes in a [TablesError], with the tables that are referred to.
	ErrRegisterKey = errors.New("rows of tenants refer to these tables, or cascade from them: set the columns of those foreign keys NULL first, and let none be ON DELETE CASCADE")
)

// TablesError says which tables are at fault.
type TablesError struct {
	Tables []string // with their schemas
	Err    error    // [ErrForgotten], [ErrNoTable], [ErrView], [ErrChild], [ErrCycle], [ErrForeignRow] or [ErrRegisterKey]
}

// Error implements error.
func (e *TablesError) Error() string {
	return fmt.Sprintf("lifecycle: %s: %v", strings.Join(e.Tables, ", "), e.Err)
}

// Unwrap returns the kind of the fault.
func (e *TablesError) Unwrap() error { return e.Err }

// faultOf returns nil for no tables.
func faultOf(tables []string, err error) error {
	if len(tables) == 0 {
		return nil
	}
	return &TablesError{Tables: tables, Err: err}
}

// FieldError says which field of a new tenant is at fault.
type FieldError struct {
	Field string
	Err   error // [ErrInvalid]
}

// Error implements error.
func (e *FieldError) Error() string {
	return fmt.Sprintf("lifecycle: field %s of the tenant: %v", e.Field, e.Err)
}

// Unwrap returns the kind of the fault.
func (e *FieldError) Unwrap() error { return e.Err }

// while says what was being done when an error of this package or of the database came.
func while(doing string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("lifecycle: %s: %w", doing, err)
}
