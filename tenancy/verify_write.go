package tenancy

import (
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// What a write does is decided by its final text too: an expression in SET or
// VALUES may hold a comma, and a clause may come from elsewhere.

// checkInsert demands that each inserted row has our value in the tenant
// column, and that an upsert carries our guard.
func (v verifier) checkInsert(s *sqllex.Statement, ref sqllex.Ref, args []any, used map[int]bool) error {
	table := v.plugin.lookup(ref)
	if !table.HasTenant() || v.scope.check() != nil {
		return v.checkRef(s, ref, args, used)
	}
	i := ref.Index + 1
	if len(s.Tokens) > i && !s.Tokens[i].IsSymbol('(') {
		return ErrOpaqueSQL
	}
	columns, i := items(s.Tokens, i)
	at, err := tenantColumn(columns, table)
	if err != nil || i >= len(s.Tokens) || !s.Tokens[i].Is("values") {
		return ErrOpaqueSQL
	}
	for more := true; more; {
		var row [][]sqllex.Token
		row, i = items(s.Tokens, i+1)
		if len(row) != len(columns) || len(row[at]) != 1 {
			return ErrOpaqueSQL
		}
		if _, ours := argument(args, row[at][0]).(bound); !ours {
			return ErrOpaqueSQL
		}
		if !v.isOwn(table, args, row[at][0]) {
			return ErrCrossTenant
		}
		more = i < len(s.Tokens) && s.Tokens[i].IsSymbol(',')
	}
	return v.checkConflict(s.Tokens[i:], table, ref, args)
}

// items splits a parenthesised list at i into its items, and returns the index after it.
func items(tokens []sqllex.Token, i int) ([][]sqllex.Token, int) {
	if i >= len(tokens) || !tokens[i].IsSymbol('(') {
		return nil, i
	}
	depth, list, start := tokens[i].Depth+1, [][]sqllex.Token{}, i+1
	for i++; i < len(tokens); i++ {
		closes := tokens[i].Depth < depth
		if closes || tokens[i].Depth == depth && tokens[i].IsSymbol(',') {
			list = append(list, tokens[start:i])
			start = i + 1
		}
		if closes {
			return list, i + 1
		}
	}
	return nil, i
}

// tenantColumn returns the place of the tenant column in a list that names it once.
func tenantColumn(columns [][]sqllex.Token, table plan.Table) (int, error) {
	at := -1
	for i, column := range columns {
		if len(column) != 1 {
			return 0, ErrOpaqueSQL
		}
		if strings.EqualFold(column[0].Text, table.Column) {
			if at >= 0 {
				return 0, ErrOpaqueSQL
			}
			at = i
		}
	}
	if at < 0 {
		return 0, ErrOpaqueSQL
	}
	return at, nil
}

// checkConflict checks what follows the inserted rows.
func (v verifier) checkConflict(tokens []sqllex.Token, table plan.Table, ref sqllex.Ref, args []any) error {
	if len(tokens) == 0 || tokens[0].Is("returning") {
		return nil
	}
	do := indexOf(tokens, "do")
	switch {
	case !tokens[0].Is("on") || do < 0 || do+1 >= len(tokens):
		return ErrOpaqueSQL
	case tokens[do+1].Is("nothing"):
		return endsHere(tokens[do+2:])
	case !tokens[do+1].Is("update"):
		return ErrOpaqueSQL
	}
	tokens = tokens[do+2:]
	where := indexOf(tokens, "where")
	if where < 0 {
		return ErrOpaqueSQL
	}
	if err := checkSet(tokens, table); err != nil {
		return err
	}
	return v.checkOwnRow(tokens[where+1:], table, ref, args)
}

// checkOwnRow demands the condition that ownRow writes, and nothing after it.
func (v verifier) checkOwnRow(t []sqllex.Token, table plan.Table, ref sqllex.Ref, args []any) error {
	if len(t) < 9 || !t[0].Is("case") || !t[1].Is("when") || !isPredicate(t, 2, table.Column, ref.Alias, args) ||
		!v.isOwn(table, args, t[6]) || !t[7].Is("then") || !t[8].Is("true") {
		return ErrOpaqueSQL
	}
	t = t[9:]
	if len(t) > 0 && t[0].Is("and") {
		_, end := items(t, 1)
		t = t[end:]
	}
	for i, word := range []string{"else", "current_setting", "", "", "", "is", "null", "end"} {
		if i >= len(t) || word != "" && !t[i].Is(word) {
			return ErrOpaqueSQL
		}
	}
	return endsHere(t[8:])
}

func endsHere(tokens []sqllex.Token) error {
	if len(tokens) == 0 || tokens[0].Is("returning") {
		return nil
	}
	return ErrOpaqueSQL
}

// checkSet goes through the assignments of SET: none may be to the tenant
// column, but for the one that an upsert takes from the row that was checked.
func checkSet(tokens []sqllex.Token, table plan.Table) error {
	set := indexOf(tokens, "set")
	if set < 0 {
		return ErrOpaqueSQL
	}
	start := set + 1
	for i := start; i <= len(tokens); i++ {
		end := i == len(tokens) || tokens[i].Depth == 0 && setEnds[tokens[i].Text] && tokens[i].Kind == sqllex.Word
		if !end && !(tokens[i].Depth == 0 && tokens[i].IsSymbol(',')) {
			continue
		}
		if err := checkAssignment(tokens[start:i], table); err != nil {
			return err
		}
		if end {
			break
		}
		start = i + 1
	}
	return nil
}

// setEnds leaves FROM out, which may belong to IS DISTINCT FROM: the tables of
// an UPDATE's FROM are read as part of the last assignment, or refused.
var setEnds = map[string]bool{"where": true, "returning": true}

func checkAssignment(t []sqllex.Token, table plan.Table) error {
	if len(t) < 3 || !t[0].IsName() {
		return ErrOpaqueSQL // several columns at once, or none
	}
	if !strings.EqualFold(t[0].Text, table.Column) {
		return nil
	}
	if len(t) == 5 && t[1].IsSymbol('=') && t[2].Text == "excluded" && t[3].IsSymbol('.') && t[4].Text == table.Column {
		return nil
	}
	return ErrTenantImmutable
}

// indexOf returns the index of a keyword outside of all parentheses, -1 if there is none.
func indexOf(tokens []sqllex.Token, word string) int {
	for i, t := range tokens {
		if t.Depth == 0 && t.Is(word) {
			return i
		}
	}
	return -1
}
