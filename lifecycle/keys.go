package lifecycle

import (
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
)

// known is one of our own two tables.
func known(db *gorm.DB, model any, keys ...string) (*table, error) {
	s, err := plan.Parse(db, model)
	if err != nil {
		return nil, err
	}
	return &table{schema: s, relation: relation{Name: s.Table, Keys: keys}}, nil
}

// identity is what tells the table's rows apart. That of a table without a primary key
// tells those of one partition apart.
func (t *table) identity() []string {
	if len(t.Keys) == 0 {
		return []string{"ctid"}
	}
	return t.Keys
}

// columns lists the identity for SQL.
func (t *table) columns() string { return t.list("", t.identity()) }

// list writes columns of the table, or of an alias of it.
func (t *table) list(alias string, columns []string) string {
	prefix := t.sql()
	if alias != "" {
		prefix = quote(alias)
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = prefix + "." + quote(c)
	}
	return strings.Join(quoted, ", ")
}
