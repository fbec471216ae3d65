package audittest

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// Entry is one entry of the trail, which [Trail.One] returns. Each check fails
// the test with an error and returns the entry, so that one run shows all that is
// wrong with it. Columns have their names in the database.
type Entry struct {
	trail    *Trail
	log      models.AuditLog
	metadata audit.Metadata
	there    bool
}

// AuditLog returns the row, the zero one if there is none. Its metadata are read
// by [audit.ReadMetadata].
func (e *Entry) AuditLog() models.AuditLog { return e.log }

// Changed demands that a column changed, and from what to what. A nil is SQL's
// NULL, or that the row was not there: before a create, after a delete. Other
// values are compared with what the trail shows by their meaning:
//
//   - numbers of any type by value, also a decimal as text or json.Number;
//   - a time.Time by instant, to the microsecond; of a timestamp without time
//     zone, and of a date, by what its own clock and calendar show;
//   - a []byte with a bytea, or the text or JSON that it is;
//   - a driver.Valuer, such as sql.NullString or gorm.DeletedAt, by what it
//     gives to the database, and a pointer by what it points to;
//   - maps, structs and slices with JSON, by their own; so are the text and JSON
//     forms of other types: encoding.TextMarshaler, json.Marshaler, fmt.Stringer.
//
// What is redacted, hashed or cut in the trail is compared as it stands there.
func (e *Entry) Changed(field string, from, to any) *Entry {
	e.trail.t.Helper()
	change, ok := e.change(field)
	if ok && (!equal(from, change.Old) || !equal(to, change.New)) {
		e.fail("column %q changed from %s to %s, want from %s to %s%s",
			field, short(string(change.Old)), short(string(change.New)), show(from), show(to), altered(change))
	}
	return e
}

// Redacted demands that a column changed, and that the trail shows neither the
// old nor the new value. Of an event it is about what stands under that name in
// its data.
func (e *Entry) Redacted(field string) *Entry {
	e.trail.t.Helper()
	if e.isEvent() {
		if value, ok := e.datum(field); ok && string(value) != redacted {
			e.fail("data %q is not redacted", field)
		}
		return e
	}
	change, ok := e.change(field)
	if ok && (!isHidden(change.Old) || !isHidden(change.New)) {
		e.fail("column %q is not redacted", field) // and its value is none for a log
	}
	return e
}

// Unchanged demands that the entry has no change of a column of the table. So it
// is also with a column that never enters the trail, being tagged audit:"-".
func (e *Entry) Unchanged(field string) *Entry {
	e.trail.t.Helper()
	if !e.hasChanges() {
		return e
	}
	if change, changed := e.metadata.Changes[field]; changed {
		e.fail("column %q changed from %s to %s, want it unchanged", field, short(string(change.Old)), short(string(change.New)))
		return e
	}
	columns, err := e.trail.columns(e.log.ResourceType)
	if err != nil {
		e.trail.stop("reading the catalogue: %v", err)
		return e
	}
	if len(columns) > 0 && !slices.Contains(columns, field) {
		e.fail("there is no column %q%s", field, instead(field, columns))
	}
	return e
}

// OnlyChanged demands that the changed columns are these and no others. An
// update has its time of update among them, a create each column that is not NULL.
func (e *Entry) OnlyChanged(fields ...string) *Entry {
	e.trail.t.Helper()
	if !e.hasChanges() {
		return e
	}
	var missing, further []string
	for _, field := range fields {
		if _, ok := e.metadata.Changes[field]; !ok {
			missing = append(missing, field)
		}
	}
	for _, field := range fieldsOf(e.metadata) {
		if !slices.Contains(fields, field) {
			further = append(further, field)
		}
	}
	if len(missing) > 0 {
		e.fail("want a change of %s", strings.Join(missing, ", "))
	}
	if len(further) > 0 {
		e.fail("changed besides: %s", strings.Join(further, ", "))
	}
	return e
}

// By demands who acted, by [audit.Actor.ID].
func (e *Entry) By(actorID string) *Entry {
	e.trail.t.Helper()
	switch {
	case !e.there:
	case actorID == "":
		e.fail("By was given no actor")
	case e.log.ActorID == nil:
		e.fail("nobody is named as the actor, want %q: was the context made by audit.WithActor?", actorID)
	case *e.log.ActorID != actorID:
		e.fail("the actor is %q, want %q", *e.log.ActorID, actorID)
	}
	return e
}

// Because demands the reason, that of [audit.WithReason] or of the system scope.
func (e *Entry) Because(reason string) *Entry {
	e.trail.t.Helper()
	given := slices.DeleteFunc([]string{e.metadata.Reason, e.metadata.SystemReason}, func(r string) bool { return r == "" })
	switch {
	case !e.there || reason != "" && slices.Contains(given, reason):
	case reason == "":
		e.fail("Because was given no reason")
	case len(given) == 0:
		e.fail("no reason is given, want %q: was the context made by audit.WithReason?", reason)
	default:
		e.fail("the reason is %q, want %q", strings.Join(given, `" and "`), reason)
	}
	return e
}

// Succeeded demands that an event's outcome is [audit.Success].
func (e *Entry) Succeeded() *Entry {
	e.trail.t.Helper()
	return e.outcome(audit.Success)
}

// Failed demands that an event's outcome is [audit.Failure].
func (e *Entry) Failed() *Entry {
	e.trail.t.Helper()
	return e.outcome(audit.Failure)
}

func (e *Entry) outcome(want audit.Outcome) *Entry {
	e.trail.t.Helper()
	switch {
	case !e.there:
	case !e.isEvent():
		e.fail("a change has no outcome: it is an event's")
	case e.metadata.Outcome != want:
		e.fail("the outcome is %q, want %q", e.metadata.Outcome, want)
	}
	return e
}

// Data demands what an event's data holds under a name, compared as in
// [Entry.Changed]; nil is null, and not that there is no such name.
func (e *Entry) Data(name string, value any) *Entry {
	e.trail.t.Helper()
	if got, ok := e.datum(name); ok && !equal(value, got) {
		e.fail("data %q is %s, want %s", name, short(string(got)), show(value))
	}
	return e
}

// isEvent tells an event from a change, which has changes even where all are left out.
func (e *Entry) isEvent() bool { return e.there && e.metadata.Changes == nil }

func (e *Entry) hasChanges() bool {
	e.trail.t.Helper()
	if e.isEvent() {
		e.fail("an event changes no column: see Data")
	}
	return e.there && !e.isEvent()
}

// change returns the change of a column, and fails where there is none.
func (e *Entry) change(field string) (audit.Change, bool) {
	e.trail.t.Helper()
	if !e.hasChanges() {
		return audit.Change{}, false
	}
	change, ok := e.metadata.Changes[field]
	if !ok {
		e.fail("column %q did not change%s", field, instead(field, fieldsOf(e.metadata)))
	}
	return change, ok
}

// datum returns what an event's data holds under a name, and fails where it does not.
func (e *Entry) datum(name string) (json.RawMessage, bool) {
	e.trail.t.Helper()
	switch {
	case !e.there:
		return nil, false
	case !e.isEvent():
		e.fail("a change has no data: see Changed")
		return nil, false
	}
	var data map[string]json.RawMessage
	_ = json.Unmarshal(e.metadata.Data, &data) // of another form: it has no names
	value, ok := data[name]
	if !ok {
		e.fail("the data has no %q%s", name, instead(name, slices.Sorted(maps.Keys(data))))
	}
	return value, ok
}

func (e *Entry) fail(format string, args ...any) {
	e.trail.t.Helper()
	e.trail.t.Errorf("audittest: %s %s: "+format+"\nthe entry is:%s",
		append(append([]any{e.log.Action, e.log.ResourceType}, args...), list([]models.AuditLog{e.log}))...)
}
