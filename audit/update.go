package audit

import (
	"fmt"
	"strings"
)

// update joins the UPDATE to the rows that locked has read, and keeps its
// condition: a model's key need not be the table's.
func (c *change) update(returning int) (string, error) {
	set := c.setAt()
	where := c.keyword("where", set)
	if len(c.model.Keys) == 0 || set < 0 || c.hasFrom(set, where) {
		return "", ErrUnaudited
	}
	c.target, c.where = c.slice(0, set), ""
	assignments, condition := c.slice(set, returning), ""
	if where >= 0 {
		assignments = c.slice(set, where)
		c.where = c.slice(where, returning)
		condition = " AND (" + c.where + "\n)"
	}
	extra := []string{}
	for i := range c.model.Keys {
		extra = append(extra, fmt.Sprintf(`"__audit"."__k%d"`, i))
	}
	for i := range c.model.Columns {
		extra = append(extra, `"__audit".`+oldName(i))
	}
	return fmt.Sprintf("UPDATE %s SET %s\n FROM \"__audit\" WHERE %s%s RETURNING %s.*, %s",
		c.target, assignments, c.join(), condition, c.alias, strings.Join(extra, ", ")), nil
}

// locked returns the common table expression that locks an UPDATE's rows and
// reads their old values, so that these are the ones that it replaces, whatever
// commits in between.
func (c *change) locked() string {
	if c.op != opUpdate {
		return ""
	}
	columns := c.oldKeys()
	for i, column := range c.model.Columns {
		columns = append(columns, c.column(column.Name)+` AS `+oldName(i))
	}
	condition := ""
	if c.where != "" {
		condition = "\n WHERE " + c.where
	}
	return `"__audit" AS (SELECT ` + strings.Join(columns, ", ") + ` FROM ` + c.target + condition + "\n FOR NO KEY UPDATE), "
}

// oldKeys are the columns of __audit that join reads.
func (c *change) oldKeys() []string {
	var columns []string
	for i, key := range c.model.Keys {
		columns = append(columns, fmt.Sprintf(`%s AS "__k%d"`, c.column(key), i))
	}
	if c.model.Tenant != "" {
		columns = append(columns, c.column(c.model.Tenant)+` AS "__t"`)
	}
	return columns
}

// join is the condition on which a row is the one that was locked.
func (c *change) join() string {
	var join []string
	for i, key := range c.model.Keys {
		join = append(join, fmt.Sprintf(`%s = "__audit"."__k%d"`, c.column(key), i))
	}
	if c.model.Tenant != "" {
		join = append(join, c.column(c.model.Tenant)+` IS NOT DISTINCT FROM "__audit"."__t"`)
	}
	return strings.Join(join, " AND ")
}

// complete reports whether every row that was locked was also found again by
// its key, and no other by that key, so that its change is made and recorded
// with its own old values. A trigger may have kept some from being changed; a
// key that another transaction changed meanwhile, or one that is NULL, would
// lose the change.
func (c *change) complete() string {
	var key []string
	for i := range c.model.Keys {
		key = append(key, fmt.Sprintf(`"__k%d"`, i))
	}
	if c.model.Tenant != "" {
		key = append(key, `"__t"`)
	}
	locked := `(SELECT count(*) FROM "__audit")`
	return locked + ` = (SELECT count(*) FROM (SELECT DISTINCT ` + strings.Join(key, ", ") + ` FROM "__audit") AS k) AND (` +
		locked + ` = (SELECT count(*) FROM "__w") OR ` + locked + ` = (SELECT count(*) FROM "__audit" JOIN ` + c.target + ` ON ` + c.join() + `))`
}

// hasFrom reports whether the UPDATE has a FROM of its own.
func (c *change) hasFrom(set, where int) bool {
	from := c.keyword("from", set)
	for from >= 0 && c.text.Tokens[from-1].Is("distinct") {
		from = c.keyword("from", from)
	}
	return from >= 0 && (where < 0 || from < where)
}
