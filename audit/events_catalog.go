package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// DefinedEvent is an [*EventType] of some type of data. Only this package implements it.
type DefinedEvent interface {
	// Definition returns what the type was made with, the version filled in.
	Definition() Definition

	eventType() (*eventType, error)
}

// Catalog are the events of an app, in any order, an action in one version or in
// several. [Config.Events] makes it the list of what may be recorded.
type Catalog []DefinedEvent

// publishedEvent is an event as [Catalog.JSON] has it.
type publishedEvent struct {
	Action       string             `json:"action"`
	Version      int                `json:"version"`
	ResourceType string             `json:"resource_type"`
	Description  string             `json:"description,omitempty"`
	Schema       *jsonschema.Schema `json:"schema"`
}

// JSON returns the catalogue as an array of objects, one per event, in the order
// of their actions and versions, with the members action, version, resource_type,
// description, and schema: the JSON Schema of the event's data. In it, what is
// recorded as "[redacted]" has "x-redacted", and fields that are not recorded are
// not there. The error is [ErrDefinition].
func (c Catalog) JSON() ([]byte, error) {
	sorted, err := c.sorted()
	if err != nil {
		return nil, err
	}
	events := make([]publishedEvent, len(sorted))
	for i, t := range sorted {
		events[i] = publishedEvent{t.Action, t.Version, t.ResourceType, t.Description, published(t.schema.Schema())}
	}
	text, err := json.MarshalIndent(events, "", "  ")
	return append(text, '\n'), err
}

// Markdown returns the catalogue as a page: a table of contents, and a section per
// event with the fields of its data. A field within another is written
// "device.name", one of an array's items "items[].name", and the values of a map
// "labels.*". Descriptions are texts: what would be Markdown in them is escaped.
// The error is [ErrDefinition].
func (c Catalog) Markdown() ([]byte, error) {
	sorted, err := c.sorted()
	if err != nil {
		return nil, err
	}
	return []byte(markdown(sorted)), nil
}

// compile returns the types by action, nil of a nil catalogue.
func (c Catalog) compile() (eventTypes, error) {
	sorted, err := c.sorted()
	if err != nil || c == nil {
		return nil, err
	}
	types := eventTypes{}
	for _, t := range sorted {
		types[t.Action] = append(types[t.Action], t)
	}
	return types, nil
}

func (c Catalog) sorted() ([]*eventType, error) {
	types := make([]*eventType, len(c))
	for i, event := range c {
		if event == nil {
			return nil, fmt.Errorf("%w: the catalogue has a nil at index %d", ErrDefinition, i)
		}
		var err error
		if types[i], err = event.eventType(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(types, compareEvents)
	for i := range types[min(1, len(types)):] {
		if compareEvents(types[i], types[i+1]) == 0 {
			return nil, fmt.Errorf("%w: %q of version %d is in the catalogue twice", ErrDefinition, types[i].Action, types[i].Version)
		}
	}
	return types, nil
}

func compareEvents(a, b *eventType) int {
	return cmp.Or(strings.Compare(a.Action, b.Action), cmp.Compare(a.Version, b.Version))
}
