package tenancy

import (
	"cmp"
	"reflect"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
)

// In shadow mode a created row gets the tenant of the context where it has
// none, and nothing that the app does not mean takes a row's tenant away again:
// else the column would never be filled. What it does mean is written.

// stamp writes the tenant into the models to create that have none.
func (s *shadowed) stamp(stmt *gorm.Statement) {
	if stmt.Schema == nil || s.scope.system != nil || s.scope.check() != nil {
		return
	}
	table, _ := s.plugin.registry.Lookup(stmt.Schema.Table)
	field := stmt.Schema.FieldsByDBName[table.Column]
	if !table.HasTenant() || field == nil {
		return
	}
	own, err := table.Value(s.scope.tenant)
	if err != nil {
		return // and admitMain has said so
	}
	_ = eachStruct(stmt.ReflectValue, func(row reflect.Value) error {
		if row.Type() != stmt.Schema.ModelType {
			return nil
		}
		if value, _ := field.ValueOf(stmt.Context, row); table.Compare(value, s.scope.tenant) == plan.Absent && field.Set(stmt.Context, row, own) != nil {
			s.refuse = cmp.Or(s.refuse, refuse(table.Name, ErrTenantFormat))
		}
		return nil
	})
}

// shadowValues fills the tenant column where a row leaves it out, and nowhere else.
func (p *Plugin) shadowValues(stmt *gorm.Statement, values clause.Values) clause.Values {
	ref, table, ok := p.mainOwned(stmt)
	s := scopeOf(stmt.Context)
	if !ok || s.check() != nil {
		return values
	}
	values = utcValues(ref.Name, values)
	own, err := table.Value(s.tenant)
	if s.system != nil || err != nil || columnIndex(values, table.Column) >= 0 && !leavesOut(table, values) {
		return values
	}
	return filled(table, values, own)
}

func leavesOut(table plan.Table, values clause.Values) bool {
	at := columnIndex(values, table.Column)
	return slices.ContainsFunc(values.Values, func(row []any) bool { return isAbsent(table, row[at]) })
}

func isAbsent(table plan.Table, value any) bool {
	return isDefault(value) || table.Compare(value, "") == plan.Absent
}

func filled(table plan.Table, values clause.Values, own any) clause.Values {
	at, columns, rows := columnIndex(values, table.Column), values.Columns, values.Values
	if at < 0 {
		at, columns = len(columns), append(slices.Clone(columns), clause.Column{Name: table.Column})
	}
	if len(values.Columns) == 0 {
		rows = [][]any{{}} // GORM's DEFAULT VALUES, for one row
	}
	out := clause.Values{Columns: columns, Values: make([][]any, len(rows))}
	for i, row := range rows {
		out.Values[i] = make([]any, len(columns))
		copy(out.Values[i], row)
		if isAbsent(table, out.Values[i][at]) {
			out.Values[i][at] = own
		}
	}
	return out
}

// shadowSet leaves the tenant column out where a struct that is saved whole has
// nothing in it, or association mode empties a composite foreign key.
func (p *Plugin) shadowSet(stmt *gorm.Statement, set clause.Set) clause.Set {
	ref, table, ok := p.mainOwned(stmt)
	if !ok {
		return set
	}
	set = utcSet(ref.Name, set)
	out := slices.DeleteFunc(slices.Clone(set), func(a clause.Assignment) bool {
		return strings.EqualFold(plan.Unqualified(a.Column.Name), table.Column) &&
			isAbsent(table, a.Value) && isLeftOut(stmt, set, a.Value)
	})
	return out
}

// shadowConflict keeps the tenant of a row that an upsert meets: the row that it
// inserts may have been stamped.
func (p *Plugin) shadowConflict(stmt *gorm.Statement, conflict clause.OnConflict) clause.OnConflict {
	ref, table, ok := p.mainOwned(stmt)
	if !ok {
		return conflict
	}
	conflict.DoUpdates = slices.Clone(conflict.DoUpdates)
	for i, a := range conflict.DoUpdates {
		if a.Column.Name == table.Column && isExcluded(a.Value, table.Column) {
			conflict.DoUpdates[i].Value = clause.Column{Table: ref.Alias, Name: table.Column}
		}
	}
	return conflict
}
