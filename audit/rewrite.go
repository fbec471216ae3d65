package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/trail"
)

// A change and its audit rows are one statement: the change becomes the common
// table expression __w, which returns old and new values, and __l inserts the
// trail from it. One statement needs no further round trip, is atomic without
// a transaction, and sees exactly the rows that changed.

// trailStart begins the part of a statement that writes the trail.
const trailStart = `"__l" AS (`

// The settings that are read where a statement has to fail. None of them
// exists, so it fails as a whole.
const (
	// uncertainSetting: a row's old values would be a guess.
	uncertainSetting = "courtroll.old_values_uncertain"
	// alteredSetting: the table is not the one that was read from the catalogue.
	alteredSetting = "courtroll.table_was_altered"
)

// operation is what the statement's text does.
type operation uint8

const (
	opCreate operation = iota
	opUpsert
	opUpdate
	opDelete
)

// change is one statement to rewrite.
type change struct {
	table    *trail.Table
	query    string
	text     *sqllex.Statement
	op       operation
	soft     bool   // the delete processor made an UPDATE of it
	alias    string // quoted
	params   int    // number of the statement's own arguments
	nobodys  bool   // the context names no tenant
	assigned []int  // the columns that SET names

	update update
	upsert upsert
}

// parse finds out what the final text does, and to which table.
func parse(r rewrite, text *sqllex.Statement, table *trail.Table) (*change, error) {
	c := &change{query: r.query, text: text, params: r.params, nobodys: r.nobodys, table: table}
	ref := text.Refs[0]
	if !ref.Write || ref.Depth != 0 || ref.Name != table.Name {
		return nil, errShape
	}
	c.alias = trail.Quote(ref.Alias)
	c.assigned = c.readAssigned()
	switch text.Verb {
	case "insert":
		c.op = opCreate
		if at := c.keyword("conflict", 0); at > 0 && c.keyword("nothing", at) < 0 {
			c.op = opUpsert
			return c, c.readUpsert(at)
		}
	case "update":
		c.op, c.soft = opUpdate, r.isDelete
		return c, c.readUpdate()
	case "delete":
		c.op = opDelete
	default:
		return nil, errShape
	}
	return c, nil
}

// returnsOld reports whether the server returns the old version of a row by itself.
// Where a trigger fires before an UPDATE, that is not the one that another
// transaction wrote meanwhile, and that the UPDATE did replace (PostgreSQL 18.4).
func (c *change) returnsOld() bool {
	return c.table.Version >= 18_00_00 && (c.op != opUpdate || !c.table.Triggers)
}

// readAssigned returns the columns that SET assigns to: those after it and after its commas.
func (c *change) readAssigned() []int {
	start := c.setAt()
	if start < 0 {
		return nil
	}
	var columns []int
	due := true
	for i, t := range c.text.Tokens[start+1:] {
		distinct := c.text.Tokens[start+i].Is("distinct") // of IS DISTINCT FROM
		switch {
		case t.Depth == 0 && (t.Is("where") || t.Is("returning") || t.Is("from") && !distinct):
			return columns
		case t.Depth == 0 && t.IsSymbol(','):
			due = true
		case due && t.IsName(): // also within the parentheses of a list
			columns = append(columns, c.table.At(t.Text))
			due = t.Depth > 0
		case t.IsSymbol('='):
			due = false
		}
	}
	return columns
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
// own, then those of trail.
func (c *change) render(returning bool) (rewritten, error) {
	at := c.returning()
	if returning != (at >= 0) {
		return rewritten{}, errReturning
	}
	body := c.query
	if at >= 0 {
		body = c.query[:c.text.Tokens[at].Pos]
	}
	body = strings.TrimRight(body, "; \n") // and perhaps it ends in a comment
	write, locked := c.write(body)
	list, returned, result := "", "", `SELECT count(*) FROM "__w"`
	var last []string
	if returning || c.byFunction() || c.keepsReplaced() {
		last = []string{`"__l"`}
	}
	if returning {
		list = c.slice(at, -1)
		result = `SELECT ` + list + ` FROM "__w" AS ` + c.alias
	}
	switch {
	case list == "*":
		// The whole row, without the columns that __w has beyond the table's.
		write += `, ` + c.alias + ` AS "__row"`
		result = `SELECT ("__w"."__row").* FROM "__w"`
	case returning && c.computes(at):
		returned, result, last = ",\n"+`"__r" AS MATERIALIZED (`+result+`)`, `SELECT * FROM "__r"`, append(last, `"__r"`)
	}
	entries := c.trail()
	return rewritten{
		text:   `WITH ` + locked + `"__w" AS (` + write + "),\n" + trailStart + entries + ")" + returned + "\n" + result + ` LIMIT ` + c.settled(last),
		hashes: strings.Contains(entries, c.key()),
	}, nil
}

// computes reports whether RETURNING asks for more than columns: a function there
// may write to the table, which has to be over when triggers are told of the trail.
func (c *change) computes(returning int) bool {
	return slices.ContainsFunc(c.text.Tokens[returning+1:], func(t sqllex.Token) bool {
		return !t.IsName() && !t.IsSymbol(',') && !t.IsSymbol('.') && !t.IsSymbol('*') && !t.IsSymbol(';')
	})
}

// returning returns the index of RETURNING, which comes last: a column of that
// name would be quoted. It is -1 if there is none.
func (c *change) returning() int {
	if c.op == opUpdate {
		return c.keyword("returning", c.setAt())
	}
	return c.keyword("returning", 0)
}

// write returns the statement with a RETURNING of ours, and what locks its rows before.
func (c *change) write(body string) (write, locked string) {
	switch {
	case c.op == opUpdate && !c.returnsOld():
		return c.joined(), c.lockUpdated()
	case c.op == opUpsert && !c.returnsOld():
		return c.lockFirst(body) + "\n RETURNING " + c.alias + `.*, (` + c.alias + `.xmax = 0) AS "__created"`, c.lockConflicting()
	case c.op == opUpdate:
		return body + "\n RETURNING WITH (OLD AS \"__before\") " + c.alias + `.*` + c.olds(`"__before"`), ""
	case c.op == opUpsert:
		return body + "\n RETURNING WITH (OLD AS \"__before\") " + c.alias + `.*, ("__before".ctid IS NULL) AS "__created"` + c.olds(`"__before"`), ""
	}
	return body + "\n RETURNING " + c.alias + `.*`, ""
}

// olds lists the old values that are needed, as further columns.
func (c *change) olds(from string) string {
	var b strings.Builder
	for i := range c.table.Columns {
		if c.needsOld(i) {
			fmt.Fprintf(&b, `, %s.%s AS %s`, from, c.name(i), oldName(i))
		}
	}
	return b.String()
}

// compares reports whether the update may have changed the column.
func (c *change) compares(column int) bool {
	return c.table.Triggers || c.table.Columns[column].Generated || slices.Contains(c.assigned, column)
}

func (c *change) needsOld(column int) bool {
	return c.compares(column) || slices.Contains(c.table.ID, column) || slices.Contains(c.joins(), column) || slices.Contains(c.upsert.target, column)
}

// trail returns the INSERT of the audit rows. Its parameters follow the
// statement's own: actor, tenant, address, metadata, and, where values are
// hashed, the key.
func (c *change) trail() string {
	p := func(n int) string { return fmt.Sprintf("$%d", c.params+n) }
	tenant := p(2) + `::text`
	if c.table.Tenant != "" {
		tenant = `coalesce(w.` + trail.Quote(c.table.Tenant) + `::text, ` + tenant + `)`
	}
	row := trail.Row{Table: c.table, Before: c.before, After: c.after}
	if c.table.Hashes() {
		row.Hash = trail.Hash{Inner: c.key(), Outer: p(6) + "::bytea", Tenant: tenant}
	}
	action, changes, from, condition := c.entry(row)
	values := []string{c.table.UUID, p(1) + "::text", action, trail.Literal(c.table.Name), c.table.ResourceID(c.identity, row.Hash), p(3) + "::text",
		"\n " + trail.Metadata(changes, p(4)+"::text")}
	if c.keepsReplaced() { // the join must not change the order in which the rows changed
		from = "\n FROM (SELECT *, row_number() OVER () AS \"__n\" FROM \"__w\") AS w" + from
	} else {
		from = "\n FROM \"__w\" AS w" + from
	}
	if condition != "" {
		from += "\n WHERE " + condition
	}
	if c.keepsReplaced() {
		from += "\n ORDER BY w.\"__n\""
	}
	if c.byFunction() {
		return `SELECT ` + c.table.Record + `(` + strings.Join(values, ", ") + `), ` + tenant + from
	}
	return `INSERT INTO ` + c.table.Trail + ` ("id", "actor_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "tenant_id", "created_at")` +
		"\n SELECT " + strings.Join(values, ", ") + ", " + tenant + ", clock_timestamp()" + from + " RETURNING 1"
}

// key is the parameter of the hash's key, which not every statement has a use for.
func (c *change) key() string { return parameter(c.params+5) + "::bytea" }

// byFunction reports whether the login may not write the entries itself, for they
// are no tenant's.
func (c *change) byFunction() bool { return c.table.Walled && c.nobodys && c.table.Tenant == "" }

// entry returns what an entry's action and changes are, the tables that these are
// read from beside __w, and which rows leave one: an update that changed nothing,
// or only a time of update, leaves none.
func (c *change) entry(row trail.Row) (action, changes, from, condition string) {
	switch c.op {
	case opCreate:
		return "'create'", row.Created(), "", ""
	case opDelete:
		return "'delete'", row.Deleted(), "", ""
	}
	changed, auto := row.Updated(c.compares)
	changes = "d.changed"
	if auto != "" {
		changes, changed = "concat_ws(',', d.changed, nullif(d.auto, ''))", changed+" AS changed, "+auto+" AS auto"
	} else {
		changed += " AS changed"
	}
	action, condition = c.updateAction(), "d.changed <> ''"
	if marker := c.table.At(c.table.DeletedAt); marker >= 0 && c.compares(marker) && c.table.Columns[marker].Treatment == plan.Omit {
		condition = "(" + condition + " OR " + c.table.Action(c.before, c.after) + " <> 'update')"
	}
	from = ` CROSS JOIN LATERAL (SELECT ` + changed + ` OFFSET 0) AS d`
	if c.op == opUpsert {
		action = `CASE WHEN w."__created" THEN 'create' ELSE ` + action + ` END`
		changes = `CASE WHEN w."__created" THEN ` + row.Created() + ` ELSE ` + changes + ` END`
		condition = `CASE WHEN w."__created" THEN true ELSE ` + condition + ` END`
		if !c.returnsOld() {
			from = c.replaced() + from
			condition = `CASE WHEN NOT w."__created" AND a."__found" IS NULL THEN current_setting('` + uncertainSetting + `') IS NULL ELSE ` + condition + ` END`
		}
	}
	return action, changes, from, condition
}

// updateAction returns the expression of what happened to a row that was updated.
func (c *change) updateAction() string {
	if marker := c.table.At(c.table.DeletedAt); marker >= 0 && c.compares(marker) {
		return c.table.Action(c.before, c.after)
	}
	if c.soft {
		return "'soft_delete'"
	}
	return "'update'"
}

func (c *change) after(column int) string { return "w." + c.name(column) }

// before returns the expression of a column's old value.
func (c *change) before(column int) string {
	switch {
	case c.op == opDelete:
		return c.after(column)
	case c.op == opUpsert && !c.returnsOld():
		return "a." + oldName(column)
	}
	return "w." + oldName(column)
}

// identity returns the expression of a key's value: the one that it had before the change.
func (c *change) identity(column int) string {
	switch c.op {
	case opUpdate:
		return c.before(column)
	case opUpsert:
		return "coalesce(" + c.before(column) + ", " + c.after(column) + ")"
	}
	return c.after(column)
}

func (c *change) tableName() string { return quoted(c.text.Refs[0]) }

// quoted returns the name of a table as a statement has it, with its schema.
func quoted(ref sqllex.Ref) string {
	if ref.Schema == "" {
		return trail.Quote(ref.Name)
	}
	return trail.Quote(ref.Schema) + "." + trail.Quote(ref.Name)
}

func (c *change) name(column int) string { return trail.Quote(c.table.Columns[column].Name) }
func oldName(i int) string               { return fmt.Sprintf(`"__o%d"`, i) }
