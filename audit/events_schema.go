package audit

import (
	"encoding"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
)

// dialect is the version of JSON Schema that ours are written in.
const dialect = "https://json-schema.org/draft/2020-12/schema"

// What a schema says of the trail, beside what JSON Schema knows.
const (
	redactedKey = "x-redacted" // of the value no more is recorded than that there is one
	omittedKey  = "x-omitted"  // the field is not recorded, nor on the page
)

// resolvedSchema derives the schema of a type's JSON.
func resolvedSchema(t reflect.Type) (*jsonschema.Resolved, error) {
	if t.Kind() != reflect.Struct || schemaOf(t) != nil {
		return nil, fmt.Errorf("its data is of type %v, which is no struct, or makes JSON or text of itself", t)
	}
	known := schemas{}
	if err := (fieldCheck{known, map[place]bool{}}).learn(place{t, true}); err != nil {
		return nil, err
	}
	schema, err := jsonschema.ForType(t, &jsonschema.ForOptions{TypeSchemas: known})
	if err != nil {
		return nil, err
	}
	schema.Schema = dialect
	known.mark(t, schema)
	return schema.Resolve(nil)
}

// schemas are those of the types that package json writes otherwise than the
// library infers from their kind, and nil for the other types that were seen.
// [fieldCheck] fills it.
type schemas map[reflect.Type]*jsonschema.Schema

// jsonName returns what a field is named in JSON, empty if it is not there, or
// only its own fields are.
func jsonName(field reflect.StructField) string {
	tag := field.Tag.Get("json")
	if field.Anonymous || !field.IsExported() || tag == "-" {
		return ""
	}
	if name, _, _ := strings.Cut(tag, ","); name != "" {
		return name
	}
	return field.Name
}

// schemaOf returns the schema of a type that package json does not write as its
// kind, nil of another.
func schemaOf(t reflect.Type) *jsonschema.Schema {
	pointer := reflect.PointerTo(t)
	switch {
	case t.Kind() == reflect.Pointer || t.Kind() == reflect.Interface:
		return nil
	case t == reflect.TypeFor[time.Time]():
		return &jsonschema.Schema{Type: "string", Format: "date-time"}
	case t == reflect.TypeFor[json.Number]():
		return &jsonschema.Schema{Type: "number"}
	case pointer.Implements(reflect.TypeFor[json.Marshaler]()):
		return &jsonschema.Schema{Types: slices.Clone(anything)}
	case pointer.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return &jsonschema.Schema{Type: "string"}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8 && schemaOf(t.Elem()) == nil:
		return &jsonschema.Schema{Types: []string{"null", "string"}, ContentEncoding: "base64"}
	}
	return nil
}

// anything is spelt out: the library takes a pointer to what has no type for null alone.
var anything = []string{"null", "boolean", "object", "array", "number", "string"}

// mark writes into a schema what the library does not know: that a map may be
// null, and what of a field is recorded.
func (s schemas) mark(t reflect.Type, schema *jsonschema.Schema) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case s[t] != nil:
	case t.Kind() == reflect.Slice, t.Kind() == reflect.Array:
		s.mark(t.Elem(), schema.Items)
	case t.Kind() == reflect.Map:
		schema.Type, schema.Types = "", []string{"null", "object"}
		s.mark(t.Elem(), schema.AdditionalProperties)
	case t.Kind() == reflect.Struct:
		for _, field := range reflect.VisibleFields(t) {
			if name := jsonName(field); name != "" {
				s.mark(field.Type, schema.Properties[name])
				markField(field.Tag.Get("audit"), name, schema)
			}
		}
	}
}

func markField(tag, name string, schema *jsonschema.Schema) {
	switch {
	case tag == "-":
		schema.Properties[name].Extra = map[string]any{omittedKey: true}
		schema.Required = slices.DeleteFunc(schema.Required, func(required string) bool { return required == name })
	case tag == "redact", speaksOfSecret(name):
		schema.Properties[name].Extra = map[string]any{redactedKey: true}
	}
}

// published returns a schema without what is not recorded.
func published(schema *jsonschema.Schema) *jsonschema.Schema {
	schema = schema.CloneSchemas()
	withoutOmitted(schema)
	return schema
}

func withoutOmitted(schema *jsonschema.Schema) {
	if schema == nil {
		return
	}
	maps.DeleteFunc(schema.Properties, func(_ string, field *jsonschema.Schema) bool { return field.Extra[omittedKey] != nil })
	for _, field := range schema.Properties {
		withoutOmitted(field)
	}
	withoutOmitted(schema.Items)
	withoutOmitted(schema.AdditionalProperties)
}

// isMap reports whether a schema is that of a map: a struct's allows no further fields.
func isMap(schema *jsonschema.Schema) bool {
	return schema.AdditionalProperties != nil && schema.AdditionalProperties.Not == nil
}
