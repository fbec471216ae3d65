package tenancy

import (
	"database/sql/driver"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// The guards run before everything else, BEGIN included, so that a statement
// that cannot be confined sends nothing. What they cannot know yet, because
// the text is not built, the verifier decides.

func (p *Plugin) guardQuery(db *gorm.DB) {
	inherit(db.Statement)
	p.guardRow(db)
	if db.Error != nil || db.Statement.SQL.Len() > 0 {
		return
	}
	if err := p.admitMain(db.Statement); err != nil {
		_ = db.AddError(err)
		poison(db, err)
	}
}

// guardRow refuses nothing: after an error GORM's Row would be nil, and its
// Scan a panic. The verifier, which can refuse with a row, is left to do it.
func (p *Plugin) guardRow(db *gorm.DB) {
	if db.Error == nil && db.Statement.SQL.Len() == 0 {
		p.learn(db.Statement)
		p.ensureWhere(db.Statement)
	}
}

func (p *Plugin) guardChange(db *gorm.DB) {
	if db.Error != nil {
		return
	}
	p.learn(db.Statement)
	if db.AllowGlobalUpdate {
		p.ensureWhere(db.Statement)
	}
	if err := p.admitMain(db.Statement); err != nil {
		_ = db.AddError(err)
	}
}

// guardUpdate lets a row that is saved whole know its tenant, as one that is
// created does. What may not be set is left to the SET builder.
func (p *Plugin) guardUpdate(db *gorm.DB) {
	p.guardChange(db)
	if db.Error == nil && isSavedWhole(db.Statement) {
		_ = p.stampModel(db.Statement)
	}
}

func (p *Plugin) guardCreate(db *gorm.DB) {
	if db.Error != nil {
		return
	}
	p.learn(db.Statement)
	err := p.admitMain(db.Statement)
	if err == nil && !removed("stamp") {
		err = p.stampModel(db.Statement)
	}
	if err != nil {
		_ = db.AddError(err)
	}
}

func (p *Plugin) learn(stmt *gorm.Statement) {
	if stmt.Schema == nil {
		return
	}
	p.registry.Learn(stmt.Schema)
	if main, ok := mainTable(stmt); ok && stmt.TableExpr != nil {
		p.registry.LearnAs(main.Name, stmt.Schema)
	}
}

// admitMain decides on the table that the statement is about, if it is a
// single one with a name; any other is found in the final text.
func (p *Plugin) admitMain(stmt *gorm.Statement) error {
	ref, ok := mainTable(stmt)
	if !ok {
		return nil
	}
	if err := p.admit(p.lookup(ref), scopeOf(stmt.Context)); err != nil {
		return refuse(ref.String(), err)
	}
	return nil
}

func (p *Plugin) lookup(ref sqllex.Ref) plan.Table {
	table, _ := p.registry.LookupIn(ref.Schema, ref.Name)
	return table
}

// admit returns nil if statements of the scope may reach the table, confined or not.
func (p *Plugin) admit(table plan.Table, s scope) error {
	err := s.check()
	switch {
	case table.Class == plan.Shared, err == nil && s.system != nil:
		return nil
	case err != nil && table.Class == plan.Unclassified:
		return fmt.Errorf("%w; %w", p.unknown(), err)
	case err != nil:
		return err
	case table.Class == plan.Unclassified:
		return p.unknown()
	case s.inherited:
		return nil
	}
	_, err = s.own(table)
	return err
}

func (p *Plugin) unknown() error {
	return fmt.Errorf("no model of it with a column %q (Config.TenantColumn) is known: %w", p.registry.Column(), ErrUnclassified)
}

// mainTable returns the name and the alias of the statement's own table.
func mainTable(stmt *gorm.Statement) (sqllex.Ref, bool) {
	switch {
	case stmt.TableExpr != nil:
		return sqllex.ParseTable(stmt.TableExpr.SQL)
	case stmt.Table != "":
		schema, name := plan.Split(stmt.Table)
		return sqllex.Ref{Schema: schema, Name: name, Alias: stmt.Table}, true
	}
	return sqllex.Ref{}, false
}

// ensureWhere makes sure that the WHERE builder is called where it may have
// something to write. The clause is taken back after the statement: GORM's
// ErrMissingWhereClause must not count it.
func (p *Plugin) ensureWhere(stmt *gorm.Statement) {
	main, ok := mainTable(stmt)
	table := p.lookup(main)
	from, _ := stmt.Clauses["FROM"].Expression.(clause.From)
	if len(from.Tables)+len(from.Joins) == 0 && (!ok || table.Class == plan.Shared) {
		return
	}
	if c, ok := stmt.Clauses["WHERE"]; !ok || c.Expression == nil {
		c.Name, c.Expression = "WHERE", emptyWhere
		stmt.Clauses["WHERE"] = c
	}
}

var emptyWhere clause.Expression = clause.Where{}

func dropEmptyWhere(stmt *gorm.Statement) {
	c, ok := stmt.Clauses["WHERE"]
	if where, isWhere := c.Expression.(clause.Where); ok && isWhere && len(where.Exprs) == 0 {
		delete(stmt.Clauses, "WHERE")
	}
}

// poison leaves a text that cannot run in a dry-run statement that was
// refused: GORM drops the errors of a sub-query and would go on with no text at
// all. The verifier of the statement around it finds the refusal among the
// arguments; where there is none, sending it fails with the same error.
func poison(db *gorm.DB, err error) {
	if db.DryRun {
		db.Statement.SQL.WriteString("SELECT ")
		db.Statement.AddVar(db.Statement, refusal{err})
	}
}

// refusal is an argument that carries the error of a part of a statement.
type refusal struct{ err error }

// Value implements [driver.Valuer].
func (r refusal) Value() (driver.Value, error) { return nil, r.err }

// bound is a tenant id that this package wrote into a statement. Callers cannot
// make one, so a predicate that holds one is ours.
type bound struct{ value driver.Value }

// Value implements [driver.Valuer].
func (b bound) Value() (driver.Value, error) {
	if place, ok := b.value.(inherited); ok {
		return nil, refuse(place.table.Name, ErrNoTenant)
	}
	return b.value, nil
}
