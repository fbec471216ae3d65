package sqllex

// Ref is a place where a statement names a table.
type Ref struct {
	Schema string // empty when the name is not qualified
	Name   string
	Alias  string // what the rest of its query calls it: the alias, or else Name
	Write  bool   // the statement inserts into, updates or deletes from it
	Index  int    // index of the name's last token
	Depth  int
}

// Statement is what [Analyze] found.
type Statement struct {
	Tokens []Token
	Verb   string // first keyword, in lower case; empty for an empty text
	Refs   []Ref
	ctes   map[string]bool
}

// HasCTE reports whether the statement defines a common table expression of that name.
func (s *Statement) HasCTE(name string) bool { return s.ctes[name] }

// Analyze finds the tables that one statement names. Text of several
// statements is [ErrUnreadable].
func Analyze(sql string) (*Statement, error) {
	tokens, err := Scan(sql)
	if err != nil {
		return nil, err
	}
	for len(tokens) > 0 && tokens[len(tokens)-1].IsSymbol(';') {
		tokens = tokens[:len(tokens)-1]
	}
	a := analyzer{Statement: Statement{Tokens: tokens}, lists: make([]bool, 8)}
	if len(tokens) > 0 && tokens[0].Kind == Word {
		a.Verb = tokens[0].Text
	}
	for i := 0; i < len(tokens); {
		if tokens[i].IsSymbol(';') {
			return nil, ErrUnreadable
		}
		i = a.step(i)
	}
	return &a.Statement, nil
}

// analyzer walks the tokens once. expect is set where a table's name is due,
// write when that table is the target of a change, and lists[d] while a list
// of tables, which a comma continues, is open at depth d.
type analyzer struct {
	Statement
	expect, write bool
	lists         []bool
}

func (a *analyzer) step(i int) int {
	t := a.Tokens[i]
	switch {
	case t.Kind == Symbol:
		a.symbol(t)
	case t.Kind == Word && !a.qualified(i) && a.keyword(i):
	case a.expect && t.IsName():
		return a.table(i)
	}
	return i + 1
}

func (a *analyzer) symbol(t Token) {
	switch t.Text[0] {
	case '(':
		// A parenthesis where a table is due holds a sub-query or a join:
		// expect stays for the join, and SELECT ends it.
		a.setList(t.Depth+1, false)
	case ')':
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
		if a.prev(i).Is("distinct") || a.inSpecialCall(i) {
			return true
		}
		a.open(t.Depth, true, a.prev(i).Is("delete"))
	case "join":
		a.open(t.Depth, a.list(t.Depth), false)
	case "using":
		if next := a.at(i + 1); next.IsName() {
			a.open(t.Depth, true, false)
		}
	case "into":
		a.open(t.Depth, false, true)
	case "update":
		if p := a.prev(i); !p.Is("for") && !p.Is("key") && !p.Is("do") && !p.Is("on") {
			a.open(t.Depth, false, true)
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
		// No list is open where these are keywords; where they are an alias one may be.
		a.expect = false
	default:
		if !endsList[t.Text] {
			return false
		}
		a.setList(t.Depth, false)
		a.expect = false
	}
	return true
}

// endsList holds the keywords that end a list of tables at their depth.
var endsList = map[string]bool{
	"where": true, "group": true, "having": true, "order": true, "limit": true, "offset": true, "fetch": true,
	"for": true, "window": true, "union": true, "intersect": true, "except": true, "returning": true, "select": true,
}

// notAlias holds the keywords that may follow a table's name and are no alias of it.
var notAlias = map[string]bool{
	"as": true, "on": true, "join": true, "left": true, "right": true, "full": true, "inner": true, "cross": true,
	"natural": true, "outer": true, "using": true, "tablesample": true, "default": true, "overriding": true,
	"set": true, "values": true, "when": true, "nowait": true, "in": true, "from": true, "restart": true, "cascade": true,
}

func (a *analyzer) open(depth int, list, write bool) {
	a.setList(depth, list)
	a.expect, a.write = true, write
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
	if a.at(i+1).IsSymbol('(') && !a.write {
		return i + 1
	}
	if a.at(i + 1).IsSymbol('*') {
		i++
	}
	ref.Alias, i = a.alias(i, ref.Name)
	a.Refs = append(a.Refs, ref)
	return i + 1
}

func (a *analyzer) alias(i int, name string) (string, int) {
	next := a.at(i + 1)
	if next.Is("as") && a.at(i+2).IsName() {
		return a.at(i + 2).Text, i + 2
	}
	if next.Kind == Quoted || next.Kind == Word && next.Text != "" && !notAlias[next.Text] && !endsList[next.Text] {
		return next.Text, i + 1
	}
	return name, i
}

// readCTEs notes the names that a WITH list defines; the bodies are read in
// their turn. Any name before AS ( counts: more names than there are only
// make an unknown table pass for a known one, never a guarded one.
func (a *analyzer) readCTEs(with int) {
	depth := a.Tokens[with].Depth
	for i := with + 1; i < len(a.Tokens) && a.Tokens[i].Depth >= depth; i++ {
		if a.Tokens[i].Depth != depth || !a.Tokens[i].Is("as") {
			continue
		}
		if next := a.at(i + 1); !next.IsSymbol('(') && !next.Is("not") && !next.Is("materialized") {
			continue
		}
		a.addCTE(i-1, depth)
	}
}

// addCTE notes the name that stands at end or before the column list that ends there.
func (a *analyzer) addCTE(end, depth int) {
	if a.at(end).IsSymbol(')') {
		for end--; end > 0 && !(a.at(end).IsSymbol('(') && a.at(end).Depth == depth); end-- {
		}
		end--
	}
	if t := a.at(end); t.IsName() {
		if a.ctes == nil {
			a.ctes = map[string]bool{}
		}
		a.ctes[t.Text] = true
	}
}

// inSpecialCall reports whether token i stands directly in one of the calls
// that use FROM between their arguments, as in extract(year from x).
func (a *analyzer) inSpecialCall(i int) bool {
	depth := a.Tokens[i].Depth
	for i--; i > 0 && depth > 0; i-- {
		if t := a.Tokens[i]; t.IsSymbol('(') && t.Depth == depth-1 {
			switch p := a.Tokens[i-1]; p.Text {
			case "extract", "substring", "trim", "overlay", "position":
				return p.Kind == Word
			}
			return false
		}
	}
	return false
}

func (a *analyzer) qualified(i int) bool { return a.prev(i).IsSymbol('.') }
func (a *analyzer) prev(i int) Token     { return a.at(i - 1) }

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
	if _, last = (&analyzer{Statement: *s}).alias(last, ref.Name); last != len(s.Tokens)-1 {
		return Ref{}, false
	}
	return ref, true
}
