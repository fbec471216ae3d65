package audit

import (
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/trail"
)

// upsert holds the parts of an INSERT … ON CONFLICT DO UPDATE. A server older
// than 18 does not return what was replaced. There the rows that hold one of the
// keys are locked and read, by __audit. That must be when the first row
// conflicts, and not later, when that row is changed: the condition of the
// conflict's update asks for them. It also sees, before it is changed, a row that
// is not among them: another transaction inserted it after the statement began, or
// the text does not tell its key. Such a row goes into a setting, as text, and
// comes back from there as __late.
type upsert struct {
	target []int // the columns of the conflict target, none if it is no list of columns
	keys   []string
	where  int   // index of WHERE, -1 if there is none
	joins  []int // columns by which old and new rows are joined
}

// replacedSetting holds rows that an upsert replaced, while it runs.
const replacedSetting = "courtroll.replaced"

func (c *change) readUpsert(conflict int) error {
	c.upsert.where = c.keyword("where", c.setAt())
	if c.returnsOld() {
		return nil
	}
	if c.table.Kind != "r" {
		return errUpsertOn
	}
	c.upsert.target = c.conflictTarget(conflict)
	c.upsert.joins = c.conflictJoins()
	if len(c.upsert.joins) == 0 {
		return errConflict
	}
	c.upsert.keys = c.conflictKeys(conflict)
	return nil
}

// conflictJoins returns columns that the update leaves as they are, if there are
// such ones, or else those of the conflict: GORM sets them to what they are. A row
// that is not found again by them makes the statement fail.
func (c *change) conflictJoins() []int {
	sets := [][]int{c.table.Unique, c.upsert.target}
	for _, columns := range sets {
		if len(columns) > 0 && !slices.ContainsFunc(columns, func(i int) bool { return slices.Contains(c.assigned, i) }) {
			return columns
		}
	}
	if len(c.upsert.target) > 0 {
		return c.upsert.target
	}
	return c.table.Unique
}

// conflictTarget returns the columns of the conflict target, none if it has
// anything else.
func (c *change) conflictTarget(conflict int) (columns []int) {
	tokens := c.text.Tokens[conflict+1:]
	if len(tokens) > 2 && tokens[0].Is("on") && tokens[1].Is("constraint") {
		return c.table.Constraint(tokens[2].Text)
	}
	for i, t := range tokens {
		switch {
		case t.IsSymbol(')') && t.Depth == 0:
			return columns
		case i%2 == 1 && t.IsName() && c.table.At(t.Text) >= 0:
			columns = append(columns, c.table.At(t.Text))
		case i == 0 && t.IsSymbol('('), i%2 == 0 && t.IsSymbol(','):
		default:
			return nil
		}
	}
	return nil
}

// conflictKeys returns the target's values of each row to insert, as the text
// has them. A row that leaves one to the database is left out: it is not known yet.
func (c *change) conflictKeys(conflict int) (keys []string) {
	values := c.keyword("values", c.text.Refs[0].Index)
	if values < 0 || values > conflict || len(c.upsert.target) == 0 {
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
		condition = c.targetRow() + " IN (" + strings.Join(c.upsert.keys, ", ") + ")"
	}
	if c.table.Tenant != "" {
		tenant := parameter(c.params+2) + "::text"
		condition += " AND (" + tenant + " IS NULL OR " + c.alias + "." + trail.Quote(c.table.Tenant) + "::text = " + tenant + ")"
	}
	return `"__audit" AS (SELECT true AS "__found"` + c.olds(c.alias) + ` FROM ` + c.tableName() + ` AS ` + c.alias +
		"\n WHERE " + condition + "\n FOR NO KEY UPDATE),\n"
}

// targetRow is the conflict target of the row that is there.
func (c *change) targetRow() string {
	var columns []string
	for _, i := range c.upsert.target {
		columns = append(columns, c.alias+"."+c.name(i))
	}
	return "(" + strings.Join(columns, ", ") + ")"
}

// keepsReplaced reports whether the statement uses the setting, which is cleared
// when the trail is written.
func (c *change) keepsReplaced() bool { return c.op == opUpsert && !c.returnsOld() }

// lockFirst makes the conflict's update ask for __audit, and keep a row that is not there.
func (c *change) lockFirst(body string) string {
	keep := `set_config('` + replacedSetting + `', concat(current_setting('` + replacedSetting + `', true), encode(convert_to((` +
		c.alias + `.*)::text, 'UTF8'), 'hex'), ','), true) IS NOT NULL`
	if len(c.upsert.keys) > 0 {
		var olds []string
		for _, i := range c.upsert.target {
			olds = append(olds, oldName(i))
		}
		keep = `CASE WHEN ` + c.targetRow() + ` IN (SELECT ` + strings.Join(olds, ", ") + ` FROM "__audit") THEN true ELSE ` + keep + ` END`
	}
	if c.upsert.where < 0 {
		return body + "\n WHERE " + keep
	}
	at := c.text.Tokens[c.upsert.where].Pos + len("WHERE")
	return body[:at] + " (" + body[at:] + "\n) AND " + keep
}

// replaced joins a row that was updated to its old version. What the setting
// holds is read when all rows are written.
func (c *change) replaced() string {
	late := `SELECT true` + c.olds("(s.r)") + ` FROM (SELECT convert_from(decode(h, 'hex'), 'UTF8')::` + c.tableName() +
		` AS r FROM (SELECT count(*) AS n FROM "__w") AS c CROSS JOIN LATERAL string_to_table(CASE WHEN c.n >= 0 THEN current_setting('` +
		replacedSetting + `', true) END, ',') AS h WHERE h <> '' OFFSET 0) AS s`
	var join []string
	equal := " = "
	if c.table.EqualNulls(c.upsert.joins) {
		equal = " IS NOT DISTINCT FROM "
	}
	for _, i := range c.upsert.joins {
		join = append(join, "a."+oldName(i)+equal+"w."+c.name(i))
	}
	return "\n LEFT JOIN (SELECT * FROM \"__audit\" UNION ALL " + late + `) AS a ON NOT w."__created" AND ` + strings.Join(join, " AND ")
}
