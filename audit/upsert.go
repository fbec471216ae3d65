package audit

import (
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/trail"
)

// upsert holds the parts of an INSERT … ON CONFLICT DO UPDATE. A server older
// than 18 does not return what was replaced. There the rows that hold one of the
// keys are locked and read, by __audit. That must be when the first row
// conflicts, and not later, when that row is changed: the condition of the
// conflict's update asks for them. It also sees, before it is changed, a row that
// is not among them: another transaction inserted it after the statement began, or
// the text does not tell its key. Such a row goes into a setting, as text, and
// comes back from there.
type upsert struct {
	target []int // the columns of the conflict target, none if it is no list of columns
	keys   []string
	where  int   // index of WHERE, -1 if there is none
	joins  []int // columns by which old and new rows are joined
}

// The rows that an upsert replaced are kept, while it runs, in settings of this
// name and a number: each that is added copies those that its setting has. The
// setting without a number says that there are any.
const (
	replacedSetting  = "courtroll.replaced"
	replacedSettings = 256
)

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
	for _, columns := range [][]int{c.table.Unique, c.upsert.target} {
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
// anything else, as a condition.
func (c *change) conflictTarget(conflict int) (columns []int) {
	tokens := c.text.Tokens[conflict+1:]
	if len(tokens) > 2 && tokens[0].Is("on") && tokens[1].Is("constraint") {
		return c.table.Constraint(tokens[2].Text)
	}
	for i, t := range tokens {
		switch {
		case t.IsSymbol(')') && t.Depth == 0 && i+1 < len(tokens) && tokens[i+1].Is("do"):
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
// has them. A row of which one is no parameter and no constant is left out: it is
// not known yet, or would not be the same a second time.
func (c *change) conflictKeys(conflict int) (keys []string) {
	values := c.keyword("values", c.text.Refs[0].Index)
	if values < 0 || values > conflict || len(c.upsert.target) == 0 {
		return nil
	}
	inserted := c.inserted(values)
	var row []string
	from := values
	for i := values + 1; i < conflict; i++ {
		t := c.text.Tokens[i]
		switch ends := t.IsSymbol(',') && t.Depth == 1 || t.IsSymbol(')') && t.Depth == 0; {
		case t.Depth == 0 && t.IsSymbol('('):
			row, from = nil, i
		case ends && i == from+2 && isConstant(c.text.Tokens[i-1]):
			row, from = append(row, c.slice(from, i)), i
		case ends:
			row, from = append(row, ""), i
		}
		if t.Depth == 0 && t.IsSymbol(')') {
			if key, ok := c.keyOf(inserted, row); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

func isConstant(t sqllex.Token) bool { return t.Kind == sqllex.Param || t.Kind == sqllex.Literal }

// inserted returns the columns that the INSERT lists.
func (c *change) inserted(values int) (columns []int) {
	for _, t := range c.text.Tokens[c.text.Refs[0].Index+1 : values] {
		if t.Depth == 1 && t.IsName() {
			columns = append(columns, c.table.At(t.Text))
		}
	}
	return columns
}

// keyOf returns a row's key. Several columns have their types with them: the rows
// are compared as a table, of which nothing else tells.
func (c *change) keyOf(inserted []int, row []string) (string, bool) {
	key := make([]string, len(c.upsert.target))
	for i, column := range c.upsert.target {
		at := slices.Index(inserted, column)
		if at < 0 || at >= len(row) || row[at] == "" {
			return "", false
		}
		key[i] = row[at]
		if len(key) > 1 {
			key[i] += "::" + c.table.Columns[column].SQLType
		}
	}
	return "(" + strings.Join(key, ", ") + ")", true
}

// lockConflicting returns the common table expression that locks the rows that
// hold one of the keys, of the tenant if the context names one.
func (c *change) lockConflicting() string {
	condition := "false"
	if len(c.upsert.keys) > 0 {
		list := strings.Join(c.upsert.keys, ", ")
		if len(c.upsert.target) > 1 {
			list = "VALUES " + list
		}
		condition = c.targetRow() + " IN (" + list + ")"
	}
	if c.table.Tenant != "" {
		tenant := parameter(c.params+2) + "::text"
		condition += " AND (" + tenant + " IS NULL OR " + c.alias + "." + trail.Quote(c.table.Tenant) + "::text = " + tenant + ")"
	}
	return `"__audit" AS (SELECT true AS "__found"` + c.olds(c.alias) + ` FROM ONLY ` + c.tableName() + ` AS ` + c.alias +
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
	chunk := fmt.Sprintf("'%s_' || (hashtext(%s.ctid::text) & %d)", replacedSetting, c.alias, replacedSettings-1)
	keep := `set_config(` + chunk + `, concat(current_setting(` + chunk + `, true), encode(convert_to((` + c.alias +
		`.*)::text, 'UTF8'), 'hex'), ','), true) IS NOT NULL AND set_config('` + replacedSetting + `', ` + exactText + `, true) IS NOT NULL`
	if len(c.upsert.keys) > 0 {
		var olds []string
		for _, i := range c.upsert.target {
			olds = append(olds, oldName(i))
		}
		keep = `CASE WHEN ` + c.targetRow() + ` IN (SELECT ` + strings.Join(olds, ", ") + ` FROM "__audit") THEN true ELSE ` + keep + ` END`
	}
	if c.upsert.where < 0 {
		return body + "\n WHERE (" + keep + ")"
	}
	at := c.text.Tokens[c.upsert.where].Pos + len("WHERE")
	return body[:at] + " (" + body[at:] + "\n) AND (" + keep + ")"
}

// exactText is true where a row's text in this session is all of the row: in other
// styles of dates its times may be read as others, and with less digits its floats.
const exactText = `CASE WHEN current_setting('datestyle') LIKE 'ISO%' AND current_setting('extra_float_digits')::int > 0 THEN 'true'
	ELSE current_setting((SELECT '` + uncertainSetting + `')) END`

// numbers are those of the settings that hold rows.
var numbers = fmt.Sprintf(`generate_series(0, CASE WHEN current_setting('%s', true) = 'true' THEN %d ELSE -1 END)`, replacedSetting, replacedSettings-1)

// cleared empties the settings.
func cleared() string {
	return ` OR (SELECT count(set_config('` + replacedSetting + `_' || i, '', true)) FROM ` + numbers + ` AS i) < 0 OR set_config('` + replacedSetting + `', '', true) IS NULL`
}

// replaced joins a row that was updated to its old version. What the setting
// holds is read when all rows are written.
func (c *change) replaced() string {
	late := `SELECT true` + c.olds("(s.r)") + ` FROM (SELECT convert_from(decode(h, 'hex'), 'UTF8')::` + c.tableName() +
		` AS r FROM (SELECT count(*) AS n FROM "__w") AS c CROSS JOIN LATERAL (SELECT i FROM ` + numbers + ` AS i WHERE c.n >= 0) AS s
 CROSS JOIN LATERAL string_to_table(current_setting('` + replacedSetting + `_' || i, true), ',') AS h WHERE h <> '' OFFSET 0) AS s`
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
