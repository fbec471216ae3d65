package trail

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/plan"
)

// Column is a column of a table as the catalogue has it, with its plan.
type Column struct {
	plan.Column
	Type      string // base type in pg_catalog, or the name of any other
	SQLType   string // the type itself, as SQL names it
	NotNull   bool
	Generated bool
	Exact     bool // its = tells apart whatever the trail shows apart
	Wide      bool // its values may be long
	Unknown   bool // no model has it: its name alone says how it enters the trail
	Nests     bool // its values are made of others, of types that are not looked into
}

// Redacted is what the trail shows in the place of a redacted value.
const Redacted = "[redacted]"

// exact holds the types of which no two values are equal that look different:
// numeric, for one, has 1.0 and 1.00.
var exact = map[string]bool{
	"bool": true, "int2": true, "int4": true, "int8": true, "oid": true, "text": true, "varchar": true, "uuid": true,
	"date": true, "time": true, "timestamp": true, "timestamptz": true, "bytea": true, "name": true,
}

// differs is the condition that two values of the column are shown differently.
func (c Column) differs(before, after string) string {
	if c.Exact {
		return before + " IS DISTINCT FROM " + after
	}
	return "record_image_ne(ROW(" + before + "), ROW(" + after + "))"
}

// canonical is the value's text in the same form in every session: of times
// that in UTC, as JSON has it.
func (c Column) canonical(expr string) string {
	switch c.Type {
	case "timestamptz", "timestamp", "date":
		return "((" + c.whole(expr) + ")::json #>> '{}')"
	}
	return expr + "::text"
}

// value returns the text of the value as JSON, NULL if the value is.
func (c Column) value(expr string, hash Hash) string {
	switch {
	case c.Treatment == plan.Redact || c.Treatment == plan.Hash && hash.Inner == "":
		return `CASE WHEN ` + expr + ` IS NOT NULL THEN '"` + Redacted + `"' END`
	case c.Treatment == plan.Hash:
		return hash.of(c.canonical(expr))
	case c.Wide:
		return c.cut(expr)
	}
	return c.whole(expr)
}

// whole renders a value of any length. What is a number or a truth value in JSON, too,
// needs no more than its text. A timestamptz is shown in UTC, whatever the
// session's zone, so that equal instants are equal texts.
func (c Column) whole(expr string) string {
	switch c.Type {
	case "bool", "int2", "int4", "int8", "jsonb":
		return expr + "::text"
	case "timestamptz":
		utc := "to_json(" + expr + " AT TIME ZONE 'UTC')::text"
		return `CASE WHEN NOT isfinite(` + expr + `) THEN to_json(` + expr + `)::text WHEN ` + expr + ` >= '0001-01-01 00:00:00Z' THEN rtrim(` +
			utc + `, '"') || '+00:00"' ELSE replace(` + utc + `, ' BC"', '+00:00 BC"') END`
	case "_timestamptz":
		each := Column{Type: "timestamptz"}.whole("e")
		return `CASE WHEN array_ndims(` + expr + `) > 1 THEN to_json(` + expr + `)::text ELSE (SELECT '[' || coalesce(string_agg(coalesce(` + each +
			`, 'null'), ',' ORDER BY n), '') || ']' FROM unnest(` + expr + `) WITH ORDINALITY AS u (e, n) HAVING ` + expr + ` IS NOT NULL) END`
	case "tstzrange":
		return "to_json(" + utcRange(expr) + ")::text"
	case "tstzmultirange":
		return `to_json((SELECT '{' || coalesce(string_agg(` + utcRange("r") + `, ',' ORDER BY r), '') || '}' FROM unnest(` + expr +
			`) AS u (r) HAVING ` + expr + ` IS NOT NULL))::text`
	case "json":
		return fmt.Sprintf(`CASE WHEN %[1]s::text ~* '%[2]s' THEN to_json(%[1]s::text)::text ELSE %[1]s::text END`, expr, notInJSONB)
	}
	if c.Nests { // perhaps such a json
		return fmt.Sprintf(`CASE WHEN to_json(%[1]s)::text ~* '%[2]s' THEN to_json(%[1]s::text)::text ELSE to_json(%[1]s)::text END`, expr, notInJSONB)
	}
	return "to_json(" + expr + ")::text"
}

// utcRange is the text that a tstzrange has in a session in UTC, NULL if it is.
func utcRange(expr string) string {
	bound := func(end string) string {
		at := end + "(" + expr + ")"
		return `coalesce(CASE WHEN isfinite(` + at + `) THEN '"' || regexp_replace((` + at + ` AT TIME ZONE 'UTC')::text, '( BC)?$', '+00\1') || '"' ELSE ` + at + `::text END, '')`
	}
	return `CASE WHEN isempty(` + expr + `) THEN 'empty' WHEN ` + expr + ` IS NOT NULL THEN CASE WHEN lower_inc(` + expr + `) THEN '[' ELSE '(' END || ` + bound("lower") +
		` || ',' || ` + bound("upper") + ` || CASE WHEN upper_inc(` + expr + `) THEN ']' ELSE ')' END END`
}

// notInJSONB matches what the type json takes and jsonb may not: escapes of NUL
// and of surrogates, and numbers of more digits than numeric has.
const notInJSONB = `\\u(0000|d[89a-f])|[0-9.]e[+-]?[0-9]{4}`

// cut renders a value that may be too long: its start, with a marker. It asks for
// the number of bytes first, which a value that is stored apart tells by itself.
func (c Column) cut(expr string) string {
	text, unit := expr+"::text", "characters"
	switch c.Type {
	case "text", "varchar":
		text = expr
	case "bytea":
		unit = "bytes"
	}
	length, start := "char_length("+text+")", fmt.Sprintf("left(%s, %d)", text, c.Limit)
	condition := fmt.Sprintf("octet_length(%s) > %d AND %s > %d", text, c.Limit, length, c.Limit)
	if c.Type == "bytea" {
		length, start = "octet_length("+expr+")", fmt.Sprintf(`'\x' || encode(substr(%s, 1, %d), 'hex')`, expr, c.Limit)
		condition = fmt.Sprintf("%s > %d", length, c.Limit)
	}
	marked := start + ` || '...[cut from ' || ` + length + ` || ' ` + unit + `]'`
	if c.Type == "text" || c.Type == "varchar" {
		return `to_json(CASE WHEN ` + condition + ` THEN ` + marked + ` ELSE ` + text + ` END)::text`
	}
	return `CASE WHEN ` + condition + ` THEN to_json(` + marked + `)::text ELSE ` + c.whole(expr) + ` END`
}

// Hash holds the SQL of what a keyed hash takes: the two padded keys of
// HMAC-SHA256 (RFC 2104), and the tenant of the row. Without a key there is
// none, and what were hashed is redacted.
type Hash struct{ Inner, Outer, Tenant string }

// of hashes a text with its tenant before it, so that equal values of two
// tenants have different hashes. The tenant's length comes first, or else a part
// of it could be taken for the value's.
func (h Hash) of(text string) string {
	tenant := `coalesce(` + h.Tenant + `, '')`
	message := `convert_to(octet_length(` + tenant + `) || ':' || ` + tenant + ` || ` + text + `, 'UTF8')`
	return `'"hmac-sha256:' || encode(sha256(` + h.Outer + ` || sha256(` + h.Inner + ` || ` + message + `)), 'hex') || '"'`
}

// name returns a column's name as a key of a JSON object, in SQL's literal to be continued.
func (c Column) name() string {
	name, _ := json.Marshal(c.Name) // a text always has a JSON form
	return strings.ReplaceAll(string(name), "'", "''")
}

// Appears is the part of a row that came to be, NULL where the value is.
func (c Column) appears(after string, hash Hash) string {
	return `'` + c.name() + `:{"old":null,"new":' || ` + c.value(after, hash) + ` || '}'`
}

// vanishes is the part of a row that is gone, NULL where the value was.
func (c Column) vanishes(before string, hash Hash) string {
	return `'` + c.name() + `:{"old":' || ` + c.value(before, hash) + ` || ',"new":null}'`
}

// changes is the part of a row that changed, NULL if the value did not.
func (c Column) changes(before, after string, hash Hash) string {
	return `CASE WHEN ` + c.differs(before, after) + ` THEN '` + c.name() + `:{"old":' || coalesce(` + c.value(before, hash) +
		`, 'null') || ',"new":' || coalesce(` + c.value(after, hash) + `, 'null') || '}' END`
}

// Quote quotes an identifier.
func Quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// Literal quotes a text.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
