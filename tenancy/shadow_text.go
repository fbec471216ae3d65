package tenancy

import (
	"strconv"
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
)

// numbering copies text whose parameters are counted anew.
type numbering struct {
	text strings.Builder
	args []any
	sql  string
	from []any // the arguments of sql
	as   map[int]int
}

// use makes text and arguments of a further statement those that are copied.
func (n *numbering) use(sql string, args []any) { n.sql, n.from, n.as = sql, args, map[int]int{} }

// write copies the text of sql from byte start to end, in which tokens stand.
func (n *numbering) write(tokens []sqllex.Token, start, end int) {
	for i := range tokens {
		t := tokens[i]
		if t.Kind != sqllex.Param || t.Pos < start || t.Pos >= end {
			continue
		}
		n.text.WriteString(n.sql[start:t.Pos])
		n.param(t)
		start = t.Pos + 1 + len(t.Text)
	}
	n.text.WriteString(n.sql[start:end])
}

func (n *numbering) param(t sqllex.Token) {
	i := position(n.from, t)
	if i < 0 {
		n.text.WriteString("$" + t.Text) // and the database says that there is none
		return
	}
	if n.as[i] == 0 {
		n.args = append(n.args, n.from[i])
		n.as[i] = len(n.args)
	}
	n.text.WriteString("$" + strconv.Itoa(n.as[i]))
}

// withoutPredicates takes the predicates out that sub-queries were built with. A
// text without one is not touched. One whose parameters the app has numbered
// does not say which is whose then.
func withoutPredicates(query string, args []any) (string, []any, error) {
	ours := false
	for _, arg := range args {
		_, refused := arg.(refusal)
		ours = ours || refused || isBound(arg)
	}
	if !ours {
		return query, args, nil
	}
	tokens, err := sqllex.Scan(query)
	if err != nil {
		return "", nil, ErrOpaqueSQL
	}
	n, start := &numbering{}, 0
	n.use(query, args)
	for i := 0; i < len(tokens); i++ {
		if isPredicateStart(tokens, i, args) {
			n.write(tokens, start, tokens[i].Pos)
			n.text.WriteString("true")
			i += 4
			start = tokens[i].Pos + 1 + len(tokens[i].Text)
		} else if err := isTheirs(argument(args, tokens[i])); err != nil {
			return "", nil, err
		}
	}
	n.write(tokens, start, len(query))
	return n.text.String(), n.args, nil
}

// isTheirs returns an error for an argument of ours that is none of a predicate.
func isTheirs(arg any) error {
	if r, refused := arg.(refusal); refused {
		return r.err
	}
	if isBound(arg) {
		return ErrOpaqueSQL
	}
	return nil
}

// withoutLiterals writes the text anew from its tokens, with ? for each literal,
// and without comments, which may hold values, too.
func withoutLiterals(text string, tokens []sqllex.Token) string {
	var out strings.Builder
	for i, t := range tokens {
		if i > 0 && (isBlank(text[t.Pos-1]) || t.Kind != sqllex.Symbol && tokens[i-1].Kind != sqllex.Symbol) {
			out.WriteByte(' ')
		}
		switch t.Kind {
		case sqllex.Literal:
			out.WriteByte('?')
		case sqllex.Param:
			out.WriteString("$" + t.Text)
		case sqllex.Name:
			out.WriteString(`"` + strings.ReplaceAll(t.Text, `"`, `""`) + `"`)
		default:
			out.WriteString(t.Text)
		}
	}
	return out.String()
}

func isBlank(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
