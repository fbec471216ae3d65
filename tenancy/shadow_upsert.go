package tenancy

import (
	"fmt"
	"strconv"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// compareUpsert returns what the strict plugin says of an insert that, on
// conflict, updates: nil if each row that it meets is the tenant's own.
func (s *shadowed) compareUpsert(conn gorm.ConnPool, f form) error {
	ref := f.refs[0]
	do := indexOf(f.tokens, "do")
	if do < 0 || do+1 < len(f.tokens) && f.tokens[do+1].Is("nothing") {
		return nil
	}
	table := s.plugin.lookup(ref)
	n, err := s.takenKeys(f, ref, table)
	if n == nil || err != nil {
		return err
	}
	found, err := countApart(s.ctx, conn, n)
	if err == nil && found[0] > 0 {
		err = refuse(ref.String(), fmt.Errorf("the key is taken: choose another: %w", gorm.ErrDuplicatedKey))
	}
	return err
}

// takenKeys writes the count of the rows of other tenants that have a key of an
// inserted row. It returns nil where all keys are the database's to choose.
func (s *shadowed) takenKeys(f form, ref sqllex.Ref, table plan.Table) (*numbering, error) {
	columns, i := items(f.tokens, ref.Index+1)
	rows, on := insertedRows(f.tokens, i)
	keys, err := conflictKeys(f.tokens, on, columns)
	if err != nil || len(rows) == 0 {
		return nil, errUncountable
	}
	own, err := table.Value(s.scope.tenant)
	if err != nil {
		return nil, err
	}
	n := &numbering{}
	begin(n, f)
	n.args = append(n.args, own)
	n.text.WriteString("ARRAY[(SELECT count(*) FROM ")
	f.put(n, f.end(2), f.end(ref.Index+1))
	n.text.WriteString("AS courtroll_row WHERE courtroll_row." + quoted(table.Column) + " IS DISTINCT FROM $" + strconv.Itoa(len(n.args)) + " AND (false")
	written := 0
	for _, row := range rows {
		if len(row) != len(columns) {
			return nil, errUncountable
		}
		written += f.putKey(n, columns, keys, row)
	}
	n.text.WriteString(")), 0] END")
	if written == 0 {
		return nil, nil
	}
	return n, nil
}

// insertedRows returns the items of each row behind VALUES, and the index after them.
func insertedRows(tokens []sqllex.Token, i int) (rows [][][]sqllex.Token, end int) {
	if i >= len(tokens) || !tokens[i].Is("values") {
		return nil, i
	}
	for more := true; more; more = i < len(tokens) && tokens[i].IsSymbol(',') {
		var row [][]sqllex.Token
		row, i = items(tokens, i+1)
		rows = append(rows, row)
	}
	return rows, i
}

// conflictKeys returns the places of ON CONFLICT's columns in the list of columns.
func conflictKeys(tokens []sqllex.Token, on int, columns [][]sqllex.Token) ([]int, error) {
	if on+2 >= len(tokens) || !tokens[on].Is("on") || !tokens[on+1].Is("conflict") {
		return nil, errUncountable
	}
	named, after := items(tokens, on+2)
	if len(named) == 0 || after >= len(tokens) || !tokens[after].Is("do") {
		return nil, errUncountable // ON CONSTRAINT, or an index with a WHERE
	}
	var keys []int
	for _, name := range named {
		at := placeOf(name, columns)
		if at < 0 && len(name) != 1 {
			return nil, errUncountable // an expression
		}
		keys = append(keys, at) // -1: the column has its default
	}
	return keys, nil
}

func placeOf(name []sqllex.Token, columns [][]sqllex.Token) int {
	for i, column := range columns {
		if len(name) == 1 && len(column) == 1 && column[0].Text == name[0].Text {
			return i
		}
	}
	return -1
}

// putKey writes the condition for one row's key, unless a part of it is a default,
// and returns how many it wrote.
func (f form) putKey(n *numbering, columns [][]sqllex.Token, keys []int, row [][]sqllex.Token) int {
	for _, at := range keys {
		if at < 0 || len(row[at]) == 1 && row[at][0].Is("default") {
			return 0
		}
	}
	n.text.WriteString(" OR (true")
	for _, at := range keys {
		n.text.WriteString(" AND courtroll_row." + quoted(columns[at][0].Text) + " = (")
		first := f.indexAt(row[at][0].Pos)
		f.put(n, f.end(first), f.end(first+len(row[at])))
		n.text.WriteString(")")
	}
	n.text.WriteString(")")
	return 1
}

func (f form) indexAt(pos int) int {
	for i, t := range f.tokens {
		if t.Pos == pos {
			return i
		}
	}
	return len(f.tokens)
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
