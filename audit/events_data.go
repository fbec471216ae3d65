package audit

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/google/jsonschema-go/jsonschema"
)

// check returns an error where an event is not of this type.
func (t *eventType) check(event Event, data map[string]any) error {
	if event.ResourceType != t.ResourceType {
		return fmt.Errorf("%w: its resource type is not %q", ErrUndefinedEvent, t.ResourceType)
	}
	value := plain(data)
	if t.schema.Validate(value) == nil {
		return nil
	}
	// What the library says quotes values.
	return fmt.Errorf("%w: %s", ErrUndefinedEvent, misfit(t.schema.Schema(), value, "data"))
}

// plain returns a value of JSON as the library takes it, which counts a
// json.Number as a string.
func plain(value any) any {
	switch value := value.(type) {
	case map[string]any:
		copied := make(map[string]any, len(value))
		for name, member := range value {
			copied[name] = plain(member)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i := range value {
			copied[i] = plain(value[i])
		}
		return copied
	case json.Number:
		return plainNumber(value)
	}
	return value
}

func plainNumber(number json.Number) any {
	if n, err := number.Int64(); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(number.String(), 10, 64); err == nil {
		return n
	}
	n, err := number.Float64()
	if err != nil { // it is too large, and the library knows no infinity
		return math.Copysign(math.MaxFloat64, n)
	}
	return n
}

// misfit says which part of a value does not fit a schema, and what would. It
// names only what the schema names: other members, and a map's keys, are data.
func misfit(schema *jsonschema.Schema, value any, place string) string {
	switch value := value.(type) {
	case map[string]any:
		if found := misfitMember(schema, value, place); found != "" {
			return found
		}
	case []any:
		for i, item := range value {
			if !fits(schema.Items, item) {
				return misfit(schema.Items, item, fmt.Sprintf("%s[%d]", place, i))
			}
		}
	}
	return fmt.Sprintf("%s is not as its schema has it: %s", place, describe(schema))
}

func misfitMember(schema *jsonschema.Schema, object map[string]any, place string) string {
	for _, name := range schema.PropertyOrder {
		if member, ok := object[name]; ok && !fits(schema.Properties[name], member) {
			return misfit(schema.Properties[name], member, place+"."+name)
		}
	}
	for _, name := range schema.Required {
		if _, ok := object[name]; !ok {
			return fmt.Sprintf("%s.%s is missing", place, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(object)) {
		switch {
		case schema.Properties[name] != nil || fits(schema.AdditionalProperties, object[name]):
		case isMap(schema):
			return misfit(schema.AdditionalProperties, object[name], place+".*")
		default:
			return fmt.Sprintf("%s has a member that is none of %q", place, schema.PropertyOrder)
		}
	}
	return ""
}

func fits(schema *jsonschema.Schema, value any) bool {
	if schema == nil {
		return true
	}
	resolved, err := schema.Resolve(nil)
	return err == nil && resolved.Validate(value) == nil
}

// describe says what values a schema has: "array of integer from 0 to 255, or null".
func describe(schema *jsonschema.Schema) string {
	types := schema.Types
	if schema.Type != "" {
		types = []string{schema.Type}
	}
	if len(types) == 0 || len(types) == len(anything) {
		return "anything"
	}
	null := slices.Contains(types, "null")
	types = slices.DeleteFunc(slices.Clone(types), func(name string) bool { return name == "null" })
	text := strings.Join(types, " or ") + describeParts(schema)
	if null {
		text += ", or null"
	}
	return text
}

func describeParts(schema *jsonschema.Schema) (text string) {
	if form := cmp.Or(schema.Format, schema.ContentEncoding); form != "" {
		text += ", " + form
	}
	if schema.MinItems != nil {
		text += fmt.Sprintf("[%d]", *schema.MinItems)
	}
	if schema.Items != nil {
		text += " of " + describe(schema.Items)
	}
	if isMap(schema) {
		text += " of " + describe(schema.AdditionalProperties)
	}
	if schema.Minimum != nil {
		text += " from " + strconv.FormatFloat(*schema.Minimum, 'f', -1, 64)
	}
	if schema.Maximum != nil {
		text += " to " + strconv.FormatFloat(*schema.Maximum, 'f', -1, 64)
	}
	return text
}

// withhold takes from data what the tags of its type keep out of the trail.
func withhold(schema *jsonschema.Schema, value any) {
	switch value := value.(type) {
	case map[string]any:
		withholdMembers(schema, value)
	case []any:
		for i := range value {
			if schema.Items != nil {
				withhold(schema.Items, value[i])
			}
		}
	}
}

func withholdMembers(schema *jsonschema.Schema, object map[string]any) {
	for name, member := range object {
		field := schema.Properties[name]
		if field == nil {
			field = schema.AdditionalProperties
		}
		switch {
		case field == nil: // of an interface
		case field.Extra[omittedKey] != nil:
			delete(object, name)
		case field.Extra[redactedKey] != nil && member != nil:
			object[name] = redacted
		default:
			withhold(field, member)
		}
	}
}
