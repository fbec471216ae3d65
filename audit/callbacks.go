package audit

import (
	"context"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/hooks"
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/internal/suspension"
	"github.com/courtroll/courtroll/models"
)

func (p *Plugin) registerCallbacks(db *gorm.DB) error {
	change := func(isDelete bool) hooks.Set {
		return hooks.Set{Guard: p.guardChange, Open: func(db *gorm.DB) { p.capture(db, isDelete) }, Close: p.close}
	}
	other := func(outlives bool) hooks.Set {
		return hooks.Set{Guard: p.recordSystemScope, Open: func(db *gorm.DB) { p.openOther(db, outlives) }, Close: p.close}
	}
	return hooks.Plugin{
		Name:   "audit",
		Create: change(false), Update: change(false), Delete: change(true),
		Query: other(false), Row: other(true), Raw: other(false),
	}.Register(db)
}

// guardChange refuses, before anything is sent, what can be seen to leave no trail.
func (p *Plugin) guardChange(db *gorm.DB) {
	if db.Error != nil || db.DryRun {
		return
	}
	schema, name := tableOf(db.Statement)
	if !p.leavesTrail(schema, name) {
		p.recordSystemScope(db)
		return
	}
	if err := p.admit(db.Statement); err != nil {
		_ = db.AddError(&ChangeError{Table: name, Kind: err})
		return
	}
	p.recordSystemScope(db)
}

func (p *Plugin) admit(stmt *gorm.Statement) error {
	if _, name := tableOf(stmt); name == "" {
		return ErrUnaudited
	}
	if actor, _ := ActorFromContext(stmt.Context); p.config.RequireActor && !actor.named() {
		return ErrNoActor
	}
	return nil
}

// leavesTrail reports whether changes of the table are recorded. The trail itself is
// not.
func (p *Plugin) leavesTrail(schema, table string) bool {
	return table != models.AuditLogsTable && !slices.ContainsFunc(p.excluded[table], isMeant(schema))
}

// tableOf returns the names of the statement's table and its schema, empty if it is
// not a single one.
func tableOf(stmt *gorm.Statement) (schema, table string) {
	if stmt.TableExpr == nil {
		return plan.Split(stmt.Table)
	}
	ref, _ := sqllex.ParseTable(stmt.TableExpr.SQL)
	return ref.Schema, ref.Name
}

// capture makes the statement write its own trail.
func (p *Plugin) capture(db *gorm.DB, isDelete bool) {
	if db.Error != nil || db.DryRun {
		return
	}
	schema, name := tableOf(db.Statement)
	pool := stmtpool.Open(db)
	if name == models.AuditLogsTable {
		pool.Verify = append(pool.Verify, appendOnly, reserved(db.Statement.Context))
		return
	}
	if !p.leavesTrail(schema, name) {
		pool.Verify = append(pool.Verify, p.rawVerifier(db, pool, false))
		return
	}
	source, err := p.audited(db.Statement.Schema, name)
	if source.table == nil && err == nil { // no model, and so no columns, are known
		pool.Verify = append(pool.Verify, p.rawVerifier(db, pool, false))
		return
	}
	if err == nil {
		err = p.checkKey(source)
	}
	if err != nil {
		_ = db.AddError(&ChangeError{Table: name, Kind: ErrAudit, Cause: err})
		return
	}
	pool.Rewriter = &capture{plugin: p, stmt: db.Statement, pool: pool, name: name, source: source, isDelete: isDelete}
}

func (p *Plugin) close(db *gorm.DB) { stmtpool.Close(db) }

// openOther checks SQL written by hand. Its rows outlive the statement where GORM
// hands them out.
func (p *Plugin) openOther(db *gorm.DB, outlives bool) {
	if db.Error != nil || db.DryRun {
		return
	}
	pool := stmtpool.Open(db)
	verify := p.rawVerifier(db, pool, outlives)
	if db.Statement.SQL.Len() == 0 {
		verify = unlessRead(verify)
	}
	pool.Verify = append(pool.Verify, verify)
}

type verifier func(query string, args []any) error

// unlessRead lets what GORM built for a read pass: it begins with SELECT, and so
// writes nothing, unless another plugin put a WITH before it.
func unlessRead(verify verifier) verifier {
	return func(query string, args []any) error {
		if strings.HasPrefix(query, "SELECT ") {
			return nil
		}
		return verify(query, args)
	}
}

// opaque holds the statements that write what their text does not tell.
var opaque = map[string]bool{
	"do": true, "call": true, "execute": true, "prepare": true, "copy": true, "truncate": true,
}

// rawVerifier refuses a text that writes to a table which leaves a trail, unless
// triggers leave it, and one that cannot be read.
func (p *Plugin) rawVerifier(db *gorm.DB, pool *stmtpool.Pool, outlives bool) verifier {
	return func(query string, _ []any) error {
		s, err := p.texts.Analyze(query)
		if err != nil || opaque[s.Verb] {
			return &ChangeError{Kind: ErrUnaudited, Cause: err}
		}
		if ddl[s.Verb] {
			p.forgetTables()
		}
		for _, ref := range s.Refs {
			switch {
			case !ref.Write:
			case ref.Name == models.AuditLogsTable:
				return &ChangeError{Table: ref.Name, Kind: ErrAppendOnly}
			case p.leavesTrail(ref.Schema, ref.Name):
				if err := p.leaveToTrigger(db.Statement.Context, pool, ref, outlives); err != nil {
					return &ChangeError{Table: ref.Name, Kind: ErrUnaudited, Cause: err}
				}
			}
		}
		return nil
	}
}

// ddl holds the first words of statements that may alter a table.
var ddl = map[string]bool{"create": true, "alter": true, "drop": true, "rollback": true}

// reserved refuses entries with the actions that are package lifecycle's.
func reserved(ctx context.Context) verifier {
	return func(_ string, args []any) error {
		if !suspension.IsPast(ctx) && slices.ContainsFunc(args, isReserved) {
			return &ChangeError{Table: models.AuditLogsTable, Kind: ErrAudit, Cause: errReserved}
		}
		return nil
	}
}

// appendOnly lets GORM insert into the trail, and nothing else, with the database's time.
func appendOnly(query string, _ []any) error {
	s, err := sqllex.Analyze(query)
	refused := err != nil || s.Verb != "insert"
	if !refused {
		for _, t := range s.Tokens {
			refused = refused || t.Depth == 1 && t.IsName() && t.Text == "created_at" || t.Depth == 0 && t.Is("conflict")
		}
	}
	if refused {
		return &ChangeError{Table: models.AuditLogsTable, Kind: ErrAppendOnly, Cause: err}
	}
	return nil
}
