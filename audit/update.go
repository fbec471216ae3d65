package audit

import (
	"fmt"
	"strings"
)

// update holds the parts of an UPDATE's text. A server older than 18 returns no
// old values: there the rows are locked and read first, and joined.
type update struct {
	target, set, from, where string
}

// ctid is the place of a row, by which those are joined that no key tells apart.
// Where another transaction moved a row meanwhile the statement fails.
const ctid = `ctid = "__audit"."__ctid"`

func (c *change) readUpdate() error {
	set, returning := c.setAt(), c.returning()
	if set < 0 {
		return errShape
	}
	if c.table.Kind == "v" && len(c.joins()) == 0 && !c.returnsOld() {
		return errKeyless
	}
	where, from := c.keyword("where", set), c.fromAt(set)
	if where >= 0 && from > where {
		from = -1
	}
	end := func(next ...int) int {
		for _, i := range next {
			if i >= 0 {
				return i
			}
		}
		return -1
	}
	c.update = update{target: c.slice(0, set), set: c.slice(set, end(from, where, returning))}
	if from >= 0 {
		c.update.from = c.slice(from, end(where, returning)) + ", "
	}
	if where >= 0 {
		c.update.where = c.slice(where, returning)
	}
	return nil
}

// fromAt returns the index of an UPDATE's own FROM, -1 if it has none.
func (c *change) fromAt(set int) int {
	from := c.keyword("from", set)
	for from >= 0 && c.text.Tokens[from-1].Is("distinct") {
		from = c.keyword("from", from)
	}
	return from
}

// joins returns the columns by which old and new versions are joined.
func (c *change) joins() []int {
	switch {
	case c.returnsOld():
		return nil
	case c.op == opUpsert:
		return c.upsert.joins
	case c.op == opUpdate && c.table.Kind == "v":
		return c.table.ID
	case c.op == opUpdate && c.table.Children:
		return nil
	}
	return c.table.Unique
}

// lockUpdated returns the common table expression that locks an UPDATE's rows and
// reads their old values, so that these are the ones that it replaces, whatever
// commits in between.
func (c *change) lockUpdated() string {
	condition := ""
	if c.update.where != "" {
		condition = "\n WHERE " + c.update.where
	}
	from := c.update.target
	if c.update.from != "" {
		from += ", " + strings.TrimSuffix(c.update.from, ", ")
	}
	columns := strings.TrimPrefix(c.olds(c.alias), ", ")
	if len(c.joins()) == 0 || c.table.Triggers && c.table.Kind != "v" {
		columns = strings.TrimSuffix(c.alias+`.ctid AS "__ctid", `+c.alias+`.tableoid AS "__tableoid", `+columns, ", ")
	}
	return `"__audit" AS (SELECT ` + columns + ` FROM ` + from + condition + "\n FOR NO KEY UPDATE OF " + c.alias + "),\n"
}

// joined joins the UPDATE to the rows that were locked. Its own condition is not
// asked again, but where it joins other tables.
func (c *change) joined() string {
	condition := ""
	if c.update.where != "" && c.repeats() {
		condition = " AND (" + c.update.where + "\n)"
	}
	var olds strings.Builder
	for i := range c.table.Columns {
		if c.needsOld(i) {
			olds.WriteString(`, "__audit".` + oldName(i))
		}
	}
	return fmt.Sprintf("UPDATE %s SET %s\n FROM %s\"__audit\" WHERE %s%s\n RETURNING %s.*%s",
		c.update.target, c.update.set, c.update.from, c.join(), condition, c.alias, &olds)
}

func (c *change) repeats() bool { return c.update.from != "" || c.table.Kind == "v" }

// join is the condition on which a row is the one that was locked.
func (c *change) join() string {
	if len(c.joins()) == 0 {
		return c.samePlace()
	}
	var join []string
	for _, i := range c.joins() {
		join = append(join, fmt.Sprintf(`%s.%s = "__audit".%s`, c.alias, c.name(i), oldName(i)))
	}
	return strings.Join(join, " AND ")
}

// samePlace is the condition on which a row is where the one was that was locked.
func (c *change) samePlace() string {
	return c.alias + "." + ctid + " AND " + c.alias + `.tableoid = "__audit"."__tableoid"`
}

// complete reports whether every row that was locked was also found again by
// its key, so that its change is made, and recorded with its own old values. A
// trigger may have kept some from being changed: those are where they were. A key
// that another transaction changed meanwhile would lose the change.
func (c *change) complete() string {
	locked := `(SELECT count(*) FROM "__audit")`
	if c.repeats() {
		key := `"__ctid", "__tableoid"`
		if joins := c.joins(); len(joins) > 0 {
			key = ""
			for _, i := range joins {
				key += ", " + oldName(i)
			}
			key = key[2:]
		}
		locked = `(SELECT count(*) FROM (SELECT DISTINCT ` + key + ` FROM "__audit") AS k)`
	}
	if c.table.Kind == "v" { // whose rows the model's key may not tell apart
		return locked + ` = (SELECT count(*) FROM "__audit") AND ` + locked + ` = (SELECT count(*) FROM "__w")`
	}
	found := locked + ` = (SELECT count(*) FROM "__w")`
	if c.table.Triggers {
		found += ` OR (SELECT count(*) FROM "__audit") = (SELECT count(*) FROM "__audit" JOIN ` + c.update.target + ` ON ` + c.samePlace() + `)`
	}
	return found
}
