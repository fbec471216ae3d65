package sqllex

import "sync/atomic"

// Ref is a place where a statement names a table.
type Ref struct {
	Schema  string // empty when the name is not qualified
	Name    string
	Alias   string // what the rest of its query calls it: the alias, or else Name
	Write   bool   // the statement inserts into, updates or deletes from it
	Renamed bool   // its columns have aliases
	Index   int    // index of the name's last token
	End     int    // index of its last token, the alias included
	Depth   int
}

// String returns the name with its schema, if it has one.
func (r Ref) String() string {
	if r.Schema == "" {
		return r.Name
	}
	return r.Schema + "." + r.Name
}

// Statement is what [Analyze] found.
type Statement struct {
	Tokens []Token
	Verb   string // first keyword, in lower case; empty for an empty text
	Refs   []Ref

	// Conclusion is for the one who keeps the statement: what follows from it.
	Conclusion atomic.Value

	ctes map[string][]span
}

// Analyze finds the tables that one statement names. Text of several
// statements is [ErrSeveral].
func Analyze(sql string) (*Statement, error) {
	tokens, err := Scan(sql)
	if err != nil {
		return nil, err
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].IsSymbol(';') {
		tokens = tokens[:len(tokens)-1]
	}
	a := analyzer{Statement: Statement{Tokens: tokens}, lists: make([]bool, 8)}
	a.Verb = a.verb()
	for i := 0; i < len(tokens); {
		if tokens[i].IsSymbol(';') {
			return nil, ErrSeveral
		}
		i = a.step(i)
	}
	return &a.Statement, nil
}

// verb returns the statement's first keyword; that of EXPLAIN is the one that
// it explains, and that of a query in parentheses stands in them.
func (a *analyzer) verb() string {
	first := a.at(0)
	for i := 1; first.IsSymbol('('); i++ {
		if first = a.at(i); !first.IsSymbol('(') && !isQuery[first.Text] {
			return "("
		}
	}
	if !first.Is("explain") {
		return first.Text
	}
	for i := 1; i < len(a.Tokens); i++ {
		switch t := a.Tokens[i]; {
		case t.Depth > 0, t.Kind == Symbol, t.Is("analyze"), t.Is("analyse"), t.Is("verbose"):
		default:
			return t.Text
		}
	}
	return first.Text
}

// isQuery holds the first keywords of what may stand in parentheses.
var isQuery = map[string]bool{"select": true, "with": true, "values": true, "table": true}

// analyzer walks the tokens once. expect is set where a table's name is due,
// write when that table is the target of a change, and lists[d] while a list
// of tables, which a comma continues, is open at depth d.
type analyzer struct {
	Statement
	expect, write bool
	into          bool // the table that is due follows INTO
	lists         []bool
}

func (a *analyzer) step(i int) int {
	t := a.Tokens[i]
	switch {
	case t.Kind == Symbol:
		a.symbol(t)
	case a.expect && a.isUnreserved(i):
		return a.table(i)
	case t.Kind == Word && a.keyword(i):
	case a.expect && t.IsName():
		return a.table(i)
	}
	return i + 1
}

func (a *analyzer) symbol(t Token) {
	switch t.Text[0] {
	case '(', '[':
		// A parenthesis where a table is due holds a sub-query or a join:
		// expect stays for the join, and SELECT ends it.
		a.setList(t.Depth+1, false)
	case ')', ']':
		a.setList(t.Depth+1, false)
		a.expect = false
	case ',':
		a.expect = a.list(t.Depth)
		a.write = false
	default:
		a.expect = false
	}
}

// keyword handles a word that opens or closes a place for tables, and says
// whether it was one.
func (a *analyzer) keyword(i int) bool {
	t := a.Tokens[i]
	switch t.Text {
	case "from":
		if a.isDistinctFrom(i) || a.inSpecialCall(i) {
			return true
		}
		a.open(t.Depth, true, a.prev(i).Is("delete"))
	case "join":
		a.open(t.Depth, a.list(t.Depth), false)
	case "using":
		if !a.isColumnList(i+1) && !a.isCyclePath(i) && !a.at(i+1).Is("operator") {
			a.open(t.Depth, true, false)
		}
	case "into":
		a.open(t.Depth, false, true)
		a.into = true
	case "update":
		p := a.prev(i)
		if p.Is("key") && a.at(i-2).Is("no") {
			p = a.at(i - 3) // FOR NO KEY UPDATE
		}
		if !p.Is("for") && !p.Is("do") && !p.Is("on") {
			a.open(t.Depth, a.list(t.Depth), true) // where it is an alias, the list goes on
		}
	case "table", "truncate", "lock":
		if i == 0 || t.Text == "table" {
			a.open(t.Depth, true, a.Verb == "truncate")
		}
	case "with":
		a.readCTEs(i)
		a.expect = false
	case "only", "lateral":
		return a.expect
	case "set", "values":
		// Where they are an alias a list may be open.
		a.expect = false
	default:
		if !a.endsList(i) {
			return false
		}
		a.setList(t.Depth, false)
		a.expect = false
	}
	return true
}

// isUnreserved reports whether the word at i, which begins a statement or a
// clause elsewhere, is a table's name here, as the server has it where a table is due.
func (a *analyzer) isUnreserved(i int) bool {
	t := a.Tokens[i]
	switch {
	case t.Is("update"), t.Is("truncate"), t.Is("lock"):
		return true
	case t.Is("values"): // but FROM (VALUES (1))
		return a.into || !a.at(i+1).IsSymbol('(')
	case t.Is("set"): // but MERGE … THEN UPDATE SET
		return !a.prev(i).Is("update") || !a.at(i-2).Is("then")
	}
	return false
}

// endsList reports whether the word at i ends a list of tables at its depth:
// COLLATION FOR (…) and WITHIN GROUP (…) stand in an expression.
func (a *analyzer) endsList(i int) bool {
	inExpression := (a.prev(i).Is("collation") || a.prev(i).Is("within")) && a.at(i+1).IsSymbol('(')
	return listEnds[a.Tokens[i].Text] && !inExpression
}

// listEnds holds the keywords that may do so.
var listEnds = map[string]bool{
	"where": true, "group": true, "having": true, "order": true, "limit": true, "offset": true, "fetch": true,
	"for": true, "window": true, "union": true, "intersect": true, "except": true, "returning": true, "select": true,
}

// notAlias holds the keywords that may follow a table's name and that the
// server takes for no alias. Any other word is one.
var notAlias = map[string]bool{
	"as": true, "on": true, "join": true, "left": true, "right": true, "full": true, "inner": true, "cross": true,
	"natural": true, "outer": true, "using": true, "tablesample": true, "default": true, "when": true, "in": true, "from": true,
	"with": true,
}

func (a *analyzer) open(depth int, list, write bool) {
	a.setList(depth, list)
	a.expect, a.write, a.into = true, write, false
}

// table reads a name, qualified or not, and its alias, and returns the index
// of the token after them. A name before a parenthesis is a function's, unless
// columns to insert into follow.
func (a *analyzer) table(i int) int {
	ref := Ref{Name: a.Tokens[i].Text, Write: a.write, Depth: a.Tokens[i].Depth}
	for a.at(i+1).IsSymbol('.') && a.at(i+2).IsName() {
		i += 2
		ref.Schema, ref.Name = ref.Name, a.Tokens[i].Text
	}
	ref.Index = i
	a.expect = false
	if a.Tokens[i].Is("rows") && a.at(i+1).Is("from") && a.at(i+2).IsSymbol('(') {
		return i + 1 // ROWS FROM (f(), g()): no table can stand before FROM
	}
	if !a.write && (a.at(i+1).IsSymbol('(') || ref.Schema == "" && a.Tokens[i].Kind == Word && valueFunction[ref.Name]) {
		return i + 1
	}
	if a.at(i + 1).IsSymbol('*') {
		i++
	}
	ref.Alias, i = a.alias(i, ref.Name)
	ref.End = i
	ref.Renamed = !a.write && a.at(i+1).IsSymbol('(')
	a.Refs = append(a.Refs, ref)
	return i + 1
}

// valueFunction holds the functions that are called without parentheses, by
// reserved words that can name no table.
var valueFunction = map[string]bool{
	"current_date": true, "current_time": true, "current_timestamp": true, "localtime": true, "localtimestamp": true,
	"current_catalog": true, "current_schema": true, "current_role": true, "current_user": true, "session_user": true, "system_user": true, "user": true,
}

func (a *analyzer) alias(i int, name string) (string, int) {
	next := a.at(i + 1)
	if next.Is("as") && a.at(i+2).IsName() {
		return a.at(i + 2).Text, i + 2
	}
	if a.into || a.write && next.Is("set") {
		return name, i
	}
	if next.Kind == Name || next.Kind == Word && next.Text != "" && !notAlias[next.Text] && !listEnds[next.Text] {
		return next.Text, i + 1
	}
	return name, i
}

// isColumnList reports whether a USING is followed by the columns of a join,
// and not by tables.
func (a *analyzer) isColumnList(open int) bool {
	if !a.at(open).IsSymbol('(') {
		return !a.at(open).IsName()
	}
	for i := open + 1; i < a.closing(open); i++ {
		if odd := (i-open)%2 == 1; odd && !a.at(i).IsName() || !odd && !a.at(i).IsSymbol(',') {
			return false
		}
	}
	return true
}

// isCyclePath reports whether the USING at i belongs to CYCLE n, … SET n [TO x
// DEFAULT y] USING n, which names a column. What follows may be a statement.
func (a *analyzer) isCyclePath(i int) bool {
	set := i - 2
	for set > 0 && !a.at(set).Is("set") {
		if t := a.at(set); t.Is("using") || t.Depth != a.Tokens[i].Depth || t.IsSymbol(')') {
			return false
		}
		set--
	}
	if !a.at(set+1).IsName() || set+2 != i && !a.at(set+2).Is("to") {
		return false
	}
	first := set - 1
	for a.at(first).IsName() && a.at(first-1).IsSymbol(',') {
		first -= 2
	}
	return a.at(first).IsName() && a.at(first-1).Is("cycle")
}

// isDistinctFrom reports whether the FROM at i belongs to IS [NOT] DISTINCT FROM.
func (a *analyzer) isDistinctFrom(i int) bool {
	if !a.prev(i).Is("distinct") {
		return false
	}
	before := a.at(i - 2)
	return before.Is("is") || before.Is("not") && a.at(i-3).Is("is")
}

var specialCall = map[string]bool{"extract": true, "substring": true, "trim": true, "overlay": true}

// inSpecialCall reports whether token i stands directly in one of the calls
// that use FROM between their arguments, as in extract(year from x).
func (a *analyzer) inSpecialCall(i int) bool {
	depth := a.Tokens[i].Depth
	for i--; i > 0 && depth > 0; i-- {
		t := a.Tokens[i]
		switch {
		case t.Depth == depth && (t.Is("select") || t.Is("delete")):
			return false // the FROM is its own
		case t.IsSymbol('(') && t.Depth == depth-1:
			return a.prev(i).Kind == Word && specialCall[a.prev(i).Text]
		}
	}
	return false
}

func (a *analyzer) prev(i int) Token { return a.at(i - 1) }

func (a *analyzer) at(i int) Token {
	if i < 0 || i >= len(a.Tokens) {
		return Token{Kind: Literal}
	}
	return a.Tokens[i]
}

func (a *analyzer) list(depth int) bool { return depth < len(a.lists) && a.lists[depth] }

func (a *analyzer) setList(depth int, open bool) {
	for depth >= len(a.lists) {
		a.lists = append(a.lists, false)
	}
	a.lists[depth] = open
}

// ParseTable reads a text such as GORM's Table takes: one table's name,
// qualified or not, with an alias or without. It reports false for any other.
func ParseTable(text string) (Ref, bool) {
	s, err := Analyze("from " + text)
	if err != nil || len(s.Refs) != 1 || s.Refs[0].Depth != 0 {
		return Ref{}, false
	}
	ref := s.Refs[0]
	last := ref.Index
	if _, last = (&analyzer{Statement: Statement{Tokens: s.Tokens}}).alias(last, ref.Name); last != len(s.Tokens)-1 {
		return Ref{}, false
	}
	return ref, true
}
