package migrate

import (
	"errors"
	"fmt"
)

var (
	// ErrAdoption means that an [Adoption] does not name exactly one source of the tenant.
	ErrAdoption = errors.New("give exactly one of Constant, Parent, SQL and Func, and Orphans with Parent alone")

	// ErrNoParent means that [Adoption.Parent] names no foreign key and no belongs-to
	// association to a unique key of one table.
	ErrNoParent = errors.New("it is no foreign key column and no belongs-to association")

	// ErrParentHidden means that a role may write rows of the table, but may not read the
	// parent, which the trigger does with its rights. [ProtectError.Object] is the role,
	// and Fix grants what it needs.
	ErrParentHidden = errors.New("the role may write rows and not read their parent, so they would stay without a tenant")

	// ErrParentFirst means that the tenant column of the parent's table is not NOT NULL.
	ErrParentFirst = errors.New("the parent's table has to be adopted before")

	// ErrGenerated means that [Adoption.SQL] reads a generated column, which has no value
	// yet when a row is about to be written: use what it is generated from.
	ErrGenerated = errors.New("the expression reads a generated column: use what it is generated from")

	// ErrTenantValue means that a source gave a tenant that is blank, NULL, or no value of
	// the tenant column. The batch was not written.
	ErrTenantValue = errors.New("a tenant is blank, or no value of the tenant column's type")

	// ErrDefault means that the tenant column has a default that Adopt did not make, which
	// would fill a row before its trigger could. [ProtectError.Fix] drops it.
	ErrDefault = errors.New("the tenant column has a default, which fills rows before the trigger could: drop it first")

	// ErrBlankRows means that rows have a tenant that is blank: make it NULL to have Adopt
	// fill it, or correct it.
	ErrBlankRows = errors.New("rows have a blank tenant: make it NULL, or correct it")

	// ErrHalfAdopted means that an Adopt of the table is not finished, so that Protect
	// would hide the rows that have no tenant yet: run Adopt to its end first.
	ErrHalfAdopted = errors.New("rows may have no tenant yet, which nobody would see any more: run Adopt to its end first")

	// ErrOrphans means rows whose parent does not exist, or that have none while
	// [Adoption.Orphans] is empty: correct them, or give it.
	ErrOrphans = errors.New("rows have no parent: correct them, or give Orphans for those whose column is NULL")

	// ErrStillWritten means that rows without a tenant keep coming, which NOT NULL would
	// refuse: run it again when nobody writes such rows any more.
	ErrStillWritten = errors.New("rows without a tenant are still being written: run this again when the old version is gone")

	// ErrNotFilled means that a trigger or rule of the table undoes what the backfill writes.
	ErrNotFilled = errors.New("a trigger or rule keeps the tenant column from being filled")

	// ErrTriggerOrder means that a BEFORE trigger fires after ours, by its name, and could
	// still change the row: rename it.
	ErrTriggerOrder = errors.New("the trigger fires after ours: rename it")

	// ErrFiltered means that this login does not see every row, or may not read what the
	// tenant comes from: run it as a superuser, or as a role with BYPASSRLS that is a
	// member of the tables' owner.
	ErrFiltered = errors.New("this login does not see every row: run this as a role with BYPASSRLS that is a member of the tables' owner")
)

// AdoptError says which rows stopped an Adopt, by their number. What was committed
// before stays, and a further Adopt goes on from there.
type AdoptError struct {
	// Table is the table's name with its schema.
	Table string
	// Rows is how many there are, as far as Adopt came.
	Rows int64
	// Err is one of this package's errors.
	Err error
}

func (e *AdoptError) Error() string {
	return fmt.Sprintf("table %q: %v (%d rows)", e.Table, e.Err, e.Rows)
}

func (e *AdoptError) Unwrap() error { return e.Err }

// SQLSTATEs that mean something to Adopt.
const (
	stateDenied = "42501"
	stateCheck  = "23514"
)

// filtered tells what this login may not see from other errors.
func (r *adoptRun) filtered(err error) error {
	if sqlState(err) == stateDenied {
		return &ProtectError{Table: r.model.Table, Err: fmt.Errorf("%w (%w)", ErrFiltered, err)}
	}
	return err
}
