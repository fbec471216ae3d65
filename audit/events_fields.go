package audit

import (
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode"
)

// fieldCheck finds what the library infers, or tags ask for, otherwise than package
// json writes it.
type fieldCheck struct {
	schemas schemas
	seen    map[place]bool
}

// place is a type where it stands: package json calls methods of its pointer only
// where it has an address, which the values of a map have not.
type place struct {
	reflect.Type
	addressed bool
}

// learn looks at all types below p.
func (c fieldCheck) learn(p place) error {
	if c.seen[p] {
		return nil
	}
	c.seen[p] = true
	own := schemaOf(p.Type)
	c.schemas[p.Type] = own
	switch {
	case own != nil && !p.addressed && !hasOwnMethod(p.Type):
		return fmt.Errorf("%v makes JSON or text of itself by a method of its pointer, which a map's values have not: let the map hold pointers", p.Type)
	case own != nil:
		return nil
	}
	switch p.Kind() {
	case reflect.Pointer, reflect.Slice:
		return c.learn(place{p.Elem(), true})
	case reflect.Array:
		return c.learn(place{p.Elem(), p.addressed})
	case reflect.Map:
		return c.learn(place{p.Elem(), false})
	case reflect.Struct:
		return c.learnFields(p)
	}
	return nil
}

// hasOwnMethod reports whether a type with a schema of its own has it without an address.
func hasOwnMethod(t reflect.Type) bool {
	for _, method := range []reflect.Type{reflect.TypeFor[json.Marshaler](), reflect.TypeFor[encoding.TextMarshaler]()} {
		if reflect.PointerTo(t).Implements(method) {
			return t.Implements(method) // which package json asks for first
		}
	}
	return true // of its kind
}

func (c fieldCheck) learnFields(p place) error {
	fields, err := jsonFields(p.Type, nil)
	if err != nil {
		return err
	}
	names := map[string]bool{}
	for _, field := range fields {
		name := jsonName(field)
		if name == "" {
			continue
		}
		err := c.checkField(p.Type, field, names[name])
		if err == nil {
			err = c.learn(place{field.Type, p.addressed})
		}
		if err != nil {
			return fmt.Errorf("field %s of %v: %w", field.Name, p.Type, err)
		}
		names[name] = true
	}
	return nil
}

// jsonFields returns the fields of a struct and of those embedded in it, also those
// that are no fields of Go's because others have their name: package json goes by its own.
func jsonFields(t reflect.Type, index []int) (fields []reflect.StructField, err error) {
	for i := range t.NumField() {
		field := t.Field(i)
		field.Index = append(slices.Clone(index), i)
		if !field.Anonymous {
			fields = append(fields, field)
			continue
		}
		if err := checkEmbedded(field); err != nil {
			return nil, fmt.Errorf("field %s of %v: %w", field.Name, t, err)
		}
		embedded, err := jsonFields(field.Type, field.Index)
		if err != nil {
			return nil, err
		}
		fields = append(fields, embedded...)
	}
	return fields, nil
}

func checkEmbedded(field reflect.StructField) error {
	tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
	switch {
	case tag != "" || field.Tag.Get("audit") != "":
		return errors.New("is embedded with a tag: tag its own fields, or give it a name")
	case field.Type.Kind() != reflect.Struct:
		return errors.New("is embedded, and no struct: give it a name")
	}
	return nil
}

func (c fieldCheck) checkField(t reflect.Type, field reflect.StructField, named bool) error {
	tag, options, _ := strings.Cut(field.Tag.Get("json"), ",")
	audit := field.Tag.Get("audit")
	visible, _ := t.FieldByName(field.Name)
	switch {
	case named:
		return errors.New("has the name of another in JSON")
	case !slices.Equal(visible.Index, field.Index):
		return errors.New("is embedded beside another of its name: rename one of them in Go, too")
	case strings.ContainsFunc(tag, isNoNameRune):
		return fmt.Errorf("has the name %q, which package json ignores: use letters, digits and \"_\"", tag)
	case slices.Contains(strings.Split(options, ","), "string"):
		return errors.New("has the option string, of which the schema would know nothing: make it a string")
	case audit != "" && audit != "-" && audit != "redact":
		return fmt.Errorf(`has a tag audit:%q, which is none of "redact" and "-"`, audit)
	case audit == "" && ignoresTags(field.Type, map[reflect.Type]bool{}):
		return errors.New(`makes JSON or text of itself, for which the audit tags within it count for nothing: tag the field itself audit:"redact" or audit:"-"`)
	}
	return nil
}

// isNoNameRune reports what package json allows in no name.
func isNoNameRune(r rune) bool {
	return !strings.ContainsRune("!#$%&()*+-./:;<=>?@[]^_{|}~ ", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
}

// ignoresTags reports whether a field's value, or its parts, are written by a method of a
// type that has audit tags within it: nobody can tell where it writes what they tag.
func ignoresTags(t reflect.Type, seen map[reflect.Type]bool) bool {
	if schemaOf(t) != nil {
		return hasTag(t, seen)
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		return ignoresTags(t.Elem(), seen) || hasTag(t.Key(), seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return ignoresTags(t.Elem(), seen)
	}
	return false // the fields of a struct are looked at themselves
}

// hasTag reports whether there is an audit tag on any field below a type.
func hasTag(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Map:
		return hasTag(t.Elem(), seen) || hasTag(t.Key(), seen)
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return hasTag(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if field := t.Field(i); field.Tag.Get("audit") != "" || hasTag(field.Type, seen) {
				return true
			}
		}
	}
	return false
}
