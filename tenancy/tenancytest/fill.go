package tenancytest

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// filler makes values, no two of a kind alike.
type filler struct {
	prefix string
	next   int
}

func newFiller() filler {
	return filler{
		prefix: "t" + strconv.FormatInt(rand.Int64N(36*36*36*36), 36), //nolint:gosec // values likely to be free are no secret
		next:   rand.IntN(1_000_000_000),                              //nolint:gosec // likewise
	}
}

// value returns a value for a field, false if its type is none that can be guessed.
func (f *filler) value(field *schema.Field) (any, bool) {
	f.next++
	typ := field.IndirectFieldType
	switch column := strings.ToLower(string(field.DataType)); {
	case field.Serializer != nil:
		return nil, false
	case typ == reflect.TypeFor[time.Time]():
		return time.Date(2020, 1, 1, 0, 0, f.next%100_000_000, 0, time.UTC), true
	case typ.ConvertibleTo(reflect.TypeFor[uuid.UUID]()) && typ.Kind() == reflect.Array:
		return reflect.ValueOf(uuid.New()).Convert(typ).Interface(), true
	case column == "uuid" && typ.Kind() == reflect.String:
		return uuid.NewString(), true
	case strings.HasPrefix(column, "json"):
		return f.json(typ)
	}
	return f.scalar(field, typ)
}

func (f *filler) json(typ reflect.Type) (any, bool) {
	text := fmt.Sprintf(`{"n": %d}`, f.next)
	switch {
	case typ.Kind() == reflect.String:
		return text, true
	case typ.Kind() == reflect.Slice && typ.Elem().Kind() == reflect.Uint8:
		return []byte(text), true
	}
	return nil, false
}

func (f *filler) scalar(field *schema.Field, typ reflect.Type) (any, bool) {
	switch typ.Kind() {
	case reflect.String:
		return f.text(field.Size), true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return int64(f.number(field.Size)), true
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return uint64(f.number(field.Size)), true
	case reflect.Float32, reflect.Float64:
		return float64(f.next % 1000), true
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return []byte(f.text(0)), true
		}
	}
	return nil, false
}

// text keeps the end, in which texts differ, where a column is short.
func (f *filler) text(size int) string {
	s := f.prefix + strconv.FormatInt(int64(f.next), 36)
	if size > 0 && len(s) > size {
		return s[len(s)-size:]
	}
	return s
}

func (f *filler) number(bits int) int {
	switch {
	case bits > 0 && bits <= 8:
		return 1 + f.next%120
	case bits > 0 && bits <= 16:
		return 1 + f.next%32_000
	}
	return f.next
}

// isLeft reports whether a column is left to the database or to GORM.
func isLeft(field *schema.Field) bool {
	_, softDelete := reflect.TypeAssert[schema.QueryClausesInterface](reflect.New(field.FieldType))
	nullable := field.FieldType.Kind() == reflect.Pointer && !field.NotNull && !field.PrimaryKey
	return field.DBName == "" || !field.Creatable || field.AutoIncrement || field.HasDefaultValue ||
		field.AutoCreateTime > 0 || field.AutoUpdateTime > 0 || softDelete || nullable ||
		field.FieldType == reflect.TypeFor[gorm.DeletedAt]()
}
