package tenancytest

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"
)

// create makes a row of the tenant, its parents first. link, if not nil, has the
// last word on its values.
func (s *session) create(sch *schema.Schema, tenant string, link func(row reflect.Value) error) (reflect.Value, error) {
	row, err := s.build(sch, tenant, nil)
	if err == nil && link != nil {
		err = link(row)
	}
	if err != nil {
		return row, err
	}
	db := s.as(tenant).Omit(clause.Associations)
	if s.isTenantRow(sch) {
		db = db.Clauses(clause.OnConflict{DoNothing: true}) // its key is given, so it may be there already
	}
	err = s.attempt(func() error { return db.Create(row.Interface()).Error })
	if err != nil {
		return row, s.explain(sch, err)
	}
	return row, nil
}

// isTenantRow reports whether a row of the table is a tenant itself.
func (s *session) isTenantRow(sch *schema.Schema) bool {
	f := s.tenantField(sch)
	return f != nil && len(sch.PrimaryFields) == 1 && sch.PrimaryFields[0] == f
}

// build returns a pointer to a row that is valid, as far as reflection can tell,
// and whose parents exist. stack holds the models whose parents are being made.
func (s *session) build(sch *schema.Schema, tenant string, stack []*schema.Schema) (reflect.Value, error) {
	row := reflect.New(sch.ModelType)
	ctx := s.base.Statement.Context
	own := s.tenantField(sch)
	for _, field := range sch.Fields {
		if field == own || isLeft(field) {
			continue
		}
		if value, ok := s.filler.value(field); ok {
			if err := field.Set(ctx, row.Elem(), value); err != nil {
				return row, fmt.Errorf("tenancytest: model %s, column %q: %w: set it in Config.Fill", sch.Name, field.DBName, err)
			}
		}
	}
	if own != nil {
		if err := s.setTenant(row, sch, tenant); err != nil {
			return row, err
		}
	}
	for _, rel := range sch.Relationships.BelongsTo {
		if err := s.linkParent(row, rel, tenant, append(slices.Clone(stack), sch)); err != nil {
			return row, err
		}
	}
	if s.config.Fill != nil {
		s.config.Fill(row.Interface())
	}
	return row, nil
}

func (s *session) setTenant(row reflect.Value, sch *schema.Schema, tenant string) error {
	field := s.tenantField(sch)
	table, _ := s.registry.Lookup(s.tableName(sch))
	value, err := table.Value(tenant)
	if err == nil {
		err = field.Set(s.base.Statement.Context, row.Elem(), value)
	}
	if err != nil {
		return fmt.Errorf("tenancytest: model %s, column %q: %w: see Config.Tenants", sch.Name, field.DBName, err)
	}
	return nil
}

func (s *session) tableName(sch *schema.Schema) string {
	return sch.Table[strings.LastIndexByte(sch.Table, '.')+1:]
}

// linkParent makes a parent and points the row at it. A cycle of models ends
// with a reference that is left empty.
func (s *session) linkParent(row reflect.Value, rel *schema.Relationship, tenant string, stack []*schema.Schema) error {
	if slices.ContainsFunc(stack, func(sch *schema.Schema) bool { return sch.Table == rel.FieldSchema.Table }) {
		return s.clearKeys(row, rel)
	}
	parent, err := s.build(rel.FieldSchema, tenant, stack)
	if err != nil {
		return err
	}
	db := s.as(tenant).Omit(clause.Associations)
	if s.isTenantRow(rel.FieldSchema) {
		db = db.Clauses(clause.OnConflict{DoNothing: true})
	}
	if err := s.attempt(func() error { return db.Create(parent.Interface()).Error }); err != nil {
		return s.explain(rel.FieldSchema, err)
	}
	return s.pointAt(row, rel, parent)
}

// pointAt copies the keys of an association's target into a row that belongs to it.
func (s *session) pointAt(row reflect.Value, rel *schema.Relationship, target reflect.Value) error {
	ctx := s.base.Statement.Context
	for _, ref := range rel.References {
		if ref.PrimaryKey == nil || ref.ForeignKey == s.tenantField(ref.ForeignKey.Schema) {
			continue
		}
		value, _ := ref.PrimaryKey.ValueOf(ctx, target.Elem())
		if err := ref.ForeignKey.Set(ctx, row.Elem(), value); err != nil {
			return fmt.Errorf("tenancytest: model %s, column %q: %w", ref.ForeignKey.Schema.Name, ref.ForeignKey.DBName, err)
		}
	}
	for _, ref := range rel.References {
		if ref.PrimaryValue != "" {
			if err := ref.ForeignKey.Set(ctx, row.Elem(), ref.PrimaryValue); err != nil {
				return fmt.Errorf("tenancytest: model %s, column %q: %w", ref.ForeignKey.Schema.Name, ref.ForeignKey.DBName, err)
			}
		}
	}
	return nil
}

func (s *session) clearKeys(row reflect.Value, rel *schema.Relationship) error {
	for _, ref := range rel.References {
		if ref.ForeignKey != s.tenantField(ref.ForeignKey.Schema) && !ref.ForeignKey.PrimaryKey {
			ref.ForeignKey.ReflectValueOf(s.base.Statement.Context, row.Elem()).SetZero()
		}
	}
	return nil
}

// explain says of a row that could not be created what the user can do. It
// leaves out the database's detail, which may hold a row's values.
func (s *session) explain(sch *schema.Schema, err error) error {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return fmt.Errorf("tenancytest: model %s: creating a row: %w", sch.Name, err)
	}
	columns := pg.ColumnName
	if columns == "" {
		columns = strings.Join(s.constrained(pg), ", ")
	}
	where := ""
	if columns != "" {
		where = fmt.Sprintf(", column %q", columns)
	}
	return fmt.Errorf("tenancytest: model %s%s: the guessed values make no valid row: set the column in Config.Fill, or the tenants' ids in Config.Tenants: %w",
		sch.Name, where, err)
}

// constrained returns the columns of the constraint that an error names.
func (s *session) constrained(pg *pgconn.PgError) (columns []string) {
	if pg.ConstraintName == "" {
		return nil
	}
	_ = s.attempt(func() error {
		return s.tx.Raw(`SELECT a.attname FROM pg_catalog.pg_constraint c
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey)
			WHERE c.conname = ? AND c.conrelid = ?::regclass`, pg.ConstraintName, `"`+pg.SchemaName+`"."`+pg.TableName+`"`).Scan(&columns).Error
	})
	return columns
}
