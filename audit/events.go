package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/jsonschema-go/jsonschema"
	"gorm.io/gorm"
)

// Definition says what an event is, for [Define].
type Definition struct {
	// Action is noun.verb, as that of an [Event]. Required.
	Action string
	// Version counts the forms that the event's data has had: data that does not fit
	// the schema of before is a new version, defined beside the old one for as long
	// as the app records that. Default: 1.
	Version int
	// ResourceType is the kind of thing acted on. Required.
	ResourceType string
	// Description says when the event is recorded, for whoever reads the trail. Default: none.
	Description string
}

// EventType is an event whose data is a T. [Define] makes it; that of the zero
// value is [ErrDefinition]. It is safe for concurrent use.
type EventType[T any] struct {
	definition Definition
	compile    func() (*eventType, error)
}

// Define returns the type of an event, for a variable of the package that records
// it. T is a struct, and its JSON form is the event's data, of which the JSON
// Schema (draft 2020-12) is derived from T:
//
//   - A field is required that is tagged neither omitempty nor omitzero.
//   - A tag jsonschema:"…" describes a field.
//   - A tag audit:"redact" records that a field has a value, but not which, and
//     audit:"-" leaves the field out. They count at any depth, but for what
//     interfaces hold. Names that speak of a secret need no tag.
//   - A type that makes a text of itself is a string, and one that makes JSON of
//     itself is anything. Tags within it would count for nothing, so it has none,
//     unless the field that holds it is tagged.
//
// T does not refer to itself. Embedded are structs alone, by value and under no
// name of JSON's, no two fields have the same name, in Go or in JSON, and none has
// the option string. A map's values that write themselves by a method of their
// pointer are pointers. An event without data is audit.Define[struct{}].
//
// Define returns no error, nor does it panic. What is wrong with a definition is
// an [ErrDefinition] where the type is used: at the start, by [gorm.DB.Use], if it
// is in [Config.Events].
func Define[T any](definition Definition) *EventType[T] {
	if definition.Version == 0 {
		definition.Version = 1
	}
	return &EventType[T]{definition, sync.OnceValues(func() (*eventType, error) {
		return compileEvent(definition, reflect.TypeFor[T]())
	})}
}

// Definition returns what the type was made with, the version filled in.
func (t *EventType[T]) Definition() Definition {
	if t == nil {
		return Definition{}
	}
	return t.definition
}

func (t *EventType[T]) eventType() (*eventType, error) {
	if t == nil || t.compile == nil {
		return nil, fmt.Errorf("%w: the type was not made by Define", ErrDefinition)
	}
	return t.compile()
}

// Occurrence is what one event has beside its type and its data. The zero value
// is a success that concerns no one thing.
type Occurrence struct {
	// ResourceID is that of [Event].
	ResourceID string
	// Outcome defaults to [Success].
	Outcome Outcome
	// TenantID is that of [Event].
	TenantID string
	// BestEffort is that of [Event].
	BestEffort bool
}

// Record is [Record] for an event of this type, with the type's action, version and
// resource type. Data that does not fit the schema is [ErrUndefinedEvent], whether
// [Config.Events] is set or not.
func (t *EventType[T]) Record(ctx context.Context, db *gorm.DB, data T, occurrence Occurrence) error {
	d := t.Definition()
	event := Event{
		Action: d.Action, Version: d.Version, ResourceType: d.ResourceType,
		ResourceID: occurrence.ResourceID, Outcome: occurrence.Outcome, TenantID: occurrence.TenantID, BestEffort: occurrence.BestEffort,
	}
	own, err := t.eventType()
	if err == nil {
		// By its address, so that methods of pointers make JSON of its parts.
		event.Data, err = dataOf(&data)
	}
	if err == nil {
		err = record(ctx, db, event, own)
	}
	if err != nil {
		return &EventError{Action: event.Action, Cause: err}
	}
	return nil
}

// eventType is a definition with the schema of its data.
type eventType struct {
	Definition
	schema *jsonschema.Resolved
}

func compileEvent(definition Definition, t reflect.Type) (*eventType, error) {
	err := Event{Action: definition.Action, Version: definition.Version, ResourceType: definition.ResourceType}.fault()
	var schema *jsonschema.Resolved
	if err == nil {
		schema, err = resolvedSchema(t)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: version %d of %q: %w", ErrDefinition, definition.Version, definition.Action, err)
	}
	return &eventType{definition, schema}, nil
}

// eventTypes are those that may be recorded, by action and in the order of their
// versions. Nil are those of no catalogue: anything may be.
type eventTypes map[string][]*eventType

// find returns the type of an event, nil if it needs none. Own is that by which
// it is recorded, nil for one recorded by [Record].
func (e eventTypes) find(event Event, own *eventType) (*eventType, error) {
	if e == nil {
		return own, nil
	}
	types := e[event.Action]
	if len(types) == 0 {
		return nil, fmt.Errorf("%w: no event of its action is in Config.Events", ErrUndefinedEvent)
	}
	versions := make([]string, len(types))
	for i, t := range types {
		if t == own || own == nil && t.Version == event.Version {
			return t, nil
		}
		versions[i] = strconv.Itoa(t.Version)
	}
	if own == nil && event.Version == 0 {
		return types[len(types)-1], nil
	}
	if slices.Contains(versions, strconv.Itoa(event.Version)) {
		return nil, fmt.Errorf("%w: Config.Events has another type of its action and version", ErrUndefinedEvent)
	}
	return nil, fmt.Errorf("%w: version %d of its action is not in Config.Events, which has %s", ErrUndefinedEvent, event.Version, strings.Join(versions, ", "))
}

// dataOf returns the object that data is as JSON, with its numbers as they were written.
func dataOf(data any) (map[string]any, error) {
	text, err := json.Marshal(data)
	var object map[string]any
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber()
		err = decoder.Decode(&object)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrEvent, quiet(err))
	}
	return object, nil
}

// quiet says why there is no JSON, with types alone: texts of package json and of
// an app's methods quote values.
func quiet(err error) error {
	var (
		kind   *json.UnsupportedTypeError
		value  *json.UnsupportedValueError
		method *json.MarshalerError
	)
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("no JSON could be made of a %v in its data", kind.Type)
	case errors.As(err, &value):
		return errNoJSONValue
	case errors.As(err, &method):
		return fmt.Errorf("no JSON could be made of a %v in its data", method.Type)
	}
	return errNoJSON
}
