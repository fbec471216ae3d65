package audittest_test

import (
	"cmp"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/datatypes"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit/audittest"
)

// Reading has a column of each kind.
type Reading struct {
	ID       int64
	TenantID string
	At       time.Time
	Wall     time.Time `gorm:"type:timestamp"`
	Day      time.Time `gorm:"type:date"`
	Clock    datatypes.Time
	Big      int64
	Small    int8
	State    state
	Amount   money `gorm:"type:numeric"`
	Ratio    float64
	Single   float32
	None     float64
	Raw      []byte
	Nil      []byte
	Doc      datatypes.JSON
	Card     card              `gorm:"type:jsonb;serializer:json"`
	Names    []string          `gorm:"serializer:json"`
	Tags     tags              `gorm:"type:text[]"`
	Attrs    map[string]string `gorm:"type:jsonb;serializer:json"`
	On       bool
	Text     string
	Number   string
	Opt      sql.NullString
	Ptr      *string
	Key      uuid.UUID `gorm:"type:uuid"`
	Host     string    `gorm:"type:inet"`
	Removed  gorm.DeletedAt
}

type card struct {
	Number int64  `json:"number"`
	Holder string `json:"holder"`
}

// state is a number in the database with a name in Go.
type state int

func (s state) String() string { return [...]string{"open", "closed"}[s] }

// money is a decimal as the usual packages have it.
type money string

func (m money) Value() (driver.Value, error) { return cmp.Or(string(m), "0"), nil }

// tags write themselves as PostgreSQL's array.
type tags []string

func (t tags) Value() (driver.Value, error) { return "{" + strings.Join(t, ",") + "}", nil }

// cipher is another text in the database.
type cipher string

func (c cipher) Value() (driver.Value, error) { return strings.ToUpper(string(c)), nil }

// broken has no value for the database.
type broken struct{}

func (broken) Value() (driver.Value, error) { return nil, errors.New("broken") }

// TestChanged_Values compares each kind of column with what is it, in all of its
// Go types, and with what it is not.
func TestChanged_Values(t *testing.T) {
	t.Parallel()
	b := setup(t)
	newYork, err := time.LoadLocation("America/New_York")
	must(t, err)
	at := time.Date(2026, 7, 1, 22, 30, 0, 123_456_789, time.UTC)
	text, key := "é <b>", uuid.MustParse("0198c2a0-0000-7000-8000-00000000000a")
	must(t, b.acme.Create(&Reading{
		At: at, Wall: at.In(newYork), Day: at, Clock: datatypes.NewTime(12, 30, 1, 0), Big: 1<<60 + 1, Small: -3, State: 1, Amount: "12.50", Ratio: 0.1, Single: 0.1,
		None: math.NaN(), Raw: []byte("\x00\xffab"), Doc: datatypes.JSON(`{"b": [1, null, 9007199254740993], "a": "é"}`), Card: card{1<<53 + 1, "Ann"},
		Names: []string{"a", "b"}, Tags: tags{"a", "b"}, Attrs: map[string]string{"k": "v"}, On: true, Text: text, Number: "12.50", Opt: sql.NullString{String: "x", Valid: true},
		Ptr: &text, Key: key, Host: "192.0.2.7", Removed: gorm.DeletedAt{Time: at, Valid: true},
	}).Error)
	type named string
	pointer := &text
	for column, c := range map[string]struct{ equal, different []any }{
		"at": {
			[]any{at, at.In(newYork), &at, at.Truncate(time.Microsecond), sql.NullTime{Time: at, Valid: true}, gorm.DeletedAt{Time: at, Valid: true}, "2026-07-01T22:30:00.123456+00:00"},
			[]any{at.Add(time.Microsecond), time.Date(2026, 7, 1, 22, 30, 0, 123_456_789, newYork), "2026-07-01", gorm.DeletedAt{}, nil, at.UnixMicro()},
		},
		"wall":   {[]any{at.In(newYork), at.Add(-4 * time.Hour)}, []any{at, at.In(newYork).Add(time.Second)}},
		"day":    {[]any{at, at.Add(time.Hour), datatypes.Date(at), "2026-07-01"}, []any{at.AddDate(0, 0, 1), at.Add(2 * time.Hour)}},
		"clock":  {[]any{datatypes.NewTime(12, 30, 1, 0), "12:30:01"}, []any{datatypes.NewTime(12, 30, 2, 0)}},
		"big":    {[]any{1<<60 + 1, int64(1<<60 + 1), uint64(1<<60 + 1), json.Number("1152921504606846977"), "1152921504606846977", big.NewInt(1<<60 + 1), *big.NewInt(1<<60 + 1)}, []any{1 << 60, float64(1 << 60), "1152921504606846976", nil, true}},
		"small":  {[]any{-3, int8(-3), -3.0, json.Number("-3.0"), "-3"}, []any{3, uint(3), "-3x", "0x3", "-6/2", json.Number("x")}},
		"state":  {[]any{state(1), 1, "1"}, []any{state(0), "open"}},
		"amount": {[]any{money("12.50"), money("12.5"), "12.500", 12.5, json.Number("1.25e1")}, []any{money("12.51"), 12, "12.50 EUR", "1e999999999"}},
		"ratio":  {[]any{0.1, "0.1", json.Number("0.1")}, []any{0.1000000000000001, float32(0.1) * 2, "0,1"}},
		"single": {[]any{float32(0.1), float64(float32(0.1))}, []any{float32(0.2)}},
		"none":   {[]any{math.NaN(), float32(math.NaN()), "NaN"}, []any{math.Inf(1), 0, nil}},
		"raw":    {[]any{[]byte("\x00\xffab"), `\x00ff6162`}, []any{[]byte("ab"), []byte(nil), "AP9hYg=="}},
		"doc": {
			[]any{
				datatypes.JSON(`{"a":"é","b":[1,null,9007199254740993]}`), json.RawMessage(`{"a":"\u00e9","b":[1.0,null,9007199254740993]}`), []byte(`{"a":"é","b":[1,null,9007199254740993]}`),
				map[string]any{"a": "é", "b": []any{1, nil, int64(9007199254740993)}}, `{"a":"é","b":[1,null,9007199254740993]}`,
				struct {
					A string `json:"a"`
					B any    `json:"b"`
				}{"é", []*int64{pointerTo[int64](1), nil, pointerTo[int64](9007199254740993)}},
			},
			[]any{datatypes.JSON(`{"a":"é","b":[1,null,9007199254740992]}`), map[string]any{"a": "é"}, map[string]any{"a": "é", "c": 1}, []any{"a"}, "{", "é", json.RawMessage("{} {}"), nil},
		},
		"card":   {[]any{card{1<<53 + 1, "Ann"}, &card{1<<53 + 1, "Ann"}, map[string]any{"number": 1<<53 + 1, "holder": "Ann"}}, []any{card{1 << 53, "Ann"}, card{}, "Ann"}},
		"names":  {[]any{[]string{"a", "b"}, []any{"a", "b"}, `["a","b"]`}, []any{[]string{"b", "a"}, []string{"a"}, "a"}},
		"tags":   {[]any{tags{"a", "b"}, []string{"a", "b"}, [2]string{"a", "b"}}, []any{tags{"a"}, []string{"a", "b", "c"}, "{a,b}"}},
		"attrs":  {[]any{map[string]string{"k": "v"}, datatypes.JSON(`{"k":"v"}`)}, []any{map[string]string{"k": "w"}, map[string]string{}}},
		"on":     {[]any{true, pointerTo(true), sql.NullBool{Bool: true, Valid: true}}, []any{false, "true", 1, nil}},
		"text":   {[]any{text, &text, &pointer, named(text), []byte(text), sql.NullString{String: text, Valid: true}, sql.Null[string]{V: text, Valid: true}}, []any{"é", nil, "", sql.NullString{}, 5, at, []string{text}, true, broken{}, func() {}}},
		"number": {[]any{"12.50", money("12.50")}, []any{"12.5", 12.5, json.Number("12.50")}},
		"opt":    {[]any{sql.NullString{String: "x", Valid: true}, "x", pointerTo("x")}, []any{cipher("x"), sql.NullString{String: "x"}, nil}},
		"ptr":    {[]any{&text, text}, []any{(*string)(nil)}},
		"key":    {[]any{key, key.String(), &key, uuid.NullUUID{UUID: key, Valid: true}}, []any{uuid.New(), uuid.Nil, key[:], uuid.NullUUID{}}},
		"host":   {[]any{netip.MustParseAddr("192.0.2.7"), "192.0.2.7"}, []any{netip.MustParseAddr("192.0.2.8")}},
	} {
		t.Run(column, func(t *testing.T) {
			entry := func(r *recorder) *audittest.Entry { return audittest.Expect(r, b.acme).One("readings", "create") }
			for _, value := range c.equal {
				check(t, func(r *recorder) { entry(r).Changed(column, nil, value) })
			}
			for _, value := range c.different {
				check(t, func(r *recorder) { entry(r).Changed(column, nil, value) }, "column", "want from null to ")
			}
		})
	}
	audittest.Expect(t, b.acme).One("readings", "create").Unchanged("nil")
	must(t, b.acme.Unscoped().Model(&Reading{ID: 1}).Updates(map[string]any{"raw": nil, "text": "12", "opt": nil, "removed": nil}).Error)
	entry := audittest.Expect(t, b.acme).One("readings", "restore")
	for _, null := range []any{nil, (*string)(nil), []byte(nil), sql.NullString{}, gorm.DeletedAt{}, json.RawMessage("null"), map[string]int(nil)} {
		entry.Changed("raw", []byte("\x00\xffab"), null)
	}
	check(t, func(r *recorder) {
		audittest.Expect(r, b.acme).One("readings", "restore").Changed("text", text, 12)
	}, `from "é <b>" to "12", want from "é <b>" to 12`)
	check(t, func(r *recorder) {
		audittest.Expect(r, b.acme).One("readings", "restore").Changed("text", []byte("\x01"), at)
	}, `want from "\\x01" to "2026-07-01T22:30:00.123456789Z"`)
	check(t, func(r *recorder) {
		audittest.Expect(r, b.acme).One("readings", "restore").Changed("text", func() {}, strings.Repeat("é", 400))
	}, "want from func(), which has no form in the trail to", "é…\n")
}

func pointerTo[T any](value T) *T { return &value }
