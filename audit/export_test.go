package audit

import (
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/trail"
)

// Rewrite returns the statement that is sent in place of query.
func Rewrite(query string, params int, table *trail.Table, isDelete, returning bool) (string, error) {
	text, err := sqllex.Analyze(query)
	if err != nil || len(text.Refs) == 0 {
		return "", errShape
	}
	c, err := parse(rewrite{query: query, params: params, isDelete: isDelete}, text, table)
	if err != nil {
		return "", err
	}
	sent, err := c.render(returning)
	return sent.text, err
}

// What an export makes of an entry, and of a cell.
var (
	OCSFLine     = ocsfLine
	SafeCell     = safeCell
	SafeJSONCell = safeJSONCell
)
