package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

// shadowTimeout is how long a count may take.
const shadowTimeout = 2 * time.Second

// errUncountable is a statement whose two forms cannot be compared by running them.
var errUncountable = errors.New("uncountable")

// difference is what the two forms of a statement do: rows of the plain form's
// that are missing in the strict one's, and the other way round.
type difference struct{ missing, extra int64 }

// count compares what is sent with what the strict plugin would have sent.
func (s *shadowed) count(conn gorm.ConnPool, text string, args []any) {
	d, err := s.compare(conn, text, args)
	switch {
	case errors.Is(err, gorm.ErrDuplicatedKey):
		s.report = &ShadowReport{Kind: ShadowRefused, Err: err, Hidden: -1}
	case err != nil:
		s.report = &ShadowReport{Kind: ShadowUnknown, Hidden: -1}
	case d.extra > 0:
		s.report = &ShadowReport{Kind: ShadowChanged, Hidden: d.missing}
	case d.missing > 0:
		s.report = &ShadowReport{Kind: ShadowHidden, Hidden: d.missing}
	}
}

func (s *shadowed) compare(conn gorm.ConnPool, text string, args []any) (difference, error) {
	plain, err := readForm(text, args)
	if err != nil {
		return difference{}, err
	}
	strict, err := readForm(s.text, s.args)
	switch {
	case err != nil:
		return difference{}, err
	case plain.verb == "insert":
		return difference{}, s.compareUpsert(conn, plain)
	case plain.verb == "update" || plain.verb == "delete":
		return compareTargets(s.ctx, conn, plain, strict)
	}
	return compareRows(s.ctx, conn, plain, strict)
}

// form is one of the two forms of a statement.
type form struct {
	verb   string
	text   string
	args   []any
	tokens []sqllex.Token
	refs   []sqllex.Ref
}

func readForm(text string, args []any) (form, error) {
	s, err := sqllex.Analyze(text)
	if err != nil {
		return form{}, errUncountable
	}
	for _, ref := range s.Refs {
		if ref.Write && (ref.Depth > 0 || s.Verb == "with") { // a WITH that changes rows
			return form{}, errUncountable
		}
	}
	if skipsLocked(s.Tokens) || s.Tokens[0].Is("explain") {
		return form{}, errUncountable
	}
	return form{s.Verb, text, args, s.Tokens, s.Refs}, nil
}

func skipsLocked(tokens []sqllex.Token) bool {
	i := indexOf(tokens, "skip")
	return i >= 0 && i+1 < len(tokens) && tokens[i+1].Is("locked")
}

// end returns the byte offset at which a token begins, that of the text's end for one too many.
func (f form) end(i int) int {
	if i < 0 || i >= len(f.tokens) {
		return len(f.text)
	}
	return f.tokens[i].Pos
}

// put writes a part of the form's text. The newline ends a comment.
func (f form) put(n *numbering, start, end int) {
	n.use(f.text, f.args)
	n.write(f.tokens, start, end)
	n.text.WriteByte('\n')
}

// compareTargets counts the rows that an UPDATE or DELETE is going to meet.
func compareTargets(ctx context.Context, conn gorm.ConnPool, plain, strict form) (difference, error) {
	n := &numbering{}
	begin(n, plain, strict)
	n.text.WriteString("ARRAY[(SELECT count(*) FROM ")
	err := plain.putTargets(n)
	n.text.WriteString(") - (SELECT count(*) FROM ")
	err = errors.Join(err, strict.putTargets(n))
	n.text.WriteString("), 0] END")
	if err != nil {
		return difference{}, err
	}
	found, err := countApart(ctx, conn, n)
	if err != nil || found[0] < 0 {
		return difference{}, errors.Join(errUncountable, err)
	}
	return difference{missing: found[0]}, nil
}

// putTargets writes the table and the condition of an UPDATE or DELETE of one table.
func (f form) putTargets(n *numbering) error {
	first, last := 1, indexOf(f.tokens, "set")
	where, returning := indexOf(f.tokens, "where"), indexOf(f.tokens, "returning")
	if f.verb == "delete" {
		first, last = 2, where
		if last < 0 {
			last = returning
		}
	}
	body := f.tokens[first:]
	if f.verb == "update" && last > 0 {
		body = f.tokens[last:]
	}
	// FROM may belong to IS DISTINCT FROM: then the count is missed, and said to be.
	if !f.tokens[0].Is(f.verb) || indexOf(body, "from") >= 0 || indexOf(body, "using") >= 0 || f.verb == "update" && last < 0 {
		return errUncountable
	}
	f.put(n, f.end(first), f.end(last))
	if where >= 0 {
		f.put(n, f.end(where), f.end(returning))
	}
	return nil
}

// begin writes the condition under which a count reads anything. A serializable
// transaction may fail for what it has read, and of a volatile function the value,
// or what it does, is not the same twice.
func begin(n *numbering, forms ...form) {
	var called []string
	for _, f := range forms {
		_ = calls(f.tokens, func(name string) bool { called = append(called, name); return false })
	}
	n.args = append(n.args, called)
	n.text.WriteString(`SELECT CASE WHEN pg_catalog.current_setting('transaction_isolation') <> 'serializable' AND NOT EXISTS (
		SELECT FROM pg_catalog.pg_proc WHERE provolatile = 'v' AND proname = ANY ($` + strconv.Itoa(len(n.args)) + `::text[]::name[])) THEN `)
}

// compareRows compares the rows of two queries by their texts, as bags: whatever
// the types of the columns are, and whatever makes the difference.
func compareRows(ctx context.Context, conn gorm.ConnPool, plain, strict form) (difference, error) {
	if plain.verb != "select" && plain.verb != "with" {
		return difference{}, errUncountable
	}
	unlock := func(f form) int { return f.end(lockingClause(f.tokens)) }
	limit, strictLimit := limitClause(plain.tokens), limitClause(strict.tokens)
	if limit < 0 {
		return compareTexts(ctx, conn, plain, strict, unlock(plain), unlock(strict))
	}
	if indexOf(plain.tokens, "order") >= 0 {
		return compareTexts(ctx, conn, plain, strict, unlock(plain), unlock(strict))
	}
	all, err := compareTexts(ctx, conn, plain, strict, plain.end(limit), strict.end(strictLimit))
	if err != nil || all == (difference{}) {
		return all, err
	}
	whole, err := cutsNothing(ctx, conn, plain, limit, unlock(plain))
	if err == nil && !whole {
		err = errUncountable // which rows come is the database's choice
	}
	return all, err
}

// lockingClause returns the index of FOR UPDATE and the like, -1 if there is none.
func lockingClause(tokens []sqllex.Token) int {
	for i, t := range tokens[:max(len(tokens)-1, 0)] {
		next := tokens[i+1]
		if t.Depth == 0 && t.Is("for") && (next.Is("update") || next.Is("share") || next.Is("no") || next.Is("key")) {
			return i
		}
	}
	return -1
}

// limitClause returns the index at which LIMIT, OFFSET or FETCH begins, -1 if none does.
func limitClause(tokens []sqllex.Token) int {
	for i, t := range tokens {
		if t.Depth == 0 && (t.Is("limit") || t.Is("offset") || t.Is("fetch")) {
			return i
		}
	}
	return -1
}

func compareTexts(ctx context.Context, conn gorm.ConnPool, plain, strict form, plainEnd, strictEnd int) (difference, error) {
	n := &numbering{}
	n.text.WriteString("WITH courtroll_plain AS (SELECT courtroll_row::text AS r FROM (")
	plain.put(n, 0, plainEnd)
	n.text.WriteString(") courtroll_row), courtroll_strict AS (SELECT courtroll_row::text AS r FROM (")
	strict.put(n, 0, strictEnd)
	n.text.WriteString(") courtroll_row) ")
	begin(n, plain, strict)
	n.text.WriteString(`ARRAY[
		(SELECT count(*) FROM (TABLE courtroll_plain EXCEPT ALL TABLE courtroll_strict) d),
		(SELECT count(*) FROM (TABLE courtroll_strict EXCEPT ALL TABLE courtroll_plain) d)] END`)
	found, err := countApart(ctx, conn, n)
	if err != nil {
		return difference{}, err
	}
	return difference{missing: found[0], extra: found[1]}, nil
}

// cutsNothing reports whether a query has no more rows without its LIMIT.
func cutsNothing(ctx context.Context, conn gorm.ConnPool, f form, limit, end int) (bool, error) {
	n := &numbering{}
	begin(n, f)
	n.text.WriteString("ARRAY[(SELECT count(*) FROM (")
	f.put(n, 0, f.end(limit))
	n.text.WriteString(") d), (SELECT count(*) FROM (")
	f.put(n, 0, end)
	n.text.WriteString(") d)] END")
	found, err := countApart(ctx, conn, n)
	return err == nil && found[0] == found[1], err
}

// countApart reads the two numbers that a query returns as an array, where neither its
// failing nor what it calls can change what the app's statement meets.
func countApart(ctx context.Context, conn gorm.ConnPool, n *numbering) (found [2]int64, err error) {
	timeout := shadowTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline)/4)
	}
	if timeout < time.Millisecond {
		return found, errUncountable
	}
	var text sql.NullString
	err = apart(ctx, unprepared(conn), timeout, func(ctx context.Context, conn gorm.ConnPool) error {
		return stmtpool.ScanRow(ctx, conn, &text, n.text.String(), n.args...)
	})
	if err != nil || !text.Valid {
		return found, errors.Join(errUncountable, err)
	}
	_, err = fmt.Sscanf(strings.Trim(text.String, "{}"), "%d,%d", &found[0], &found[1])
	return found, err
}

// unprepared returns what is under GORM's prepared statements, whose failing is not told apart.
func unprepared(conn gorm.ConnPool) gorm.ConnPool {
	switch conn := conn.(type) {
	case *gorm.PreparedStmtTX:
		return conn.Tx
	case *gorm.PreparedStmtDB:
		return conn.ConnPool
	}
	return conn
}

// apart runs f in a read-only transaction, or under a savepoint of the app's that
// is rolled back. On the app's connection the server alone ends it in time: a
// context that ends closes the connection, and with it the app's transaction.
func apart(ctx context.Context, conn gorm.ConnPool, timeout time.Duration, f func(context.Context, gorm.ConnPool) error) error {
	if _, inTx := conn.(gorm.TxCommitter); inTx {
		return underSavepoint(context.WithoutCancel(ctx), conn, timeout, f)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tx, err := stmtpool.Begin(ctx, conn, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.(gorm.TxCommitter).Rollback() }()
	return f(ctx, tx)
}

func underSavepoint(ctx context.Context, conn gorm.ConnPool, timeout time.Duration, f func(context.Context, gorm.ConnPool) error) error {
	if _, err := conn.ExecContext(ctx, "SAVEPOINT courtroll_shadow"); err != nil {
		return err
	}
	_, err := conn.ExecContext(ctx, "SET LOCAL transaction_read_only = on")
	if err == nil {
		_, err = conn.ExecContext(ctx, fmt.Sprintf("SET LOCAL statement_timeout = %d", timeout.Milliseconds()))
	}
	if err == nil {
		err = f(ctx, conn)
	}
	_, undone := conn.ExecContext(ctx, "ROLLBACK TO SAVEPOINT courtroll_shadow")
	if undone == nil {
		_, undone = conn.ExecContext(ctx, "RELEASE SAVEPOINT courtroll_shadow")
	}
	return errors.Join(err, undone)
}
