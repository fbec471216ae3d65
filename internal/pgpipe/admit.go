package pgpipe

import (
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/suspension"
)

// question is what is asked about the tenant of a statement.
type question struct {
	function string // with its schema: no search_path puts another in its place
	mode     suspension.Mode
	text     string // BindSQL that asks as well whether the tenant is suspended
}

func newQuestion(function string, mode suspension.Mode) *question {
	return &question{function: function, mode: mode, text: BindSQL + ", " + function + "($1, $4)"}
}

// endsWithin reports whether a text is of several statements, and one of them begins
// or ends a transaction, or goes back to a savepoint: what stands behind it is then
// outside of what was bound and asked. A text that cannot be read may be one.
func endsWithin(text string) bool {
	if !strings.Contains(text, ";") {
		return false
	}
	tokens, err := sqllex.Scan(text)
	if err != nil {
		return true
	}
	statements, controls, first := 0, false, true
	for i, t := range tokens {
		if t.IsSymbol(';') {
			first = true
			continue
		}
		if first {
			statements++
			controls = controls || isControl(tokens[i:])
		}
		first = false
	}
	return controls && statements > 1
}

// isControl reports whether a statement begins or ends a transaction or a part of one.
func isControl(tokens []sqllex.Token) bool {
	if tokens[0].Kind != sqllex.Word {
		return false
	}
	switch tokens[0].Text {
	case "begin", "start", "commit", "end", "rollback", "abort":
		return true
	}
	return len(tokens) > 1 && tokens[0].Is("prepare") && tokens[1].Is("transaction")
}
