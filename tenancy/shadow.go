package tenancy

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

// ShadowKind says what the strict plugin would have done to a statement.
type ShadowKind string

// The kinds of a [ShadowReport].
const (
	// ShadowHidden is a statement that would have left out rows that it read,
	// updated or deleted, and done the same to the others. Hidden says how many.
	ShadowHidden ShadowKind = "hidden"

	// ShadowChanged is a read that would have returned something else: another
	// Count or sum, a joined row without what was joined, another row in the place
	// that LIMIT left free. Hidden says how many rows of the result would not have
	// come as they did, which for a Count is 1, whatever the Count is.
	ShadowChanged ShadowKind = "changed"

	// ShadowRefused is a statement that would have failed with Err. Hidden is -1.
	ShadowRefused ShadowKind = "refused"

	// ShadowUnknown is a statement whose rows could not be counted. Hidden is -1.
	ShadowUnknown ShadowKind = "unknown"
)

// ShadowReport is what [Config.Shadow] is told of one statement. It holds no
// value of a row and no tenant's id.
type ShadowReport struct {
	Kind      ShadowKind
	Operation string   // create, query, update, delete; row for Row, Rows and Scan, raw for Exec
	Tables    []string // those that the text names, in its order; none where it cannot be read
	Err       error    // of ShadowRefused, to be matched with errors.Is; else nil
	Hidden    int64    // rows, or -1 where that is not known
	SQL       string   // as it was sent, with ? for each literal; empty where it cannot be read
	Caller    string   // file:line outside of GORM and this package, empty if there is none
}

// shadowed is one statement on its way through shadow mode.
type shadowed struct {
	plugin *Plugin
	kind   string
	stmt   *gorm.Statement
	ctx    context.Context //nolint:containedctx // the statement's, which is over before it is
	scope  scope
	text   string // as the strict plugin would have sent it
	args   []any
	refuse error // why it would not have been built
	report *ShadowReport
}

type shadowKey struct{}

// checkShadow refuses what shadow mode cannot go with: policies would hide what it is to show.
func (c Config) checkShadow() error {
	if c.Shadow != nil && (c.RowLevelSecurity || c.System != nil || c.Suspended != IgnoreSuspended) {
		return errors.New("tenancy: Config.Shadow confines nothing, so it goes with none of RowLevelSecurity, System and Suspended: take it away for the cut-over")
	}
	return nil
}

// isStrictText reports whether the statement is one whose text is built as the
// strict plugin builds it: a sub-query, which cannot be told whose it is and is
// stripped before it is sent, or the second form of a statement, which is not sent.
func isStrictText(stmt *gorm.Statement) bool { return stmt.DryRun && stmt.Logger == logger.Discard }

// unlessShadowed lets a builder of the strict plugin write into strict texts alone.
func unlessShadowed(strict, plain clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		if ok && stmt.DB.Statement == stmt && isStrictText(stmt) {
			strict(c, b)
			return
		}
		plain(c, b)
	}
}

// shadowPlain is what a builder does with a text that is sent: nothing but what
// keeps the column filled.
func (p *Plugin) shadowPlain(name string, next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		switch expr := c.Expression.(type) {
		case clause.Values:
			if ok {
				c.Expression = p.shadowValues(stmt, expr)
			}
		case clause.Set:
			if ok {
				c.Expression = p.shadowSet(stmt, expr)
			}
		case clause.OnConflict:
			if ok {
				c.Expression = p.shadowConflict(stmt, expr)
			}
		}
		if name != "WHERE" || !isEmptyWhere(c) {
			next(c, b)
		}
	}
}

// build lets GORM build the statement a second time, as the strict plugin would have.
func (s *shadowed) build(db *gorm.DB, statement func(*gorm.DB)) {
	strict := db.Session(&gorm.Session{DryRun: true, Logger: logger.Discard, Context: s.ctx})
	strict.Statement.BuildClauses = db.Statement.BuildClauses
	if s.kind == "query" || s.kind == "row" || db.AllowGlobalUpdate {
		s.plugin.ensureWhere(strict.Statement)
	}
	statement(strict)
	s.text, s.args = strict.Statement.SQL.String(), strict.Statement.Vars
	if s.refuse == nil && !errors.Is(strict.Error, gorm.ErrMissingWhereClause) {
		s.refuse = strict.Error
	}
}

// look runs right before the statement, and returns what is sent.
func (s *shadowed) look(conn gorm.ConnPool, query string, args []any) (string, []any, error) {
	if s.text == "" { // written by hand
		s.text, s.args = query, slices.Clone(args)
	}
	text, sent, err := withoutPredicates(query, args)
	if err != nil {
		return "", nil, refuse("", err)
	}
	owned, verdict := s.verdict()
	switch {
	case verdict != nil:
		s.report = &ShadowReport{Kind: ShadowRefused, Err: verdict, Hidden: -1}
	case owned && s.scope.system == nil:
		s.count(conn, text, sent)
	}
	if s.report != nil {
		s.describe(text)
	}
	return text, sent, nil
}

// verdict returns whether the statement reaches a tenant's table, and the error
// with which the strict plugin would have refused it.
func (s *shadowed) verdict() (owned bool, err error) {
	if s.refuse != nil {
		return false, s.refuse
	}
	if err := (verifier{plugin: s.plugin, scope: s.scope}).verify(s.text, s.args); err != nil {
		return false, err
	}
	return slices.ContainsFunc(s.args, isBound), nil
}

func isBound(arg any) bool {
	_, ok := arg.(bound)
	return ok
}

func (s *shadowed) describe(text string) {
	s.report.Operation = s.kind
	found, err := s.plugin.texts.Analyze(text)
	if err != nil {
		return
	}
	s.report.SQL = withoutLiterals(text, found.Tokens)
	for _, ref := range found.Refs {
		if name := ref.String(); !found.IsCTE(ref) && !slices.Contains(s.report.Tables, name) {
			s.report.Tables = append(s.report.Tables, name)
		}
	}
}

// deliver tells the app what the strict plugin would have done.
func (s *shadowed) deliver() {
	if s.report == nil {
		return
	}
	s.report.Caller = caller()
	s.plugin.config.Shadow(s.ctx, *s.report)
}

// caller returns the first frame that is neither GORM's nor this library's.
func caller() string {
	var pcs [48]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if frame.File != "" && !isInner(frame.Function) {
			return fmt.Sprintf("%s:%d", frame.File, frame.Line)
		}
		if !more {
			return ""
		}
	}
}

const module = "github.com/courtroll/courtroll/"

func isInner(function string) bool {
	for _, prefix := range []string{"gorm.io/", "runtime.", "reflect.", "sync.", module + "tenancy.", module + "audit.", module + "internal/"} {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	return false
}

// openShadow puts the look at the final text between the statement and its connection.
func (p *Plugin) openShadow(kind string, statement func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		s := shadowOf(db.Statement)
		if db.Error != nil || db.DryRun || s == nil {
			return
		}
		if db.Statement.SQL.Len() == 0 {
			s.build(db, statement)
		}
		pool := stmtpool.Open(db)
		pool.First = func(query string, args []any) (string, []any, error) { return s.look(pool.ConnPool, query, args) }
		if kind == "row" {
			p.readFreshLater(pool, db.Statement)
		} else {
			p.readFresh(pool, db.Statement)
		}
	}
}

// shadowOf returns what the guard noted of this statement: GORM hands the settings
// of one on to others that it leads to.
func shadowOf(stmt *gorm.Statement) *shadowed {
	noted, _ := stmt.Settings.Load(shadowKey{})
	if s, ok := noted.(*shadowed); ok && s.stmt == stmt {
		return s
	}
	return nil
}

func (p *Plugin) closeShadow(db *gorm.DB) {
	p.close(db)
	if s := shadowOf(db.Statement); s != nil {
		db.Statement.Settings.Delete(shadowKey{})
		s.deliver()
	}
}

// guardShadow learns what the strict plugin learns before the statement, and
// notes what it refuses then. Of a sub-query it goes with the arguments.
func (p *Plugin) guardShadow(kind string) func(*gorm.DB) {
	return func(db *gorm.DB) {
		stmt := db.Statement
		built := stmt.SQL.Len() > 0
		switch {
		case db.Error != nil:
			return
		case !built && isStrictText(stmt):
			p.guardInner(db)
			return
		case !built:
			p.learn(stmt)
		}
		if db.DryRun {
			return
		}
		s := &shadowed{plugin: p, kind: kind, stmt: stmt, ctx: stmt.Context, scope: scopeOf(stmt.Context)}
		stmt.Settings.Store(shadowKey{}, s)
		if !built && kind != "row" { // of which the strict plugin decides by the text
			s.refuse = p.admitMain(stmt)
		}
		if !built && kind == "create" {
			s.stamp(stmt)
		}
	}
}

func (p *Plugin) guardInner(db *gorm.DB) {
	inherit(db.Statement)
	p.guardRow(db)
	if err := p.admitMain(db.Statement); err != nil {
		db.Statement.Vars = append(db.Statement.Vars, refusal{err})
	}
}

// mainOwned returns the statement's own table, if it is a tenant's.
func (p *Plugin) mainOwned(stmt *gorm.Statement) (sqllex.Ref, plan.Table, bool) {
	ref, ok := mainTable(stmt)
	table := p.lookup(ref)
	return ref, table, ok && table.HasTenant()
}
