package tenancy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
)

// stampModel writes the tenant into the models to create, so that hooks see it
// and the caller finds it there. The VALUES builder has the last word.
func (p *Plugin) stampModel(stmt *gorm.Statement) error {
	s := scopeOf(stmt.Context)
	if stmt.Schema == nil || s.system != nil || s.check() != nil {
		return nil
	}
	table, _ := p.registry.Lookup(stmt.Schema.Table)
	field := stmt.Schema.FieldsByDBName[table.Column]
	if !table.HasTenant() || field == nil {
		return nil
	}
	return eachStruct(stmt.ReflectValue, func(row reflect.Value) error {
		if row.Type() != stmt.Schema.ModelType {
			return nil // a smaller struct, which has no such field
		}
		value, _ := field.ValueOf(stmt.Context, row)
		switch table.Compare(value, s.tenant) {
		case plan.Foreign:
			return refuse(table.Name, ErrCrossTenant)
		case plan.Absent:
			own, err := table.Value(s.tenant)
			if err != nil {
				return refuse(table.Name, err)
			}
			if field.Set(stmt.Context, row, own) != nil { // whose error holds the id
				return refuse(table.Name, ErrTenantFormat)
			}
		}
		return nil
	})
}

// eachStruct calls f with each addressable struct in v: one, or the elements of a slice.
func eachStruct(v reflect.Value, f func(reflect.Value) error) error {
	for v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	switch v.Kind() {
	case reflect.Struct:
		if v.CanAddr() {
			return f(v)
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			if err := eachStruct(v.Index(i), f); err != nil {
				return err
			}
		}
	}
	return nil
}

// valuesBuilder makes every inserted row carry the tenant: it fills the tenant
// column where it is left out or zero, and refuses any other value.
func (p *Plugin) valuesBuilder(next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		values, isValues := c.Expression.(clause.Values)
		if ok && isValues {
			stamped, err := p.stampValues(stmt, values)
			if err != nil {
				_ = stmt.AddError(err)
				return
			}
			c.Expression = stamped
		}
		next(c, b)
	}
}

func (p *Plugin) stampValues(stmt *gorm.Statement, values clause.Values) (clause.Values, error) {
	ref, ok := mainTable(stmt)
	if !ok {
		return values, nil
	}
	table := p.lookup(ref)
	s := scopeOf(stmt.Context)
	if !table.HasTenant() || s.check() != nil {
		return values, nil
	}
	values = utcValues(ref.Name, values)
	if s.system != nil {
		return values, requireTenant(table, values)
	}
	own, err := s.own(table)
	if err != nil {
		return values, refuse(table.Name, err)
	}
	return withTenant(table, values, s.tenant, own)
}

// requireTenant is the rule of the system scope: a tenant-owned row names its tenant.
func requireTenant(table plan.Table, values clause.Values) error {
	if table.Class != plan.Owned {
		return nil
	}
	at := columnIndex(values, table.Column)
	for _, row := range values.Values {
		if at < 0 || isDefault(row[at]) || table.Compare(row[at], "") == plan.Absent {
			return refuse(table.Name, ErrNoTenant)
		}
	}
	return nil
}

// withTenant returns a copy of values whose rows all hold own in the tenant column.
func withTenant(table plan.Table, values clause.Values, tenant string, own any) (clause.Values, error) {
	at := columnIndex(values, table.Column)
	out := clause.Values{Columns: values.Columns, Values: make([][]any, len(values.Values))}
	if at < 0 {
		out.Columns = append(append([]clause.Column{}, values.Columns...), clause.Column{Name: table.Column})
		at = len(values.Columns)
	}
	if len(values.Columns) == 0 {
		out.Values = [][]any{{}} // GORM's DEFAULT VALUES, for one row
	}
	for i := range out.Values {
		row := make([]any, len(out.Columns))
		if i < len(values.Values) {
			copy(row, values.Values[i])
		}
		if !isDefault(row[at]) && table.Compare(row[at], tenant) == plan.Foreign {
			return values, refuse(table.Name, ErrCrossTenant)
		}
		row[at] = own
		out.Values[i] = row
	}
	return out, nil
}

func columnIndex(values clause.Values, column string) int {
	for i, c := range values.Columns {
		if c.Name == column {
			return i
		}
	}
	return -1
}

func isDefault(value any) bool {
	e, ok := value.(clause.Expr)
	return ok && strings.EqualFold(e.SQL, "DEFAULT")
}

// setBuilder lets an UPDATE name the tenant column only with the row's own
// tenant, as Save does with a whole struct.
func (p *Plugin) setBuilder(next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		set, isSet := c.Expression.(clause.Set)
		if ok && isSet {
			guardedSet, err := p.guardSet(stmt, set)
			if err != nil {
				_ = stmt.AddError(err)
				return
			}
			c.Expression = guardedSet
		}
		next(c, b)
	}
}

func (p *Plugin) guardSet(stmt *gorm.Statement, set clause.Set) (clause.Set, error) {
	ref, ok := mainTable(stmt)
	table := p.lookup(ref)
	if !ok || !table.HasTenant() {
		return set, nil
	}
	out := make(clause.Set, 0, len(set))
	for _, a := range utcSet(ref.Name, set) {
		if !strings.EqualFold(plan.Unqualified(a.Column.Name), table.Column) {
			out = append(out, a)
			continue
		}
		s := scopeOf(stmt.Context)
		if err := immutable(table, a.Value, s); err != nil {
			return nil, err
		}
		if table.Compare(a.Value, "") == plan.Absent && !isLeftOut(stmt, set, a.Value) {
			return nil, refuse(table.Name, ErrTenantImmutable)
		}
		if s.system != nil {
			out = append(out, clause.Assignment{Column: a.Column, Value: unchanged{ref.Alias, table.Column, a.Value}})
		}
	}
	return out, nil
}

// isLeftOut reports whether an assignment of nothing to the tenant column is none
// of the caller's: a struct that is saved whole has it, and association mode
// where it empties a composite foreign key.
func isLeftOut(stmt *gorm.Statement, set clause.Set, value any) bool {
	return isSavedWhole(stmt) || value == nil && len(set) > 1
}

// isSavedWhole reports whether all fields of a struct are written: one that is
// left empty then asks for no change.
func isSavedWhole(stmt *gorm.Statement) bool {
	return slices.Contains(stmt.Selects, "*") && reflect.Indirect(reflect.ValueOf(stmt.Dest)).Kind() == reflect.Struct
}

// unchanged is what the system scope, which knows no tenant to compare with,
// assigns to the tenant column: its old value, or the statement fails.
type unchanged struct {
	alias, column string
	value         any
}

// Build implements [clause.Expression].
func (u unchanged) Build(b clause.Builder) {
	column := clause.Column{Table: u.alias, Name: u.column}
	_, _ = b.WriteString("CASE WHEN ")
	b.WriteQuoted(column)
	_, _ = b.WriteString(" = ")
	b.AddVar(b, u.value)
	_, _ = b.WriteString(" THEN ")
	b.WriteQuoted(column)
	_, _ = b.WriteString(" WHEN current_setting('" + immutableSetting + "') IS NULL THEN ")
	b.WriteQuoted(column)
	_, _ = b.WriteString(" END")
}

// immutable returns nil if value leaves the tenant of a row as it is.
func immutable(table plan.Table, value any, s scope) error {
	if isExcluded(value, table.Column) {
		return nil
	}
	if _, isExpression := value.(clause.Expression); isExpression {
		return refuse(table.Name, ErrTenantImmutable)
	}
	switch match := table.Compare(value, s.tenant); {
	case s.system != nil && match == plan.Absent:
		return refuse(table.Name, ErrTenantImmutable)
	case s.system == nil && match == plan.Foreign:
		return refuse(table.Name, fmt.Errorf("%w; %w", ErrTenantImmutable, ErrCrossTenant))
	}
	return nil
}

// isExcluded reports whether the value of an upsert's SET is the inserted
// row's own, which the VALUES builder has stamped.
func isExcluded(value any, column string) bool {
	c, ok := value.(clause.Column)
	return ok && c.Table == "excluded" && c.Name == column
}

// These settings are read where a statement meets a row that it must not
// touch. Neither exists, so the statement fails as a whole: no other row of it
// is written, whether or not there is a transaction, and nothing is returned
// for GORM to give to the wrong element.
const (
	duplicatedSetting = "courtroll.duplicated_key"
	immutableSetting  = "courtroll.tenant_immutable"
)

// onConflictBuilder guards DO UPDATE: it changes own rows only, and fails on any other.
func (p *Plugin) onConflictBuilder(next clause.ClauseBuilder) clause.ClauseBuilder {
	return func(c clause.Clause, b clause.Builder) {
		stmt, ok := b.(*gorm.Statement)
		conflict, isConflict := c.Expression.(clause.OnConflict)
		if ok && isConflict && !conflict.DoNothing {
			guardedConflict, err := p.guardConflict(stmt, conflict)
			if err != nil {
				_ = stmt.AddError(err)
				return
			}
			c.Expression = guardedConflict
		}
		next(c, b)
	}
}

func (p *Plugin) guardConflict(stmt *gorm.Statement, conflict clause.OnConflict) (clause.OnConflict, error) {
	ref, ok := mainTable(stmt)
	table := p.lookup(ref)
	s := scopeOf(stmt.Context)
	if !ok || !table.HasTenant() || s.check() != nil {
		return conflict, nil
	}
	for _, a := range conflict.DoUpdates {
		if a.Column.Name != table.Column {
			continue
		}
		if err := immutable(table, a.Value, s); err != nil {
			return conflict, err
		}
	}
	conflict.Where = clause.Where{Exprs: []clause.Expression{ownRow{predicate{ref.Alias, table, s}, conflict.Where}}}
	return conflict, nil
}

// ownRow is the condition of a guarded DO UPDATE. In system scope a row is its
// own if it belongs to the tenant that the inserted row names.
type ownRow struct {
	predicate predicate
	user      clause.Where
}

// Build implements [clause.Expression].
func (o ownRow) Build(b clause.Builder) {
	stmt := b.(*gorm.Statement)
	_, _ = stmt.WriteString("CASE WHEN ")
	if column := o.predicate.table.Column; o.predicate.scope.system != nil {
		stmt.WriteQuoted(clause.Column{Table: o.predicate.alias, Name: column})
		_, _ = stmt.WriteString(" IS NOT DISTINCT FROM ")
		stmt.WriteQuoted(clause.Column{Table: "excluded", Name: column})
	} else {
		o.predicate.Build(stmt)
	}
	_, _ = stmt.WriteString(" THEN true")
	writeBracketed(stmt, render(stmt, func() { o.user.Build(stmt) }))
	_, _ = stmt.WriteString(" ELSE current_setting('" + duplicatedSetting + "') IS NULL END")
}

// guardError returns the error that a guard in the statement's own text stands for, nil if err is none.
func guardError(err error) error {
	if err == nil {
		return nil
	}
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || state.SQLState() != "42704" {
		return nil
	}
	switch text := err.Error(); {
	case strings.Contains(text, duplicatedSetting):
		return fmt.Errorf("the key is taken: choose another: %w", gorm.ErrDuplicatedKey)
	case strings.Contains(text, immutableSetting):
		return ErrTenantImmutable
	}
	return nil
}
