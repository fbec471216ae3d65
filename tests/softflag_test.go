package tests

import (
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	gormschema "gorm.io/gorm/schema"
)

// softFlag is a number that is not zero where a row is deleted.
type softFlag int64

// DeleteClauses implements [gormschema.DeleteClausesInterface].
func (softFlag) DeleteClauses(f *gormschema.Field) []clause.Interface {
	return []clause.Interface{setFlag{f}}
}

type setFlag struct{ field *gormschema.Field }

func (setFlag) Name() string               { return "" }
func (setFlag) Build(clause.Builder)       {}
func (setFlag) MergeClause(*clause.Clause) {}

// ModifyStatement implements [gorm.StatementModifier].
func (s setFlag) ModifyStatement(stmt *gorm.Statement) {
	if stmt.SQL.Len() > 0 || stmt.Unscoped {
		return
	}
	stmt.AddClause(clause.Set{{Column: clause.Column{Name: s.field.DBName}, Value: 1}})
	_, key := gormschema.GetIdentityFieldValuesMap(stmt.Context, stmt.ReflectValue, stmt.Schema.PrimaryFields)
	column, values := gormschema.ToQueryValues(stmt.Table, stmt.Schema.PrimaryFieldDBNames, key)
	if len(values) > 0 {
		stmt.AddClause(clause.Where{Exprs: []clause.Expression{clause.IN{Column: column, Values: values}}})
	}
	stmt.AddClauseIfNotExists(clause.Update{})
	stmt.Build(stmt.DB.Callback().Update().Clauses...)
}
