package sqllex

// Routine is what the body of a function in SQL or PL/pgSQL, or the text of a
// rule, does as far as its words tell.
type Routine struct {
	Writes  []Ref // the tables that it inserts into, updates, deletes from, merges into, truncates or copies into
	Calls   []Ref // whatever stands before a parenthesis: functions, but also keywords and tables
	Dynamic bool  // it runs SQL that it puts together, or a prepared statement
}

// ReadRoutine reads a text of one statement or many. Of each [Ref] only Schema
// and Name are set. Writes may hold too much, where a keyword follows another
// one as a table's name would (FOR UPDATE NOWAIT), but not too little.
func ReadRoutine(text string) (*Routine, error) {
	tokens, err := Scan(text)
	if err != nil {
		return nil, err
	}
	r := &routine{analyzer: analyzer{Statement: Statement{Tokens: tokens}}}
	for i, t := range tokens {
		if t.Kind == Word {
			r.word(i)
		}
		if t.IsName() && r.at(i+1).IsSymbol('(') {
			r.Calls = append(r.Calls, r.endingAt(i))
		}
	}
	return &r.Routine, nil
}

type routine struct {
	analyzer
	Routine
}

// word handles a keyword that a table's name may follow.
func (r *routine) word(i int) {
	next := r.at(i + 1)
	switch r.Tokens[i].Text {
	case "insert", "merge":
		if next.Is("into") {
			r.target(i + 2)
		}
	case "delete":
		if next.Is("from") {
			r.target(i + 2)
		}
	case "update", "copy":
		r.target(i + 1)
	case "truncate":
		if i++; next.Is("table") {
			i++
		}
		for i = r.target(i); r.at(i).IsSymbol(','); {
			i = r.target(i + 1)
		}
	case "execute": // but GRANT EXECUTE ON, and EXECUTE FUNCTION of a trigger that is created
		r.Dynamic = r.Dynamic || !next.Is("on") && !next.Is("function") && !next.Is("procedure")
	}
}

// target reads the table's name that begins at i, if one does, and returns the
// index of what follows it.
func (r *routine) target(i int) int {
	if r.at(i).Is("only") {
		i++
	}
	if !r.at(i).IsName() {
		return i
	}
	for r.at(i+1).IsSymbol('.') && r.at(i+2).IsName() {
		i += 2
	}
	r.Writes = append(r.Writes, r.endingAt(i))
	if i++; r.at(i).IsSymbol('*') {
		i++
	}
	return i
}

// endingAt returns the name whose last part is the token at i.
func (r *routine) endingAt(i int) Ref {
	ref := Ref{Name: r.Tokens[i].Text}
	if r.at(i-1).IsSymbol('.') && r.at(i-2).IsName() {
		ref.Schema = r.at(i - 2).Text
	}
	return ref
}
