package audit

import (
	"errors"
	"fmt"
)

// Errors of [Coverage] and [Verify]. But for the first they come wrapped in a
// [CoverageError], which names the table.
var (
	// ErrNotInstalled is a handle without the plugin, where it is needed.
	ErrNotInstalled = errors.New("audit: the plugin is not installed on this handle: call db.Use(audit.New(...))")

	// ErrNoModel is a table that the login may write, and of which no model is known.
	ErrNoModel = errors.New("no model of the table is known: list it in Config.Models, capture the table with migrate.CaptureByTrigger, or name it in Config.Exclude with a reason")

	// ErrNoTable is a model whose table the database does not have.
	ErrNoTable = errors.New("there is no such table: migrate before this, or give only models that have one")

	// ErrTriggers is a table on which the triggers that capture it are not whole.
	ErrTriggers = errors.New("of the triggers that capture the table one is missing, disabled or altered: run migrate.CaptureByTrigger with its model")

	// ErrCascade is a foreign key that changes rows of an audited table when the
	// rows that they refer to change.
	ErrCascade = errors.New("rows change with those that they refer to, and leave no entry: capture the table with migrate.CaptureByTrigger, name it in Config.Exclude with a reason, or take the action off the key")

	// ErrHiddenWrite is a trigger, or a rule, that writes an audited table.
	ErrHiddenWrite = errors.New("it writes the table, and what it writes leaves no entry: capture the table with migrate.CaptureByTrigger, name it in Config.Exclude with a reason, or the function in Config.TrustedFunctions")

	// ErrUnreadable is a trigger, or a rule, of which cannot be told what it writes.
	ErrUnreadable = errors.New("which tables it writes cannot be told: capture all audited tables with migrate.CaptureByTrigger, or look, and name the function in Config.TrustedFunctions with a reason")

	// ErrNoTrail is a login to which the trail is closed: every change of an
	// audited table fails.
	ErrNoTrail = errors.New("the search path has no such table, or the login may not insert into it: run migrate.Up, and grant INSERT")
)

// CoverageError is one fault that [Coverage] or [Verify] found.
type CoverageError struct {
	Table string // of which changes leave no entry; empty if that cannot be told
	By    string // what changes it, as: foreign key "k" to "projects"; empty if that is no matter
	Kind  error  // one of this package's errors
	Cause error  // what lies beneath it, nil if nothing does
}

// Error implements error.
func (e *CoverageError) Error() string {
	text := "audit: "
	if e.Table != "" {
		text = fmt.Sprintf("audit: table %q: ", e.Table)
	}
	return text + e.what()
}

// what is the error without the table.
func (e *CoverageError) what() string {
	text := e.Kind.Error()
	if e.By != "" {
		text = e.By + ": " + text
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the kind and the cause.
func (e *CoverageError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}
