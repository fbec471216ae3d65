package audit

import (
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/trail"
)

// upsert holds the parts of an INSERT … ON CONFLICT DO UPDATE. A server older
// than 18 does not return what was replaced: there the rows of the conflict's
// keys are locked and read by __audit. That must be read when the first row
// conflicts, and not later, when that row is changed: the condition of the
// conflict's update asks for it. A row that another transaction inserted after
// the statement began is not among those. Its old values are not known, so
// the statement fails.
type upsert struct {
	target []int // the columns of the conflict target
	keys   []string
	where  int // index of WHERE, -1 if there is none
}

func (c *change) readUpsert(conflict int) error {
	c.upsert.where = c.keyword("where", c.setAt())
	if c.returnsOld() {
		return nil
	}
	if c.table.Kind != "r" {
		return errUpsertOn
	}
	names, ok := c.conflictTarget(conflict)
	for _, name := range names {
		column := c.table.At(name)
		ok = ok && column >= 0
		c.upsert.target = append(c.upsert.target, column)
	}
	if !ok {
		return errConflict
	}
	c.upsert.keys = c.conflictKeys(conflict)
	return nil
}

// conflictTarget returns the columns of the conflict target, false if it has
// anything else.
func (c *change) conflictTarget(conflict int) (names []string, ok bool) {
	tokens := c.text.Tokens[conflict+1:]
	if len(tokens) > 2 && tokens[0].Is("on") && tokens[1].Is("constraint") {
		names = c.table.Constraint(tokens[2].Text)
		return names, len(names) > 0
	}
	for i, t := range tokens {
		switch {
		case t.IsSymbol(')') && t.Depth == 0:
			return names, len(names) > 0
		case i%2 == 1 && t.IsName():
			names = append(names, t.Text)
		case i == 0 && t.IsSymbol('('), i%2 == 0 && t.IsSymbol(','):
		default:
			return nil, false
		}
	}
	return nil, false
}

// conflictKeys returns the target's values of each row to insert, as the text
// has them. A row that leaves one to the database is left out: it is not known yet.
func (c *change) conflictKeys(conflict int) (keys []string) {
	values := c.keyword("values", c.text.Refs[0].Index)
	if values < 0 || values > conflict {
		return nil
	}
	inserted := c.inserted(values)
	var row []string
	from := values
	for i := values + 1; i < conflict; i++ {
		switch t := c.text.Tokens[i]; {
		case t.Depth == 0 && t.IsSymbol('('):
			row, from = nil, i
		case t.Depth == 1 && t.IsSymbol(','):
			row, from = append(row, c.slice(from, i)), i
		case t.Depth == 0 && t.IsSymbol(')'):
			if key, ok := c.keyOf(inserted, append(row, c.slice(from, i))); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// inserted returns the columns that the INSERT lists.
func (c *change) inserted(values int) (columns []int) {
	for _, t := range c.text.Tokens[c.text.Refs[0].Index+1 : values] {
		if t.Depth == 1 && t.IsName() {
			columns = append(columns, c.table.At(t.Text))
		}
	}
	return columns
}

func (c *change) keyOf(inserted []int, row []string) (string, bool) {
	key := make([]string, len(c.upsert.target))
	for i, column := range c.upsert.target {
		at := slices.Index(inserted, column)
		if at < 0 || at >= len(row) || strings.EqualFold(row[at], "default") {
			return "", false
		}
		key[i] = row[at]
	}
	return "(" + strings.Join(key, ", ") + "\n)", true
}

// lockConflicting returns the common table expression that locks the rows that
// hold one of the keys, of the tenant if the context names one.
func (c *change) lockConflicting() string {
	condition := "false"
	if len(c.upsert.keys) > 0 {
		var target []string
		for _, i := range c.upsert.target {
			target = append(target, c.alias+"."+c.name(i))
		}
		condition = "(" + strings.Join(target, ", ") + ") IN (" + strings.Join(c.upsert.keys, ", ") + ")"
	}
	if c.table.Tenant != "" {
		tenant := parameter(c.params+2) + "::text"
		condition += " AND (" + tenant + " IS NULL OR " + c.alias + "." + trail.Quote(c.table.Tenant) + "::text = " + tenant + ")"
	}
	return `"__audit" AS (SELECT true AS "__found"` + c.olds(c.alias) + ` FROM ` + c.tableName() + ` AS ` + c.alias +
		"\n WHERE " + condition + "\n FOR NO KEY UPDATE),\n"
}

// lockFirst makes the conflict's update ask for __audit.
func (c *change) lockFirst(body string) string {
	const locked = `(SELECT count(*) FROM "__audit") >= 0`
	if c.upsert.where < 0 {
		return body + "\n WHERE " + locked
	}
	at := c.text.Tokens[c.upsert.where].Pos + len("WHERE")
	return body[:at] + " (" + body[at:] + "\n) AND " + locked
}

// found is the condition on which a row is the one that was locked.
func (c *change) found() string {
	var join []string
	for _, i := range c.joins() {
		join = append(join, "a."+oldName(i)+" = w."+c.name(i))
	}
	return strings.Join(join, " AND ")
}
