package audit

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/models"
)

// A change and its audit rows are one statement: the change becomes the common
// table expression __w, which returns old and new values, and __l inserts the
// trail from it. One statement needs no further round trip, is atomic without
// a transaction, and sees exactly the rows that changed.

// trailStart begins the part of a statement that writes the trail.
const trailStart = `"__l" AS (`

// uncertainSetting is read where a row's old values would be a guess. No such
// setting exists, so the statement fails as a whole.
const uncertainSetting = "courtroll.old_values_uncertain"

// operation is what the statement's text does.
type operation uint8

const (
	opCreate operation = iota
	opUpsert
	opUpdate
	opDelete
)

// action is how a change of this operation is recorded where the row's own
// values do not say more.
func (o operation) action() string {
	return [...]string{opCreate: "create", opUpsert: "update", opUpdate: "update", opDelete: "delete"}[o]
}

// change is one statement to rewrite.
type change struct {
	model  *plan.Audited
	query  string
	text   *sqllex.Statement
	op     operation
	soft   bool   // the delete processor made an UPDATE of it
	alias  string // quoted
	params int    // number of the statement's own arguments

	target, where string // of an UPDATE, as its text has them
}

// parse finds out what the final text does, and to which table.
func parse(query string, params int, model *plan.Audited, isDelete bool) (*change, error) {
	text, err := sqllex.Analyze(query)
	if err != nil || len(text.Refs) == 0 {
		return nil, ErrUnaudited
	}
	c := &change{query: query, text: text, params: params}
	ref := text.Refs[0]
	if !ref.Write || ref.Depth != 0 || ref.Name != model.Table {
		return nil, ErrUnaudited
	}
	c.alias = quote(ref.Alias)
	switch text.Verb {
	case "insert":
		c.op = opCreate
		if at := c.keyword("conflict", 0); at > 0 && c.keyword("nothing", at) < 0 {
			c.op = opUpsert
		}
		if c.op == opUpsert && len(model.Keys) == 0 {
			return nil, ErrUnaudited
		}
	case "update":
		c.op, c.soft = opUpdate, isDelete
	case "delete":
		c.op = opDelete
	default:
		return nil, ErrUnaudited
	}
	c.model = model.With(c.written())
	return c, nil
}

// written returns the columns that the statement names to be written: the
// model may not have them all.
func (c *change) written() []string {
	names := c.assigned()
	if c.op != opCreate && c.op != opUpsert {
		return names
	}
	for _, t := range c.text.Tokens[c.text.Refs[0].Index+1:] {
		if t.Depth == 0 && !t.IsSymbol('(') {
			break
		}
		if t.Depth == 1 && t.IsName() {
			names = append(names, t.Text)
		}
	}
	return names
}

// assigned returns the columns that SET assigns to: those after it and after its commas.
func (c *change) assigned() []string {
	var names []string
	start := c.setAt()
	if start < 0 {
		return nil
	}
	for i, t := range c.text.Tokens[start : len(c.text.Tokens)-1] {
		if t.Depth == 0 && (t.Is("where") || t.Is("returning")) {
			break
		}
		if next := c.text.Tokens[start+i+1]; t.Depth == 0 && (i == 0 || t.IsSymbol(',')) && next.IsName() {
			names = append(names, next.Text)
		}
	}
	return names
}

// setAt returns the index of SET, -1 if there is none; an alias may be named so, too.
func (c *change) setAt() int {
	from := c.text.Refs[0].Index
	if from+1 < len(c.text.Tokens) && c.text.Tokens[from+1].Is("as") {
		from += 2
	}
	return c.keyword("set", from)
}

// keyword returns the index of the first token after the index from that is
// the keyword and stands outside all parentheses, -1 if there is none.
func (c *change) keyword(word string, from int) int {
	for i := from + 1; i < len(c.text.Tokens); i++ {
		if t := c.text.Tokens[i]; t.Depth == 0 && t.Is(word) {
			return i
		}
	}
	return -1
}

// slice returns the text between two tokens, the first one's own left out; an
// index of -1 is the end of the text.
func (c *change) slice(after, before int) string {
	end := len(c.query)
	if before >= 0 {
		end = c.text.Tokens[before].Pos
	}
	start := c.text.Tokens[after].Pos + len(c.text.Tokens[after].Text)
	return strings.TrimSpace(c.query[start:end])
}

// render returns the rewritten statement. Its arguments are the statement's
// own, then those of trail, and for an upsert the resources that were locked.
func (c *change) render(returning bool) (string, error) {
	at := c.keyword("returning", 0)
	if c.op == opUpdate {
		// RETURNING comes last; a column of that name would be quoted.
		at = c.keyword("returning", c.setAt())
	}
	if returning != (at >= 0) {
		return "", ErrUnaudited
	}
	write, err := c.write(at)
	if err != nil {
		return "", err
	}
	list, result := "", `SELECT `+c.count()+` FROM "__w"`
	if returning {
		list = c.slice(at, -1)
		result = `SELECT ` + list + ` FROM "__w" AS ` + c.alias + ` WHERE ` + c.settled()
	}
	if list == "*" {
		// The whole row, without the columns that __w has beyond the table's.
		write += `, ` + c.alias + ` AS "__row"`
		result = `SELECT ("__w"."__row").* FROM "__w" WHERE ` + c.settled()
	}
	return `WITH ` + c.locked() + `"__w" AS (` + write + `), ` + trailStart + c.trail() + ` RETURNING 1) ` + result, nil
}

// count returns the number of rows affected.
func (c *change) count() string {
	if c.op != opUpdate {
		return "count(*)"
	}
	return `CASE WHEN ` + c.complete() + ` THEN count(*) ELSE current_setting('` + uncertainSetting + `')::bigint END`
}

// settled is the condition under which rows are returned. The trail is counted
// so that it is written, and fails, before the first row is read.
func (c *change) settled() string {
	condition := `(SELECT count(*) FROM "__l") >= 0`
	if c.op == opUpdate {
		condition += ` AND CASE WHEN ` + c.complete() + ` THEN true ELSE current_setting('` + uncertainSetting + `') IS NULL END`
	}
	return condition
}

// write returns the statement with its RETURNING replaced; at is where that stands.
func (c *change) write(at int) (string, error) {
	body := c.query
	if at >= 0 {
		body = c.query[:c.text.Tokens[at].Pos]
	}
	body = strings.TrimRight(body, "; \n") // and perhaps it ends in a comment
	switch c.op {
	case opUpdate:
		return c.update(at)
	case opUpsert:
		// A row that the statement inserted has no xmax; one that it updated was locked first.
		return body + "\n RETURNING " + c.alias + `.*, (` + c.alias + `.xmax = 0) AS "__created"`, nil
	}
	return body + "\n RETURNING " + c.alias + `.*`, nil
}

// trail returns the INSERT of the audit rows. Its parameters follow the
// statement's own: actor, tenant, address, metadata, and the locked resources.
func (c *change) trail() string {
	p := func(n int) string { return fmt.Sprintf("$%d", c.params+n) }
	tenant := p(2) + `::text`
	if c.model.Tenant != "" {
		tenant = `coalesce(w.` + quote(c.model.Tenant) + `::text, ` + tenant + `)`
	}
	var b strings.Builder
	fmt.Fprintf(&b, `INSERT INTO %s ("id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "created_at")`,
		quote(models.AuditLogsTable))
	fmt.Fprintf(&b, "\n SELECT courtroll_uuidv7(), %s::text, %s, %s, %s, %s, %s::text,", p(1), tenant, c.action(), literal(c.model.Table), c.resource(), p(3))
	fmt.Fprintf(&b, "\n %s::text::jsonb || jsonb_build_object('changes', d.changes, 'transaction_id', pg_current_xact_id()::text), clock_timestamp()", p(4))
	b.WriteString("\n FROM \"__w\" AS w" + c.before() + " CROSS JOIN LATERAL (" + c.diff() + ") AS d")
	if condition := c.condition(p(5)); condition != "" {
		b.WriteString("\n WHERE " + condition)
	}
	return b.String()
}

// before joins an upserted row's old version. The statement's snapshot still
// shows it, and the lock taken before makes sure that it is the one replaced.
func (c *change) before() string {
	if c.op != opUpsert {
		return ""
	}
	join := []string{`NOT w."__created"`}
	for _, key := range c.model.Keys {
		join = append(join, `"__old".`+quote(key)+` = w.`+quote(key))
	}
	if tenant := quote(c.model.Tenant); c.model.Tenant != "" {
		join = append(join, `"__old".`+tenant+` IS NOT DISTINCT FROM w.`+tenant)
	}
	return ` LEFT JOIN ` + c.targetTable() + ` AS "__old" ON ` + strings.Join(join, " AND ")
}

// targetTable returns the name as the INSERT has it, with its schema.
func (c *change) targetTable() string {
	into := c.keyword("into", 0)
	return strings.TrimSpace(c.query[c.text.Tokens[into+1].Pos:c.text.Tokens[c.text.Refs[0].Index+1].Pos])
}

// condition leaves out updates that changed nothing, and refuses an upserted
// row that was not locked: its old values would be a guess.
func (c *change) condition(locked string) string {
	switch c.op {
	case opUpdate:
		return "d.real"
	case opUpsert:
		return fmt.Sprintf(`(w."__created" OR d.real) AND CASE WHEN w."__created" OR jsonb_exists(%s::text::jsonb, %s) THEN true ELSE current_setting('%s') IS NULL END`,
			locked, resourceID(c.keys()), uncertainSetting)
	}
	return ""
}

// diff returns the changed columns with their old and new values, and whether
// any of them is more than a time of update.
func (c *change) diff() string {
	if len(c.model.Columns) == 0 {
		return `SELECT '{}'::jsonb AS changes, false AS real`
	}
	rows := make([]string, len(c.model.Columns))
	for i, column := range c.model.Columns {
		before, after := c.values(i, column)
		rows[i] = fmt.Sprintf("(%s, %s, %s, %t, %t)", literal(column.Name), before, after, column.Auto, column.Treatment == plan.Redact)
	}
	return `SELECT coalesce(jsonb_object_agg(k, jsonb_build_object(` +
		`'old', CASE WHEN r AND o IS NOT NULL THEN '"[redacted]"' ELSE o END, ` +
		`'new', CASE WHEN r AND n IS NOT NULL THEN '"[redacted]"' ELSE n END)), '{}') AS changes, ` +
		`coalesce(bool_or(NOT auto), false) AS real FROM (VALUES ` + strings.Join(rows, ", ") +
		`) AS v (k, o, n, auto, r) WHERE o::text IS DISTINCT FROM n::text`
}

// values returns the expressions of a column's old and new value as jsonb; a
// row that is not there has NULL in every column.
func (c *change) values(i int, column plan.Column) (before, after string) {
	name := quote(column.Name)
	switch c.op {
	case opCreate:
		return "NULL::jsonb", jsonb("w."+name, column)
	case opDelete:
		return jsonb("w."+name, column), "NULL::jsonb"
	case opUpsert:
		return jsonb(`"__old".`+name, column), jsonb("w."+name, column)
	}
	return jsonb("w."+oldName(i), column), jsonb("w."+name, column)
}

// jsonb renders a value. A timestamptz is shown in UTC, whatever the session's
// zone, so that equal instants are equal texts.
func jsonb(expr string, column plan.Column) string {
	if !column.Time {
		return "to_jsonb(" + expr + ")"
	}
	return fmt.Sprintf(`CASE WHEN pg_typeof(%[1]s) = 'timestamptz'::regtype THEN `+
		`to_jsonb(replace((to_jsonb(%[1]s AT TIME ZONE 'UTC') #>> '{}') || '+00:00', 'infinity+00:00', 'infinity')) ELSE to_jsonb(%[1]s) END`, expr)
}

// action returns the expression of a row's action.
func (c *change) action() string {
	plain := literal(c.op.action())
	if c.soft {
		plain = `'soft_delete'`
	}
	before, after := c.deletedAt()
	if before != "" {
		plain = fmt.Sprintf(`CASE WHEN %[1]s IS NULL AND %[2]s IS NOT NULL THEN 'soft_delete' WHEN %[1]s IS NOT NULL AND %[2]s IS NULL THEN 'restore' ELSE 'update' END`,
			before, after)
	}
	if c.op == opUpsert {
		return `CASE WHEN w."__created" THEN 'create' ELSE ` + plain + ` END`
	}
	return plain
}

// deletedAt returns the old and the new value of the model's soft-delete
// column, empty where the operation changes no such column.
func (c *change) deletedAt() (before, after string) {
	if c.model.DeletedAt == "" || c.op == opCreate || c.op == opDelete {
		return "", ""
	}
	after = "w." + quote(c.model.DeletedAt)
	if c.op == opUpsert {
		return `"__old".` + quote(c.model.DeletedAt), after
	}
	for i, column := range c.model.Columns {
		if column.Name == c.model.DeletedAt {
			return "w." + oldName(i), after
		}
	}
	return "", ""
}

// resource returns the expression of the row's key as text: the key that it
// had before the change. A composite key is a JSON array, which nothing else
// can be read as. A key that is not to be seen is redacted here, too.
func (c *change) resource() string {
	keys := c.keys()
	for i, key := range c.model.Keys {
		if !c.model.Keeps(key) {
			keys[i] = `'[redacted]'::text`
		}
	}
	return resourceID(keys)
}

func (c *change) keys() []string {
	keys := make([]string, len(c.model.Keys))
	for i, key := range c.model.Keys {
		keys[i] = "w." + quote(key) + "::text"
		if c.op == opUpdate {
			keys[i] = fmt.Sprintf(`w."__k%d"::text`, i)
		}
	}
	return keys
}

func resourceID(keys []string) string {
	switch len(keys) {
	case 0:
		return "NULL::text"
	case 1:
		return keys[0]
	}
	return "array_to_json(ARRAY[" + strings.Join(keys, ", ") + "])::text"
}

func (c *change) column(name string) string { return c.alias + "." + quote(name) }
func oldName(i int) string                  { return fmt.Sprintf(`"__o%d"`, i) }
func quote(name string) string              { return pgx.Identifier{name}.Sanitize() }
func literal(text string) string            { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }
