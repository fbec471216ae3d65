// Package trail renders how a changed row enters audit_logs: which columns, in
// which form, as expressions of SQL. The statements that write the trail
// themselves and the triggers that do it for others share it, so that both
// leave the same entries.
package trail

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// DefaultLimit is the number of characters above which a value is cut.
const DefaultLimit = 16 << 10

// CatalogSQL reads a table, whose name is the parameter, as JSON for [Compile].
// It returns NULL where there is no such table. The table's name is looked up as
// a statement's would be; those of our own objects never among temporary ones.
var CatalogSQL = `SELECT (SELECT json_build_object(
	'version', current_setting('server_version_num')::int,
	'kind', c.relkind,
	'children', c.relhassubclass AND c.relkind = 'r',
	'digest', (` + digest("c.oid") + `)::text,
	'triggers', c.relkind <> 'r' OR c.relhassubclass OR EXISTS (SELECT FROM pg_catalog.pg_trigger t
		WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgtype & 19 = 19),
	'columns', (SELECT json_agg(json_build_object('name', a.attname, 'type', CASE WHEN b.typtype = 'e' THEN 'enum'
			WHEN b.typnamespace = 'pg_catalog'::regnamespace THEN b.typname ELSE b.oid::regtype::text END,
			'sql', format_type(a.atttypid, -1), 'not_null', a.attnotnull, 'generated', a.attgenerated <> '', 'wide', b.typlen < 0 AND b.typname <> 'numeric',
			'nests', b.typtype = 'c' OR b.typelem IN (SELECT oid FROM pg_catalog.pg_type WHERE typtype IN ('c', 'd') OR typname = 'json'),
			'loose', NOT coalesce(l.collisdeterministic, true)) ORDER BY a.attnum)
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		JOIN pg_catalog.pg_type b ON b.oid = (WITH RECURSIVE base AS (SELECT t.oid, t.typtype, t.typbasetype
			UNION ALL SELECT n.oid, n.typtype, n.typbasetype FROM base JOIN pg_catalog.pg_type n ON n.oid = base.typbasetype WHERE base.typtype = 'd')
			SELECT oid FROM base WHERE typtype <> 'd')
		LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
	'unique', (SELECT json_agg(json_build_object('columns', (SELECT json_agg(a.attname ORDER BY k.n)
			FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, n)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum),
			'nulls', i.indnullsnotdistinct, 'index', i.indexrelid::bigint, 'constraint', o.conname) ORDER BY i.indisprimary DESC, i.indnkeyatts, i.indexrelid)
		FROM pg_catalog.pg_index i LEFT JOIN pg_catalog.pg_constraint o ON o.conindid = i.indexrelid AND o.contype IN ('p', 'u')
		WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
			AND NOT EXISTS (SELECT FROM unnest(i.indkey[0:i.indnkeyatts - 1], i.indcollation::oid[]) AS k (attnum, collation_)
				JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum AND a.attcollation <> k.collation_)),
	'audit_logs', (SELECT quote_ident(n.nspname) FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, place)
		JOIN pg_catalog.pg_namespace n ON n.nspname = s.name JOIN pg_catalog.pg_class l ON l.relnamespace = n.oid
		WHERE l.relname = '` + models.AuditLogsTable + `' ORDER BY s.place LIMIT 1),
	'walled', (SELECT bool_or(row_security_active(l.oid)) FROM pg_catalog.pg_class l JOIN pg_catalog.pg_namespace n ON n.oid = l.relnamespace
		WHERE l.relname = '` + models.AuditLogsTable + `' AND n.nspname = ANY(current_schemas(false))),
	'uuid', (SELECT quote_ident(n.nspname) FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, place)
		JOIN pg_catalog.pg_namespace n ON n.nspname = s.name JOIN pg_catalog.pg_proc f ON f.pronamespace = n.oid
		WHERE f.proname = 'courtroll_uuidv7' AND f.pronargs = 0 ORDER BY s.place LIMIT 1))::text
	FROM pg_catalog.pg_class c WHERE c.oid = to_regclass($1::text))`

// catalog is what [CatalogSQL] returns.
type catalog struct {
	Version  int    `json:"version"`
	Kind     string `json:"kind"`
	Children bool   `json:"children"`
	Digest   string `json:"digest"`
	Triggers bool   `json:"triggers"`
	Columns  []struct {
		Name      string `json:"name"`
		Type      string `json:"type"`
		SQL       string `json:"sql"`
		NotNull   bool   `json:"not_null"`
		Generated bool   `json:"generated"`
		Wide      bool   `json:"wide"`
		Nests     bool   `json:"nests"`
		Loose     bool   `json:"loose"`
	} `json:"columns"`
	Unique []struct {
		Columns    []string `json:"columns"`
		Nulls      bool     `json:"nulls"` // which count as equal
		Index      int64    `json:"index"`
		Constraint string   `json:"constraint"`
	} `json:"unique"`
	Trail  string `json:"audit_logs"`
	Walled bool   `json:"walled"`
	UUID   string `json:"uuid"`
}

// Table is how the rows of a table enter the trail.
type Table struct {
	Name      string // the resource type
	Columns   []Column
	Tenant    string // the tenant column, empty if there is none
	DeletedAt string
	Flag      bool   // see [plan.Audited]
	ID        []int  // the columns of the resource's id
	Unique    []int  // columns, never NULL, that tell the table's rows apart; none if there are no such ones
	Kind      string // as in pg_class: "r" is an ordinary table
	Triggers  bool   // a trigger may change columns that an UPDATE does not name
	Version   int    // of the server, as server_version_num
	Trail     string
	Walled    bool   // the login may write entries of its tenant alone, or call Record
	UUID      string // a call that makes an id for a row of the trail
	Record    string // the function that writes an entry of no tenant

	// Children is set for an ordinary table that others inherit from: no key
	// tells its rows and theirs apart.
	Children bool

	uniques []unique
	digest  string // of the columns, as the catalogue had them
	index   int64  // of Unique
}

// unique is a set of columns of which no two rows have the same values.
type unique struct {
	columns    []int
	nulls      bool   // two NULLs are the same
	constraint string // empty if it is an index alone
}

// Compile puts a table's catalogue and plan together. An empty catalogue is that
// of a table that does not exist.
func Compile(a *plan.Audited, catalogue string, limit int) (*Table, error) {
	var c catalog
	if catalogue != "" {
		if err := json.Unmarshal([]byte(catalogue), &c); err != nil {
			return nil, fmt.Errorf("reading the catalogue of table %q: %w", a.Table, err)
		}
	}
	t := &Table{
		Name: a.Table, Tenant: a.Tenant, Kind: c.Kind, Children: c.Children, digest: c.Digest, Triggers: c.Triggers, Version: c.Version,
		Trail: qualified(c.Trail, models.AuditLogsTable), UUID: qualified(c.UUID, "courtroll_uuidv7") + "()", Walled: c.Walled, Record: qualified(c.UUID, models.RecordFunction),
	}
	for _, at := range c.Columns {
		column := Column{
			Column: a.Column(at.Name), Type: at.Type, SQLType: at.SQL, NotNull: at.NotNull, Generated: at.Generated, Wide: at.Wide, Nests: at.Nests,
			Exact: !at.Loose && (exact[at.Type] || at.Type == "enum"),
		}
		column.Unknown = !slices.ContainsFunc(a.Columns, func(c plan.Column) bool { return c.Name == at.Name })
		column.Limit = cmp.Or(column.Limit, limit, DefaultLimit)
		t.Columns = append(t.Columns, column)
	}
	if t.At(a.DeletedAt) >= 0 {
		t.DeletedAt, t.Flag = a.DeletedAt, a.Flag
	}
	if t.At(t.Tenant) < 0 {
		t.Tenant = ""
	}
	for _, u := range c.Unique {
		columns := t.indexes(u.Columns)
		t.uniques = append(t.uniques, unique{columns, u.Nulls, u.Constraint})
		if t.Unique == nil && t.neverNull(columns) {
			t.Unique, t.index = columns, u.Index
		}
	}
	t.ID = t.identify(a)
	return t, nil
}

// identify returns the columns of a resource's id: the model's key if it tells
// the rows of a tenant apart, or else what does.
func (t *Table) identify(a *plan.Audited) []int {
	keys := t.indexes(a.Keys)
	within := append(slices.Clone(keys), t.At(a.Tenant))
	tells := func(u unique) bool {
		return !slices.ContainsFunc(u.columns, func(i int) bool { return !slices.Contains(within, i) })
	}
	if len(keys) > 0 && (t.Unique == nil || slices.ContainsFunc(t.uniques, tells)) {
		return keys
	}
	return t.Unique
}

func qualified(schema, name string) string {
	if schema == "" {
		return Quote(name)
	}
	return schema + "." + Quote(name)
}

// At returns the index of a column, -1 if there is none of that name.
func (t *Table) At(name string) int {
	name = plan.Name(name)
	return slices.IndexFunc(t.Columns, func(c Column) bool { return c.Name == name })
}

func (t *Table) indexes(names []string) []int {
	var list []int
	for _, name := range names {
		if i := t.At(name); i >= 0 {
			list = append(list, i)
		}
	}
	return list
}

func (t *Table) neverNull(columns []int) bool {
	return len(columns) > 0 && !slices.ContainsFunc(columns, func(i int) bool { return !t.Columns[i].NotNull })
}

// Constraint returns the columns of a unique constraint, none if there is none of that name.
func (t *Table) Constraint(name string) []int {
	for _, u := range t.uniques {
		if u.constraint == name {
			return u.columns
		}
	}
	return nil
}

// EqualNulls reports whether rows of which these columns are NULL conflict.
func (t *Table) EqualNulls(columns []int) bool {
	same := func(a, b []int) bool {
		return len(a) == len(b) && !slices.ContainsFunc(a, func(i int) bool { return !slices.Contains(b, i) })
	}
	return slices.ContainsFunc(t.uniques, func(u unique) bool { return u.nulls && same(u.columns, columns) })
}

// Hashes reports whether values of the table are hashed.
func (t *Table) Hashes() bool {
	return slices.ContainsFunc(t.Columns, func(c Column) bool { return c.Treatment == plan.Hash })
}

// Row renders the versions of a row: Before and After return a column's value.
type Row struct {
	Table         *Table
	Before, After func(column int) string
	Hash          Hash
}

// Created is the inside of the JSON object of the changes by which the row came to be.
func (r Row) Created() string {
	return cmp.Or(r.join(func(i int, c Column) string { return c.appears(r.After(i), r.Hash) }, nil), "''")
}

// Deleted is that of the changes by which the row is gone.
func (r Row) Deleted() string {
	return cmp.Or(r.join(func(i int, c Column) string { return c.vanishes(r.Before(i), r.Hash) }, nil), "''")
}

// Updated is that of the changes of the columns that are chosen. Auto holds those
// that GORM sets at every update, and that alone are no change; it is empty if none is.
func (r Row) Updated(chosen func(column int) bool) (changes, auto string) {
	one := func(i int, c Column) string { return c.changes(r.Before(i), r.After(i), r.Hash) }
	changes = r.join(one, func(i int) bool { return chosen(i) && !r.Table.Columns[i].Auto })
	auto = r.join(one, func(i int) bool { return chosen(i) && r.Table.Columns[i].Auto })
	return cmp.Or(changes, "''"), auto
}

// maxArguments is how many a function may have, less the separator and some.
const maxArguments = 90

func (r Row) join(render func(int, Column) string, chosen func(int) bool) string {
	var parts []string
	for i, c := range r.Table.Columns {
		if c.Treatment != plan.Omit && (chosen == nil || chosen(i)) {
			parts = append(parts, render(i, c))
		}
	}
	for len(parts) > maxArguments {
		var joined []string
		for chunk := range slices.Chunk(parts, maxArguments) {
			joined = append(joined, "nullif("+concat(chunk)+", '')")
		}
		parts = joined
	}
	if len(parts) == 0 {
		return ""
	}
	return concat(parts)
}

func concat(parts []string) string { return "concat_ws(',', " + strings.Join(parts, ",\n  ") + ")" }

// ResourceID is the id of the resource as text. A composite one is a JSON array,
// which nothing else can be read as. A key that is not to be seen is not seen here.
func (t *Table) ResourceID(value func(column int) string, hash Hash) string {
	var keys []string
	for _, i := range t.ID {
		c := t.Columns[i]
		key := c.canonical(value(i))
		if c.Treatment != plan.Keep {
			key = `(` + Column{Column: plan.Column{Treatment: min(c.Treatment, plan.Redact)}}.value(value(i), hash) + `)::json #>> '{}'`
		}
		keys = append(keys, key)
	}
	switch len(keys) {
	case 0:
		return "NULL::text"
	case 1:
		return keys[0]
	}
	return "array_to_json(ARRAY[" + strings.Join(keys, ", ") + "])::text"
}

// Action is what happened to a row that was updated: it may be the deletion, or
// the restoring, of a row that stays.
func (t *Table) Action(before, after func(column int) string) string {
	i := t.At(t.DeletedAt)
	if i < 0 {
		return "'update'"
	}
	marked := func(expr string) string {
		if t.Flag {
			return `coalesce(` + expr + `::text, '0') NOT IN ('0', 'false')`
		}
		return expr + ` IS NOT NULL`
	}
	return fmt.Sprintf(`CASE WHEN (%[1]s) = (%[2]s) THEN 'update' WHEN %[2]s THEN 'soft_delete' ELSE 'restore' END`, marked(before(i)), marked(after(i)))
}

// Metadata is the metadata of an entry as jsonb: the changes, the transaction,
// and the members of a JSON object that follow, with its closing brace.
func Metadata(changes, rest string) string {
	return `('{"changes":{' || ` + changes + ` || '},"transaction_id":"' || (SELECT pg_current_xact_id()::text) || '"' || ` + rest + `)::jsonb`
}

// digest is a number for the columns of a table as the catalogue has them.
func digest(oid string) string {
	return `SELECT sum(hashtextextended(concat_ws(' ', attnum, attname, atttypid, attcollation, attgenerated), 0)) FROM pg_catalog.pg_attribute
		WHERE attrelid = ` + oid + ` AND attnum > 0 AND NOT attisdropped`
}

// Unaltered is the condition that the table, by its name in SQL, still has the
// columns that were read; for an update, no trigger that was not; and the key by
// which its rows are joined, if they are.
func (t *Table) Unaltered(table string, updates, joins bool) string {
	oid := Literal(table) + "::regclass"
	condition := "(" + digest(oid) + ") = " + cmp.Or(t.digest, "0")
	if updates && !t.Triggers {
		condition += " AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger WHERE tgrelid = " + oid + " AND NOT tgisinternal AND tgtype & 19 = 19)" +
			" AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits WHERE inhparent = " + oid + ")"
	}
	if joins && t.index != 0 {
		condition += fmt.Sprintf(" AND EXISTS (SELECT FROM pg_catalog.pg_index WHERE indexrelid = %d AND indrelid = %s)", t.index, oid)
	}
	return condition
}
