package audittest

import (
	"bytes"
	"database/sql/driver"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/courtroll/courtroll/audit"
)

// equal reports whether the JSON in the trail means a Go value.
func equal(want any, got json.RawMessage) bool {
	shown, err := decode(got)
	return err == nil && slices.ContainsFunc(forms(want), func(form any) bool { return same(form, shown) })
}

// decode decodes a JSON text. Numbers keep all of their digits.
func decode(text []byte) (value any, err error) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return nil, err
	}
	if decoder.More() {
		return nil, fmt.Errorf("more than one JSON value")
	}
	return value, nil
}

// forms returns what the trail may show of a Go value, the likeliest first: what
// [decode] returns, or a []byte or a time.Time, of which it has several forms.
// What a Valuer gives to the database is all that may be shown of it.
func forms(value any) []any {
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
		v = v.Elem() // of a nil pointer it is invalid
	}
	if !v.IsValid() {
		return []any{nil}
	}
	addressable := reflect.New(v.Type()) // a pointer has all methods, whatever their receivers
	addressable.Elem().Set(v)
	switch x := addressable.Interface().(type) {
	case *time.Time:
		return []any{*x}
	case *json.Number:
		return []any{*x}
	case *json.RawMessage:
		return ownForms(x)
	case driver.Valuer:
		return valuerForms(x)
	}
	return append(kindForms(v), ownForms(addressable.Interface())...)
}

// valuerForms adds to what the database is given the JSON of what may be an
// array there, whose text is PostgreSQL's own.
func valuerForms(x driver.Valuer) []any {
	given, err := x.Value()
	if _, again := given.(driver.Valuer); err != nil || again { // which the database does not take
		return nil
	}
	found := forms(given)
	if own, ok := jsonForm(x); ok && isComposite(own) {
		found = append(found, own)
	}
	return found
}

func kindForms(v reflect.Value) []any {
	switch {
	case v.Kind() == reflect.Bool:
		return []any{v.Bool()}
	case v.CanInt():
		return []any{json.Number(strconv.FormatInt(v.Int(), 10))}
	case v.CanUint():
		return []any{json.Number(strconv.FormatUint(v.Uint(), 10))}
	case v.CanFloat():
		return []any{float(v.Float(), v.Type().Bits()), float(v.Float(), 64)} // a float32 may be kept as more
	case v.Kind() == reflect.String:
		return []any{v.String()}
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		if v.IsNil() {
			return []any{nil}
		}
		return []any{v.Bytes()}
	case v.Type().ConvertibleTo(reflect.TypeFor[time.Time]()):
		return []any{v.Convert(reflect.TypeFor[time.Time]()).Interface()}
	}
	return nil
}

// float is a number, or PostgreSQL's name for what is none in JSON.
func float(f float64, bits int) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return json.Number(strconv.FormatFloat(f, 'g', -1, bits))
}

// ownForms are what a type makes of its value, and package json of one that
// makes nothing of it; but of a []byte, whose base64 the database never has.
func ownForms(x any) (found []any) {
	if marshaler, ok := x.(encoding.TextMarshaler); ok {
		if text, err := marshaler.MarshalText(); err == nil {
			found = append(found, string(text))
		}
	}
	_, marshals := x.(json.Marshaler)
	if own, ok := jsonForm(x); ok && (marshals || !isBytes(x)) {
		found = append(found, own)
	}
	if stringer, ok := x.(fmt.Stringer); ok {
		found = append(found, stringer.String())
	}
	return found
}

func isBytes(x any) bool {
	t := reflect.TypeOf(x).Elem()
	return t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Uint8
}

func jsonForm(x any) (any, bool) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, false
	}
	value, err := decode(text)
	return value, err == nil
}

func isComposite(value any) bool {
	switch value.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// same compares a form of a value with what the trail shows.
func same(want, got any) bool {
	switch want := want.(type) {
	case string:
		return sameText(want, got)
	case []byte:
		text, ok := got.(string)
		return ok && text == `\x`+hex.EncodeToString(want) || sameText(string(want), got)
	case time.Time:
		text, ok := got.(string)
		return ok && sameTime(want, text)
	case json.Number:
		number, ok := got.(json.Number)
		return ok && sameNumber(string(want), string(number))
	case map[string]any, []any:
		if text, ok := got.(string); ok { // JSON in a column of text
			inner, err := decode([]byte(text))
			return err == nil && sameJSON(want, inner)
		}
		return sameJSON(want, got)
	}
	return want == got // nil or a bool
}

// sameText compares a text: with a number it is a decimal, and with an array or
// an object the JSON of one.
func sameText(want string, got any) bool {
	switch got := got.(type) {
	case string:
		return want == got
	case json.Number:
		return sameNumber(want, string(got))
	case map[string]any, []any:
		inner, err := decode([]byte(want))
		return err == nil && sameJSON(inner, got)
	}
	return false
}

func sameJSON(want, got any) bool {
	switch want := want.(type) {
	case map[string]any:
		object, ok := got.(map[string]any)
		if !ok || len(object) != len(want) {
			return false
		}
		for name, value := range want {
			if other, ok := object[name]; !ok || !sameJSON(value, other) {
				return false
			}
		}
		return true
	case []any:
		array, ok := got.([]any)
		return ok && slices.EqualFunc(want, array, sameJSON)
	case json.Number:
		number, ok := got.(json.Number)
		return ok && sameNumber(string(want), string(number))
	}
	return !isComposite(got) && want == got
}

// decimal bounds the exponent: the number is written out to be compared.
var decimal = regexp.MustCompile(`^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,6})?$`)

func sameNumber(a, b string) bool {
	if !decimal.MatchString(a) || !decimal.MatchString(b) {
		return false
	}
	x, okX := new(big.Rat).SetString(a)
	y, okY := new(big.Rat).SetString(b)
	return okX && okY && x.Cmp(y) == 0
}

// The texts of PostgreSQL's times: a timestamptz, a timestamp and a date.
const (
	instantLayout = time.RFC3339Nano
	wallLayout    = "2006-01-02T15:04:05.999999999"
)

// sameTime compares to the microsecond, which is all that the database keeps. One
// without a zone holds what the clock of the Go value shows.
func sameTime(want time.Time, got string) bool {
	if at, err := time.Parse(instantLayout, got); err == nil {
		return sameInstant(want, at)
	}
	if at, err := time.Parse(wallLayout, got); err == nil {
		return sameInstant(wall(want), at)
	}
	return want.Format(time.DateOnly) == got
}

func sameInstant(a, b time.Time) bool { return a.Sub(b).Abs() < time.Microsecond }

func wall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// show is a wanted value as the trail would show it.
func show(value any) string {
	found := forms(value)
	if len(found) == 0 {
		return fmt.Sprintf("%T, which has no form in the trail", value)
	}
	form := found[0]
	switch f := form.(type) {
	case []byte:
		form = `\x` + hex.EncodeToString(f)
	case time.Time:
		form = f.Format(instantLayout)
	case json.Number:
		return short(string(f)) // which need be none, and then json refuses it
	}
	return short(jsonText(form))
}

// jsonText is a value as JSON, without the escapes that HTML needs.
func jsonText(value any) string {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // of what decode returned, which has a form
	return string(bytes.TrimSpace(text.Bytes()))
}

// keyText is a resource's id: the key as text, or a JSON array of its parts. The
// error never holds a part: it may be a whole row.
func keyText(key []any) (string, error) {
	parts := make([]string, len(key))
	for i, part := range key {
		text, err := partOf(part)
		if err != nil {
			return "", err
		}
		parts[i] = text
	}
	if slices.Contains(parts, "") || len(parts) == 0 {
		return "", nil
	}
	return audit.ResourceID(parts...), nil
}

// partOf is a part of a key as text, empty if it is nothing.
func partOf(part any) (string, error) {
	found := forms(part)
	if len(found) > 0 && found[0] == nil {
		return "", nil
	}
	i := slices.IndexFunc(found, func(form any) bool { return !isComposite(form) })
	if i < 0 || i > 0 && isStruct(part) { // of a struct, a String is for people
		return "", fmt.Errorf("Of was given a %T, which is no key: give the primary key, as in Of(invoice.ID)", part)
	}
	text := partText(found[i])
	zero, isTime := found[i].(time.Time)
	_, isNumber := found[i].(json.Number)
	switch {
	case isNumber && sameNumber(text, "0"), isTime && zero.IsZero(), text == nilUUID:
		return "", fmt.Errorf("Of was given a %T that is zero: nobody has filled the id in (a key that is zero is given as text)", part)
	}
	return text, nil
}

const nilUUID = "00000000-0000-0000-0000-000000000000"

func isStruct(value any) bool {
	t := reflect.TypeOf(value)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t.Kind() == reflect.Struct
}

func partText(form any) string {
	switch form := form.(type) {
	case []byte:
		return `\x` + hex.EncodeToString(form)
	case time.Time:
		return form.UTC().Format("2006-01-02T15:04:05.999999") + "+00:00"
	case string:
		return form
	}
	return jsonText(form)
}
