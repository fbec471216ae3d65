package audit

import "github.com/courtroll/courtroll/internal/plan"

// Rewrite returns the statement that is sent in place of query.
func Rewrite(query string, params int, model *plan.Audited, isDelete, returning bool) (string, error) {
	c, err := parse(query, params, model, isDelete)
	if err != nil {
		return "", err
	}
	return c.render(returning)
}
