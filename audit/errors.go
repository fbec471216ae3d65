package audit

import (
	"errors"
	"fmt"

	"github.com/courtroll/courtroll/internal/hooks"
)

// Errors of this package, to be matched with [errors.Is]. None of them, nor any
// text of this package, holds a row's values.
var (
	// ErrAudit is a change that did not happen because its audit record could
	// not be written, or an event that [Record] did not record. The cause is
	// wrapped beside it.
	ErrAudit = errors.New("the audit record could not be written, so the change was not made")

	// ErrUnaudited is a write that cannot be captured: SQL written by hand, or a
	// table of which no model is known. The way out is GORM's methods with the
	// model, the model in Config.Models where the table is reached by its name, or
	// an exclusion of the table in [Config.Exclude].
	ErrUnaudited = errors.New("the write cannot be captured: use GORM's methods with the table's model (listed in Config.Models where the table is reached by name), capture it with migrate.CaptureByTrigger, or name it in Config.Exclude with a reason")

	// ErrAppendOnly is an update or a delete of the audit trail, or a row of it
	// that names its own time.
	ErrAppendOnly = errors.New("the audit trail is append-only and takes its time from the database: leave created_at empty, and change no row")

	// ErrNoActor is a write without an actor where [Config.RequireActor] is set.
	// The way out is a context made by [WithActor].
	ErrNoActor = errors.New("no actor with an ID, or an anonymous one: use db.WithContext with a context made by audit.WithActor")

	// ErrDisplaced is a statement on a handle on which another plugin, installed
	// after this one, replaced or removed its callbacks, or anchored its own so
	// that GORM runs none. The way out is to install that plugin first.
	ErrDisplaced = hooks.ErrDisplaced

	// ErrCursor is a cursor that [List] did not return, or a position that [Export]
	// did not, for this tenant and filter.
	ErrCursor = errors.New("the cursor, or position, is not one that was returned for this tenant, filter and format")

	// ErrHorizon is an [Export] that cannot tell up to when the trail is whole: on a
	// standby, which does not know the transactions of its primary; beside a prepared
	// transaction that wrote entries; or beside one that stays open and whose begin is
	// not shown to this login.
	ErrHorizon = errors.New("it cannot be told up to when the trail is whole")

	// ErrEvent is an event that is wrong in itself: its action is not noun.verb, it has
	// no resource type, an outcome of its own, a negative version, or data of which no
	// JSON can be made. The way out is to record it as [Event] says.
	ErrEvent = errors.New("the event is wrong in itself")

	// ErrUndefinedEvent is an event that is not in [Config.Events], or one that has
	// another resource type than its definition, or data that does not fit its schema.
	// The way out is the definition, or a new version of it.
	ErrUndefinedEvent = errors.New("the event is not as Config.Events or its type defines it")

	// ErrDefinition is an [EventType] with a fault, or one that a [Catalog] holds twice.
	ErrDefinition = errors.New("the event's definition has a fault")

	// ErrFilter is a [Filter] that contradicts itself, or a [Resource] that is none, or
	// that of several tenants.
	ErrFilter = errors.New("what is asked for cannot be read")
)

// What an ErrEvent or an ErrDefinition is about.
var (
	errAction     = fmt.Errorf(`the action is not noun.verb: letters, digits, "_" and "-", joined by ".", of %d bytes at most`, maxAction)
	errOwnAction  = fmt.Errorf("the action %s is recorded by itself", scopeOpen)
	errReserved   = errors.New("the action is recorded by lifecycle.Delete alone")
	errNoResource = errors.New("the resource type is missing")
	errOutcome    = fmt.Errorf("the outcome is neither %q nor %q", Success, Failure)
	errVersion    = errors.New("the version is negative")

	errNoJSON      = errors.New("no JSON could be made of its data: a json.Number that is no number, a map's key, or too many levels")
	errNoJSONValue = errors.New("no JSON could be made of its data: a NaN, an infinity, or what refers to itself")
)

// What an ErrUnaudited is about, where it is not SQL written by hand.
var (
	errShape     = errors.New("the statement is not one that GORM builds")
	errKeyless   = errors.New("an update of a view needs a model with a primary key")
	errUpsertOn  = errors.New("before PostgreSQL 18, an upsert of a partitioned table, or of a view, does not tell what it replaced")
	errConflict  = errors.New("before PostgreSQL 18, an upsert needs a table with a key, or a conflict target of columns")
	errReturning = errors.New("rows are returned that nobody reads, or read that are not returned")
)

// ChangeError says which table a failed or refused change was about.
type ChangeError struct {
	Table string // empty where the statement names none
	Kind  error  // one of this package's errors
	Cause error  // what lies beneath it, nil if nothing does
}

// Error implements error.
func (e *ChangeError) Error() string {
	text := "audit: "
	if e.Table != "" {
		text = fmt.Sprintf("audit: table %q: ", e.Table)
	}
	text += e.Kind.Error()
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap returns the kind and the cause.
func (e *ChangeError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// EventError is an event that was not recorded. It matches [ErrAudit] and its cause.
type EventError struct {
	Action string // empty where the event has none
	Cause  error
}

// Error implements error.
func (e *EventError) Error() string {
	return fmt.Sprintf("audit: the event %q was not recorded: %v", e.Action, e.Cause)
}

// Unwrap returns [ErrAudit] and the cause.
func (e *EventError) Unwrap() []error { return []error{ErrAudit, e.Cause} }

// refusal is an error of a kind whose own text speaks of statements.
type refusal struct {
	text string
	kind error
}

// Error implements error.
func (r *refusal) Error() string { return r.text }

// Unwrap returns the kind.
func (r *refusal) Unwrap() error { return r.kind }
