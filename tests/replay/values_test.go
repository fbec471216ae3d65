package replay

import (
	"database/sql/driver"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
	"gorm.io/datatypes"
	"pgregory.net/rapid"
)

// Money is a type that stores itself.
type Money struct { //nolint:recvcheck // a Valuer is a value, and a Scanner a pointer
	Cents    int64
	Currency string
}

// Value implements [driver.Valuer]. No money is NULL.
func (m Money) Value() (driver.Value, error) {
	if m == (Money{}) {
		return nil, nil //nolint:nilnil // NULL
	}
	return fmt.Sprintf("%d %s", m.Cents, m.Currency), nil
}

// Scan implements [database/sql.Scanner].
func (m *Money) Scan(v any) error {
	*m = Money{}
	if v == nil {
		return nil
	}
	_, err := fmt.Sscanf(fmt.Sprint(v), "%d %s", &m.Cents, &m.Currency)
	return err
}

// Texts is an array of texts.
type Texts []string //nolint:recvcheck // a Valuer is a value, and a Scanner a pointer

// Value implements [driver.Valuer].
func (a Texts) Value() (driver.Value, error) {
	if a == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	parts := make([]string, len(a))
	for i, text := range a {
		parts[i] = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}

// Scan implements [database/sql.Scanner]. It reads an array of more dimensions as
// one of one, and an element that is NULL as an empty text.
func (a *Texts) Scan(v any) error {
	var elements pgtype.FlatArray[pgtype.Text]
	err := pgtype.NewMap().SQLScanner(&elements).Scan(v)
	*a = nil
	for _, e := range elements {
		*a = append(*a, e.String)
	}
	return err
}

// Ints is an array of numbers.
type Ints []int64 //nolint:recvcheck // a Valuer is a value, and a Scanner a pointer

// Value implements [driver.Valuer].
func (a Ints) Value() (driver.Value, error) {
	if a == nil {
		return nil, nil //nolint:nilnil // NULL
	}
	parts := make([]string, len(a))
	for i, n := range a {
		parts[i] = strconv.FormatInt(n, 10)
	}
	return "{" + strings.Join(parts, ",") + "}", nil
}

// Scan implements [database/sql.Scanner]. An element that is NULL reads as 0.
func (a *Ints) Scan(v any) error {
	var elements pgtype.FlatArray[pgtype.Int8]
	err := pgtype.NewMap().SQLScanner(&elements).Scan(v)
	*a = nil
	for _, e := range elements {
		*a = append(*a, e.Int64)
	}
	return err
}

func ptr[T any](v T) *T { return &v }

// The values of each column: NULL, zero, and what is easily mistaken for another.
var (
	texts = []string{"", "a", "é", `q"uo'te`, `back\slash`, "line\nbreak\t", "NULL", "null", `{"a":1}`, "😀", "$1 RETURNING *", " ", "[redacted]"}

	sizes  = []Size{{}, {Width: 1}, {1, ptr(0)}, {2, ptr(5)}}
	metas  = []map[string]any{nil, {}, {"a": 1.5}, {"a": nil, "b": []any{"x", true}}, {"é": "<&>"}}
	prices = []Money{{}, {100, "EUR"}, {-1, "NOK"}}
	words  = []Texts{nil, {}, {"a"}, {"a", "b c"}, {`q"`, "", "NULL", `\`}, {"é,"}}
	ints   = []Ints{nil, {}, {0}, {1, -2}}
	// JSON's null is left out: the trail, like to_jsonb, does not tell it from NULL.
	docs    = []datatypes.JSON{nil, jsonOf(`{}`), jsonOf(`{"b": [1, null], "a": "é"}`), jsonOf(`[1.0]`), jsonOf(`[1.00]`), jsonOf(`"t"`), jsonOf(`9007199254740993`)}
	olds    = []datatypes.JSON{nil, jsonOf(`{"b":1, "a":2}`), jsonOf(`{"b":1,"a":2}`), jsonOf(`{"a":1,"a":2}`), jsonOf(`[]`)}
	amounts = []*string{nil, ptr("0"), ptr("1.0"), ptr("1.00"), ptr("NaN"), ptr("-0.10"), ptr("12345678901234567890.123456789"), ptr("1e-7")}
	ratios  = []*float64{nil, ptr(0.0), ptr(math.Copysign(0, -1)), ptr(math.NaN()), ptr(0.1), ptr(1e300), ptr(math.Inf(-1))}
	bigs    = []*int64{nil, ptr(int64(0)), ptr(int64(1<<53 + 1)), ptr(int64(math.MaxInt64)), ptr(int64(math.MinInt64))}
	blobs   = [][]byte{nil, {}, {0}, {255, 0, '\\'}}
	noon    = time.Date(2026, 7, 1, 12, 0, 0, 123_456_000, time.UTC)
	times   = []*time.Time{nil, {}, &noon, ptr(noon.In(time.FixedZone("", 5*3600+1800))), ptr(noon.Add(time.Microsecond)),
		ptr(time.Date(2026, 11, 1, 5, 30, 0, 0, time.UTC)), ptr(time.Date(2026, 11, 1, 6, 30, 0, 0, time.UTC)), ptr(time.Date(9999, 12, 31, 23, 0, 0, 0, time.UTC))}
	untils = []*string{nil, ptr("infinity"), ptr("2026-07-01T12:00:00+02:00"), ptr("2026-07-01T10:00:00Z")}
	days   = []*datatypes.Date{nil, ptr(datatypes.Date(noon)), ptr(datatypes.Date(noon.AddDate(0, 0, 1)))}
	spans  = []*string{nil, ptr("1 day"), ptr("24:00:00"), ptr("1 mon -3 days 04:05:06.789"), ptr("0")}
	flags  = []*bool{nil, ptr(false), ptr(true)}
	refs   = []*string{nil, ptr(""), ptr("a"), ptr("NULL")}
	rooms  = []string{"a", `"b"`, `["c"]`, "é, d", `\`}
)

func jsonOf(text string) datatypes.JSON { return datatypes.JSON(text) }

func pick[T any](t *rapid.T, label string, from []T) T {
	return from[rapid.IntRange(0, len(from)-1).Draw(t, label)]
}

// drawThing draws a row, most of whose columns are zero or NULL as often as not.
func drawThing(t *rapid.T) Thing {
	m := Thing{ID: drawID(t), TenantID: tenant, Code: drawCode(t), N: drawN(t)}
	if rapid.Bool().Draw(t, "bare") {
		return m
	}
	m.Size, m.Meta, m.Price = pick(t, "size", sizes), pick(t, "meta", metas), pick(t, "price", prices)
	m.Words, m.Numbers = pick(t, "words", words), pick(t, "ints", ints)
	m.Doc, m.Old = pick(t, "doc", docs), pick(t, "old", olds)
	m.Amount, m.Ratio, m.Big, m.Blob = pick(t, "amount", amounts), pick(t, "ratio", ratios), pick(t, "big", bigs), pick(t, "blob", blobs)
	m.At, m.Wall, m.Day, m.Span = pick(t, "at", times), pick(t, "wall", times), pick(t, "day", days), pick(t, "span", spans)
	m.Until = pick(t, "until", untils)
	m.Flag, m.Text, m.APIToken = pick(t, "flag", flags), pick(t, "text", refs), pick(t, "token", refs)
	m.Note, m.Phone, m.Status = pick(t, "note", texts), pick(t, "phone", texts), pick(t, "status", texts)
	if rapid.IntRange(0, 3).Draw(t, "child") == 0 {
		m.ParentID = ptr(drawID(t))
	}
	return m
}

// change is one column with a value for it.
type change struct {
	column string
	value  any
}

// drawChange draws a column of Thing and what to set it to, by value or by an
// expression, some of which have values that Go has none for.
func drawChange(t *rapid.T) change {
	if rapid.IntRange(0, 3).Draw(t, "by expression") == 0 {
		return pick(t, "expression", expressions())
	}
	return drawValue(t)
}

// drawValue draws a column of Thing and a value for it.
func drawValue(t *rapid.T) change {
	return pick(t, "column", []change{
		{"n", drawN(t)}, {"code", drawCode(t)}, {"size_width", drawN(t)}, {"price", pick(t, "price", prices)}, {"words", pick(t, "words", words)},
		{"numbers", pick(t, "ints", ints)}, {"doc", pick(t, "doc", docs)}, {"old", pick(t, "old", olds)}, {"amount", pick(t, "amount", amounts)},
		{"ratio", pick(t, "ratio", ratios)}, {"big", pick(t, "big", bigs)}, {"blob", pick(t, "blob", blobs)}, {"at", pick(t, "at", times)},
		{"until", pick(t, "until", untils)}, {"wall", pick(t, "wall", times)}, {"day", pick(t, "day", days)}, {"span", pick(t, "span", spans)}, {"flag", pick(t, "flag", flags)},
		{"text", pick(t, "text", refs)}, {"api_token", pick(t, "token", refs)}, {"note", pick(t, "note", texts)}, {"phone", pick(t, "phone", texts)},
		{"status", pick(t, "status", texts)}, {"parent_id", drawID(t)},
	})
}

// show renders a drawn value for whoever reads a failure, what pointers point to
// included and zero fields left out.
func show(v any) string {
	switch v := v.(type) {
	case nil:
		return "nil"
	case time.Time:
		return v.Format(time.RFC3339Nano)
	case datatypes.JSON:
		return string(v)
	}
	r := reflect.ValueOf(v)
	switch {
	case r.Kind() == reflect.Pointer && r.IsNil():
		return "nil"
	case r.Kind() == reflect.Pointer:
		return "&" + show(r.Elem().Interface())
	case r.Kind() == reflect.Struct:
		var fields []string
		for i := range r.NumField() {
			if f := r.Type().Field(i); f.IsExported() && !r.Field(i).IsZero() {
				fields = append(fields, f.Name+":"+show(r.Field(i).Interface()))
			}
		}
		return r.Type().Name() + "{" + strings.Join(fields, " ") + "}"
	}
	return fmt.Sprintf("%#v", v)
}
