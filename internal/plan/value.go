package plan

import (
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strconv"

	"github.com/google/uuid"
)

// ErrTenantFormat is the error of a tenant id that does not fit the type of a table's tenant column.
var ErrTenantFormat = errors.New("the tenant id does not fit the type of the tenant column: write an integer without sign or leading zeros, a UUID in lower case with hyphens")

// kind is the type of a tenant column.
type kind uint8

const (
	text kind = iota
	integer
	uuidKind
)

// Fits reports whether a column of that PostgreSQL type holds what Value
// returns, and takes no two ids for the same: citext and char do.
func (t Table) Fits(postgresType string) bool {
	switch postgresType {
	case "int2", "int4", "int8":
		return t.kind == integer
	case "uuid":
		return t.kind == uuidKind
	case "text", "varchar":
		return t.kind == text
	}
	return false
}

// IsText reports whether the column holds each tenant id as it is.
func (t Table) IsText() bool { return t.kind == text }

// Value converts a tenant id to what the table's tenant column holds: strictly,
// so that no two texts stand for the same tenant.
func (t Table) Value(id string) (driver.Value, error) {
	switch t.kind {
	case integer:
		n, err := strconv.ParseInt(id, 10, 64)
		if err != nil || strconv.FormatInt(n, 10) != id || n < t.min || n > t.max {
			return nil, ErrTenantFormat
		}
		return n, nil
	case uuidKind:
		u, err := uuid.Parse(id)
		if err != nil || u.String() != id {
			return nil, ErrTenantFormat
		}
	}
	return id, nil
}

// Match says how a value that a caller wrote into the tenant column relates to the tenant id.
type Match uint8

const (
	// Absent is a value that leaves the column to us: nil or zero.
	Absent Match = iota
	// Same is the tenant's own id.
	Same
	// Foreign is any other value, and any that cannot be told.
	Foreign
)

// Compare compares a value of the tenant column with the tenant id.
func (t Table) Compare(value any, id string) Match {
	v := reflect.ValueOf(value)
	for v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	if !v.IsValid() || v.IsZero() {
		return Absent
	}
	if valuer, ok := value.(driver.Valuer); ok {
		inner, err := valuer.Value()
		if err != nil {
			return Foreign
		}
		if v = reflect.ValueOf(inner); !v.IsValid() {
			return Absent
		}
	}
	if t.canonical(v) == id {
		return Same
	}
	return Foreign
}

func (t Table) canonical(v reflect.Value) string {
	switch {
	case v.CanInt():
		return strconv.FormatInt(v.Int(), 10)
	case v.CanUint():
		return strconv.FormatUint(v.Uint(), 10)
	case v.Kind() == reflect.String:
		return t.canonicalText(v.String())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Uint8:
		return t.canonicalText(string(v.Bytes()))
	case v.Kind() == reflect.Array && v.Type().ConvertibleTo(reflect.TypeFor[uuid.UUID]()):
		return fmt.Sprint(v.Convert(reflect.TypeFor[uuid.UUID]()).Interface())
	}
	return ""
}

func (t Table) canonicalText(s string) string {
	if t.kind != uuidKind {
		return s
	}
	u, err := uuid.Parse(s)
	if err != nil {
		return ""
	}
	return u.String()
}
