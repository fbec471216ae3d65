package migrate

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrAppHandle means that the handle carries courtroll's plugins, so it is
	// the app's. Migrations need the owner's: open a second handle and install
	// no plugin on it.
	ErrAppHandle = errors.New("migrate: this handle has courtroll plugins: use an owner handle without the plugins")

	// ErrInTransaction means that the handle is inside a transaction, where
	// neither the lock nor a concurrent index build can live.
	ErrInTransaction = errors.New("migrate: this handle is inside a transaction: use one that is not")

	// ErrLocked means that another instance held the migration lock for longer
	// than [Config.LockTimeout]. Nothing was run.
	ErrLocked = errors.New("migrate: another instance is migrating this database")

	// ErrChecksum means that a recorded version was made from another text than
	// this binary holds. It comes inside a [VersionError]; nothing was run.
	ErrChecksum = errors.New("recorded checksum differs from this binary's")

	// ErrUnknownVersion means that a newer release has migrated this database,
	// of whose tables this binary cannot know enough. It comes inside a
	// [VersionError]; nothing was run. An app that is rolled back to an older
	// release and wants to start nevertheless may pass over this error.
	ErrUnknownVersion = errors.New("recorded by a newer release than this binary")

	// ErrIndexDiffers means that the database has a relation of an index's name
	// that is not that index. It comes inside an [UpError] or a [DownError]; the
	// relation is left alone: rename it and run again.
	ErrIndexDiffers = errors.New("the name belongs to something else")

	// ErrNoSchema means that no schema of the search_path exists, so that there
	// is nowhere to create anything.
	ErrNoSchema = errors.New("migrate: no schema of the search_path exists")
)

// VersionError says which recorded version does not fit this binary. Err is
// [ErrChecksum] or [ErrUnknownVersion].
type VersionError struct {
	Version int
	Name    string
	Err     error
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("migrate: version %d (%s): %v", e.Version, e.Name, e.Err)
}

func (e *VersionError) Unwrap() error { return e.Err }

// TableError says that a table exists which is not one that courtroll can
// use. The table is left as it is.
type TableError struct {
	Table string
	// Missing are the columns that it lacks and that Up cannot add, in the order they
	// should have: no value would be true of the rows that are there. Add them with
	// the values that they should have.
	Missing []string
	// Unfit are the columns of a type that courtroll's SQL cannot work with. Each
	// has the SQL that changes it.
	Unfit []Difference
	// Kind is what it is if it is no table: "view", "sequence", ….
	Kind string
}

func (e *TableError) Error() string {
	if e.Kind != "" {
		return fmt.Sprintf("migrate: %q is a %s, not a table: rename it", e.Table, e.Kind)
	}
	var parts []string
	if len(e.Missing) > 0 {
		parts = append(parts, fmt.Sprintf("exists without columns %s: add them, with the values of the rows that are there", strings.Join(e.Missing, ", ")))
	}
	for _, d := range e.Unfit {
		parts = append(parts, fmt.Sprintf("column %s is %s, not %s: %s", d.Column, d.Have, d.Want, d.Fix))
	}
	return fmt.Sprintf("migrate: table %q: %s", e.Table, strings.Join(parts, "; "))
}

// UpError says how far an Up came that began to change the database. What is
// in Created and Applied is committed, and a further Up goes on from there.
type UpError struct {
	// Created are the tables that this call made, Added the columns that it added.
	Created, Added []string
	// Applied are the versions that this call finished, in order.
	Applied []Migration
	// Rebuilt are the recorded versions whose invalid index this call replaced.
	Rebuilt []Migration
	// Failed is the version that failed. Its Version is 0 when creating the tables or
	// adding columns failed. A transactional version has left nothing behind; an
	// index build may have left an invalid index, which the next Up replaces.
	Failed Migration
	// Pending are the versions after the failed one that were still to be run.
	Pending []Migration
	// Err is why.
	Err error
}

func (e *UpError) Error() string {
	if e.Failed.Version == 0 {
		return fmt.Sprintf("migrate: preparing the tables: %v", e.Err)
	}
	return fmt.Sprintf("migrate: applying version %d (%s), after %d others: %v",
		e.Failed.Version, e.Failed.Name, len(e.Applied)+len(e.Rebuilt), e.Err)
}

func (e *UpError) Unwrap() error { return e.Err }
