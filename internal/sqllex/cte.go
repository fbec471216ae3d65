package sqllex

// span is where a name is defined: after the token from, before the token to.
type span struct{ from, to int }

// IsCTE reports whether ref means a common table expression that stands before it.
func (s *Statement) IsCTE(ref Ref) bool {
	for _, defined := range s.ctes[ref.Name] {
		if ref.Schema == "" && ref.Index > defined.from && ref.Index < defined.to {
			return true
		}
	}
	return false
}

// readCTEs notes the names that a WITH list defines; the bodies are read in
// their turn. A name holds after its body, under RECURSIVE from the start. What
// does not look like a list ends it: a name too few only makes for a refusal.
func (a *analyzer) readCTEs(with int) {
	i := with + 1
	recursive := a.at(i).Is("recursive")
	if recursive {
		i++
	}
	for a.at(i).IsName() {
		name := a.at(i).Text
		if i++; a.at(i).IsSymbol('(') {
			i = a.closing(i) + 1
		}
		if !a.at(i).Is("as") {
			return
		}
		for i++; a.at(i).Is("not") || a.at(i).Is("materialized"); i++ {
		}
		if !a.at(i).IsSymbol('(') {
			return
		}
		end := a.closing(i)
		if a.ctes == nil {
			a.ctes = map[string][]span{}
		}
		defined := span{end, a.scopeEnd(with)}
		if recursive {
			defined.from = with
		}
		a.ctes[name] = append(a.ctes[name], defined)
		if i = end + 1; !a.at(i).IsSymbol(',') {
			return
		}
		i++
	}
}

// scopeEnd returns the index at which what the WITH at i defines is out of scope:
// at the end of its parentheses, or, where it belongs to the query of an INSERT,
// at what follows that query.
func (a *analyzer) scopeEnd(i int) int {
	ofInsert := i > 0 && !a.prev(i).IsSymbol('(')
	for j := i + 1; j < len(a.Tokens); j++ {
		t := a.Tokens[j]
		if t.Depth < a.Tokens[i].Depth || ofInsert && t.Depth == a.Tokens[i].Depth && (t.Is("returning") || t.Is("conflict")) {
			return j
		}
	}
	return len(a.Tokens) + 1
}

// closing returns the index of the parenthesis that closes the one at open.
func (a *analyzer) closing(open int) int {
	for i := open + 1; i < len(a.Tokens); i++ {
		if t := a.Tokens[i]; t.IsSymbol(')') && t.Depth == a.Tokens[open].Depth {
			return i
		}
	}
	return len(a.Tokens)
}
