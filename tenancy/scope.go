package tenancy

import (
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/sqllex"
)

// The predicates are written by clause builders, that is when GORM turns
// clauses into text, after scopes, hooks, soft delete, conditions of primary
// keys and other plugins had their say. Nothing is added to the statement's
// clauses, so nothing accumulates and GORM's own guards still see the user's.

func (p *Plugin) registerBuilders(db *gorm.DB) {
	for name, build := range map[string]func(next clause.ClauseBuilder) clause.ClauseBuilder{
		"WHERE": p.whereBuilder, "FROM": p.fromBuilder,
		"SET": p.setBuilder, "VALUES": p.valuesBuilder, "ON CONFLICT": p.onConflictBuilder,
	} {
		if removed(name) {
			continue
		}
		next := db.ClauseBuilders[name]
		if next == nil {
			next = func(c clause.Clause, b clause.Builder) { c.Build(b) }
		}
		db.ClauseBuilders[name] = build(next)
		if p.config.Shadow != nil {
			db.ClauseBuilders[name] = unlessShadowed(build(next), p.shadowPlain(name, next))
		}
	}
}

// predicate is "alias"."column" = $n with the tenant of the context.
type predicate struct {
	alias string
	table plan.Table
	scope scope
}

// Build implements [clause.Expression].
func (e predicate) Build(b clause.Builder) {
	stmt := b.(*gorm.Statement)
	stmt.DB.Dialector.QuoteTo(stmt, e.alias)
	_ = stmt.WriteByte('.')
	stmt.DB.Dialector.QuoteTo(stmt, e.table.Column)
	_, _ = stmt.WriteString(" = ")
	value := e.value()
	stmt.Vars = append(stmt.Vars, value)
	stmt.DB.Dialector.BindVarTo(stmt, stmt, value)
}

func (e predicate) value() any {
	if e.scope.inherited {
		return bound{inherited{e.table}}
	}
	own, err := e.scope.own(e.table)
	if err != nil {
		return refusal{refuse(e.table.Name, err)}
	}
	return own
}

// predicateFor returns the predicate for a table, false if none is due.
func (p *Plugin) predicateFor(stmt *gorm.Statement, table plan.Table, alias string) (predicate, bool) {
	s := scopeOf(stmt.Context)
	if !table.HasTenant() || s.system != nil || s.check() != nil {
		return predicate{}, false
	}
	return predicate{alias: alias, table: table, scope: s}, true
}

// predicates returns those for the statement's table, for the further tables of
// its FROM clause and for joins that have no ON; those of others stand in theirs.
func (p *Plugin) predicates(stmt *gorm.Statement) []predicate {
	var found []predicate
	add := func(table plan.Table, alias string) {
		if e, ok := p.predicateFor(stmt, table, alias); ok {
			found = append(found, e)
		}
	}
	main, hasMain := mainTable(stmt)
	from, _ := stmt.Clauses["FROM"].Expression.(clause.From)
	_, isUpdate := stmt.Clauses["UPDATE"]
	if hasMain && (len(from.Tables) == 0 || isUpdate) {
		add(p.lookup(main), main.Alias)
	}
	for _, t := range from.Tables {
		if hasMain && t.Name == clause.CurrentTable {
			add(p.lookup(main), main.Alias)
		} else if !t.Raw {
			add(p.tableOf(t), aliasOf(t))
		}
	}
	for _, join := range from.Joins {
		if hasNoOn(join) {
			add(p.tableOf(join.Table), aliasOf(join.Table))
		}
	}
	return found
}

// hasNoOn reports whether the join is one whose rows WHERE can keep out.
func hasNoOn(join clause.Join) bool {
	if join.Expression != nil || join.Table.Raw || len(join.ON.Exprs) > 0 {
		return false
	}
	inner := join.Type == "" || join.Type == clause.InnerJoin
	return join.Type == clause.CrossJoin || inner && len(join.Using) > 0
}

func (p *Plugin) tableOf(t clause.Table) plan.Table {
	table, _ := p.registry.Lookup(t.Name)
	return table
}

func aliasOf(t clause.Table) string {
	if t.Alias != "" {
		return t.Alias
	}
	return plan.Unqualified(t.Name)
}

// whereBuilder writes the predicates, then the user's whole clause in
// parentheses of its own. The newline ends a trailing comment.
func (p *Plugin) whereBuilder(next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		if !ok || stmt.DB.Statement != stmt {
			next(c, b) // a part that GORM renders apart, to put its text into a statement
			return
		}
		preds := p.predicates(stmt)
		if len(preds) == 0 {
			if !isEmptyWhere(c) {
				next(c, b)
			}
			return
		}
		// The user's arguments come first: a text may have numbered them by hand.
		c.Name = ""
		user := render(stmt, func() { next(c, b) })
		_, _ = stmt.WriteString("WHERE ")
		for i, e := range preds {
			if i > 0 {
				_, _ = stmt.WriteString(" AND ")
			}
			e.Build(stmt)
		}
		writeBracketed(stmt, strings.TrimPrefix(user, "WHERE ")) // of another plugin's builder
	}
}

func isEmptyWhere(c clause.Clause) bool {
	where, ok := c.Expression.(clause.Where)
	return ok && len(where.Exprs) == 0
}

// writeBracketed appends what the user wrote to a predicate: a condition, a
// comment alone, or nothing. Text whose parentheses, quotes or comments do not
// close would reach past the brackets.
func writeBracketed(stmt *gorm.Statement, user string) {
	switch n, err := sqllex.Count(user); {
	case err != nil:
		_, _ = stmt.WriteString(" AND (")
		stmt.AddVar(stmt, refusal{refuse(stmt.Table, ErrOpaqueSQL)})
		_, _ = stmt.WriteString(")")
	case n > 0:
		_, _ = stmt.WriteString(" AND (")
		_, _ = stmt.WriteString(user)
		_, _ = stmt.WriteString("\n)")
	case strings.TrimSpace(user) != "":
		_, _ = stmt.WriteString(" " + user + "\n")
	}
}

// render returns what f writes to the statement's text, and keeps it out of
// that. Its arguments stay where they are: they are numbered, not positional.
func render(stmt *gorm.Statement, f func()) string {
	text := stmt.SQL // put back where it was, as a strings.Builder demands
	stmt.SQL = strings.Builder{}
	f()
	written := stmt.SQL.String()
	stmt.SQL = text
	return written
}

// guarded is an ON condition behind its table's predicate.
type guarded struct {
	predicate predicate
	user      clause.Where
}

// Build implements [clause.Expression].
func (g guarded) Build(b clause.Builder) {
	stmt := b.(*gorm.Statement)
	g.predicate.Build(stmt)
	writeBracketed(stmt, render(stmt, func() { g.user.Build(stmt) }))
}

// fromBuilder puts the predicate of each joined table into its ON, so that a
// LEFT JOIN stays one. Joins written as text are left to the verifier.
func (p *Plugin) fromBuilder(next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		from, isFrom := c.Expression.(clause.From)
		if ok && isFrom && len(from.Joins) > 0 {
			joins := make([]clause.Join, len(from.Joins))
			for i, join := range from.Joins {
				joins[i] = p.guardJoin(stmt, join)
			}
			from.Joins = joins
			c.Expression = from
		}
		next(c, b)
	}
}

// guardJoin leaves a join that it cannot confine as it is, for the verifier to
// refuse: the ON of a RIGHT or FULL JOIN does not keep a row of its table out.
func (p *Plugin) guardJoin(stmt *gorm.Statement, join clause.Join) clause.Join {
	confined := join.Type == "" || join.Type == clause.InnerJoin || join.Type == clause.LeftJoin
	if !confined || join.Expression != nil || len(join.Using) > 0 || join.Table.Raw {
		return join
	}
	if e, ok := p.predicateFor(stmt, p.tableOf(join.Table), aliasOf(join.Table)); ok {
		join.ON = clause.Where{Exprs: []clause.Expression{guarded{e, join.ON}}}
	}
	return join
}
