package migrate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

var (
	// ErrNoAppRole means that [Config.AppRole] is empty: there is nobody to confine.
	ErrNoAppRole = errors.New("migrate: Config.AppRole is empty: name the role that the app logs in with")

	// ErrNotUp means that a table or a function of ours is missing: run Up first.
	ErrNotUp = errors.New("it is missing: run Up first")

	// ErrNoTable means that a model's table does not exist: run AutoMigrate first.
	ErrNoTable = errors.New("the table does not exist: run AutoMigrate first")

	// ErrNotOwned means that a model's table has no tenant column and is not shared:
	// give it the column, or list it in [Rules.Shared].
	ErrNotOwned = errors.New("the table has no tenant column: add it, or list the table in Rules.Shared")

	// ErrTableKind means that the relation is no ordinary table: policies do not
	// reach the partitions and children of a table where these are named directly.
	ErrTableKind = errors.New("only an ordinary table without partitions or children can be protected")

	// ErrTenantType means that the tenant column has a type that takes two ids for
	// the same, or that no id converts to.
	ErrTenantType = errors.New("the tenant column must be text, varchar, uuid or an integer, of a deterministic collation")

	// ErrCreateRole means that a role is missing and the owner may not create it.
	// [ProtectError.Fix] is the SQL for somebody who may.
	ErrCreateRole = errors.New("the role does not exist, and the owner may not create it")

	// ErrUnsafeRole means that a role could get around the policies.
	ErrUnsafeRole = errors.New("the role could get around the policies")

	// ErrNotOwner means that the handle's login does not own a table.
	ErrNotOwner = errors.New("this login does not own the table: run this as its owner")

	// ErrNoRole means that a role of Config.TrustedRoles does not exist.
	ErrNoRole = errors.New("no such role: create it, or take it off Config.TrustedRoles")

	// ErrUntrustedRole means that roles have privileges on protected tables that
	// nobody trusts. It comes inside an [UntrustedError].
	ErrUntrustedRole = errors.New("other roles have privileges on protected tables")

	// ErrRowsViolate means that rows are there which the constraint or index forbids:
	// for a foreign key, rows that refer to another tenant's, or to none.
	ErrRowsViolate = errors.New("rows violate it: correct them, then run this again")

	// ErrForeignKey means that a foreign key cannot be confined to one tenant as it is.
	ErrForeignKey = errors.New("the foreign key cannot include the tenant column")

	// ErrUniqueTag means that a constraint stands for GORM's tag unique. Scoped to the
	// tenant it would not be found by GORM's next AutoMigrate, which would fail.
	ErrUniqueTag = errors.New("GORM's tag unique cannot be scoped to a tenant: use uniqueIndex instead")

	// ErrUniqueInUse means that a unique index cannot be replaced, since something
	// outside of the protected tables stands on it.
	ErrUniqueInUse = errors.New("the unique index is in use")

	// ErrPolicyTaken means that a policy has the name of one of ours and was not made
	// by us: rename it.
	ErrPolicyTaken = errors.New("a policy of this name exists that is not ours: rename it")

	// ErrGranted means that privileges remain which the owner did not grant and
	// therefore cannot revoke.
	ErrGranted = errors.New("privileges remain that somebody else than the owner granted")

	// ErrStillReferenced means that Unprotect was not given a table which refers to
	// one that it was given.
	ErrStillReferenced = errors.New("a protected table that was not given refers to it: give both")

	// ErrCaptureKind means that triggers cannot see every change of the relation: it
	// is a view or a foreign table, or has such a partition; or it inherits or is
	// inherited from, so that statements which name its relatives change its rows. Of a
	// partition give the partitioned table.
	ErrCaptureKind = errors.New("only a table, partitioned or without relatives, can be captured")

	// ErrCaptureTrail means audit_logs itself: its entries would leave entries.
	ErrCaptureTrail = errors.New("the trail leaves no trail")

	// ErrCaptureTaken means that a trigger or a function has the name of one of ours
	// and was not made by us: rename it.
	ErrCaptureTaken = errors.New("one of this name exists that is not ours: rename it")

	// ErrTableBusy means that other transactions held a table for too long.
	ErrTableBusy = errors.New("other transactions hold a table: run this again")
)

// ProtectError says what stopped a Protect, a CaptureByTrigger, or the undoing of one. Nothing was changed.
type ProtectError struct {
	// Table is the table's name with its schema, empty where none is concerned.
	Table string
	// Object is the name of the constraint, index, policy, role, trigger or function, empty
	// where the table itself is meant.
	Object string
	// Err is one of this package's errors.
	Err error
	// Fix is what to do, SQL where SQL does it. It may be empty.
	Fix string
}

func (e *ProtectError) Error() string {
	var parts []string
	if e.Object != "" {
		parts = append(parts, fmt.Sprintf("%q", e.Object))
	}
	if e.Table != "" {
		parts = append(parts, fmt.Sprintf("table %q", e.Table))
	}
	text := strings.Join(parts, " of ") + ": " + e.Err.Error()
	if e.Fix != "" {
		text += ": " + e.Fix
	}
	return text
}

func (e *ProtectError) Unwrap() error { return e.Err }

// UntrustedError lists the roles that have privileges on protected tables, and the
// logins other than the handle's that own one or are members of its owner. To each,
// revoke them, or list the role in [Config.TrustedRoles]. PUBLIC stands for all
// roles, the app's too, so it can only be revoked.
type UntrustedError struct {
	// Roles are, by table ("schema.table"), the roles in order.
	Roles map[string][]string
}

func (e *UntrustedError) Error() string {
	var list []string
	for _, table := range slices.Sorted(maps.Keys(e.Roles)) {
		list = append(list, fmt.Sprintf("%s: %s", table, strings.Join(e.Roles[table], ", ")))
	}
	return fmt.Sprintf("%v (%s): revoke them, or name the roles in Config.TrustedRoles or Config.SystemRole", ErrUntrustedRole, strings.Join(list, "; "))
}

func (e *UntrustedError) Unwrap() error { return ErrUntrustedRole }

// SQLSTATEs that mean something to us.
const (
	stateForeignKey = "23503"
	stateUnique     = "23505"
	stateLock       = "55P03"
	stateDeadlock   = "40P01"
)

// sqlState returns the server's code of an error, empty if it is none of the server's.
func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}
