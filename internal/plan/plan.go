// Package plan reads GORM models and says what they mean to courtroll: which
// tables belong to a tenant and by which column, which are shared, and how each
// column enters the audit trail. It is pure: it never touches a database.
package plan

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/models"
)

// Rules say what an app's tables are. An app gives the same rules to each
// package that takes them.
type Rules struct {
	// TenantColumn names the column that makes a table tenant-owned.
	// Default: "tenant_id".
	TenantColumn string

	// Models are known by the names of their tables from the start, with the
	// models that they refer to. Any other model is learnt when it is first
	// used; until then a statement that reaches its table by name alone, as
	// db.Table("pages") does, is refused. Default: none.
	Models []any

	// Shared lists the tables that belong to no tenant and that all may read
	// and write, as models or as table names. A name with a schema stands for the
	// table in that schema alone, one without for that of the search path, and of
	// public. Default: none.
	Shared []any
}

// Class says to whom the rows of a table belong.
type Class uint8

const (
	// Unclassified is a table that is neither tenant-owned nor declared shared.
	Unclassified Class = iota
	// Owned is a table whose every row belongs to one tenant.
	Owned
	// Trail is the audit trail: a row belongs to one tenant or to none.
	Trail
	// Shared is a table that was declared to belong to no tenant.
	Shared
)

// Table is what is known of one table.
type Table struct {
	Name   string
	Class  Class
	Column string // the tenant column, empty unless Owned or Trail
	kind   kind
	min    int64 // of an integer column
	max    int64
}

// HasTenant reports whether rows of the table carry a tenant.
func (t Table) HasTenant() bool { return t.Class == Owned || t.Class == Trail }

// Registry knows tables by name. It is safe for concurrent use.
type Registry struct {
	column string
	shared map[string][]string // name → the schemas given with it, "" where none was
	tables sync.Map            // name → Table
	seen   sync.Map            // *schema.Schema → true
	mu     sync.Mutex          // held while a schema is learnt

	generation atomic.Uint64
}

// NewRegistry returns a registry of the models that rules name.
func NewRegistry(db *gorm.DB, rules Rules) (*Registry, error) {
	r := &Registry{column: cmp.Or(rules.TenantColumn, models.DefaultTenantColumn), shared: map[string][]string{}}
	for _, model := range rules.Shared {
		table, err := tableOf(db, model)
		if err != nil {
			return nil, err
		}
		name := Unqualified(table)
		if name == models.TenantsTable || name == models.AuditLogsTable {
			return nil, fmt.Errorf("table %q is declared shared, but each row of it is one tenant's", name)
		}
		r.shared[name] = append(r.shared[name], schemaOf(table))
		r.store(Table{Name: name, Class: Shared})
	}
	if err := r.checkShared(db, rules.Shared); err != nil {
		return nil, err
	}
	for _, model := range append([]any{&models.Tenant{}, &models.AuditLog{}}, rules.Models...) {
		s, err := Parse(db, model)
		if err != nil {
			return nil, err
		}
		r.Learn(s)
	}
	return r, nil
}

// Column returns the name of the column that makes a table tenant-owned.
func (r *Registry) Column() string { return r.column }

// checkShared refuses a shared model that has the tenant column.
func (r *Registry) checkShared(db *gorm.DB, shared []any) error {
	for _, model := range shared {
		if _, isName := model.(string); isName {
			continue
		}
		s, err := Parse(db, model)
		if err != nil {
			return err
		}
		if s.FieldsByDBName[r.column] != nil {
			return fmt.Errorf("model %s is declared shared, but has the tenant column %q", s.Name, r.column)
		}
	}
	return nil
}

// Parse returns the schema of a model.
func Parse(db *gorm.DB, model any) (*schema.Schema, error) {
	if name, ok := model.(string); ok {
		return nil, fmt.Errorf("a model is due, not the name %q", name)
	}
	stmt := &gorm.Statement{DB: db}
	if err := stmt.Parse(model); err != nil {
		return nil, fmt.Errorf("reading model %T: %w", model, err)
	}
	return stmt.Schema, nil
}

// TableName returns the name of a table, without its schema, that is given as a model or by name.
func TableName(db *gorm.DB, model any) (string, error) {
	table, err := tableOf(db, model)
	return Unqualified(table), err
}

// QualifiedName is TableName with the schema, if it has one.
func QualifiedName(db *gorm.DB, model any) (string, error) { return tableOf(db, model) }

func tableOf(db *gorm.DB, model any) (string, error) {
	if name, ok := model.(string); ok {
		if Unqualified(name) == "" {
			return "", errors.New("the name of a table is empty")
		}
		return name, nil
	}
	s, err := Parse(db, model)
	if err != nil {
		return "", err
	}
	return s.Table, nil
}

// schemaOf returns the schema of a table's name, empty if it is not qualified.
func schemaOf(table string) string {
	return strings.TrimSuffix(table[:len(table)-len(Unqualified(table))], ".")
}

// Unqualified cuts a schema's name off a table's name.
func Unqualified(table string) string { return table[strings.LastIndexByte(table, '.')+1:] }

// Split returns both names, that of the schema empty if there is none.
func Split(table string) (schema, name string) { return schemaOf(table), Unqualified(table) }

// Generation is a number that grows whenever a table is learnt: what was
// concluded from Lookup holds as long as it stays the same.
func (r *Registry) Generation() uint64 { return r.generation.Load() }

// Forget makes what was concluded from Lookup so far no longer hold.
func (r *Registry) Forget() { r.generation.Add(1) }

func (r *Registry) store(t Table) {
	r.tables.Store(t.Name, t)
	r.generation.Add(1)
}

// Lookup returns the table of that name, and whether it is known. A name with a
// schema is not that of a table which was declared shared in another.
func (r *Registry) Lookup(name string) (Table, bool) {
	return r.LookupIn(schemaOf(name), Unqualified(name))
}

// LookupIn is Lookup with the schema apart, empty where the name has none.
func (r *Registry) LookupIn(schema, name string) (Table, bool) {
	known, ok := r.tables.Load(name)
	if !ok {
		return Table{Name: name}, false
	}
	t := known.(Table)
	if t.Class == Shared && !r.isShared(schema, name) {
		return Table{Name: name}, false
	}
	return t, true
}

// Learn classifies a model's table, and those of the models that it refers to.
// A table that any model makes tenant-owned stays so, whatever others say.
func (r *Registry) Learn(s *schema.Schema) {
	if _, seen := r.seen.Load(s); seen {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.learn(s, map[*schema.Schema]bool{})
}

// LearnAs classifies a table that is reached by a name of its own with the model
// of another, as GORM's Table does: the model's tenant column makes it owned.
func (r *Registry) LearnAs(name string, s *schema.Schema) {
	if s.FieldsByDBName[r.column] == nil {
		return
	}
	if known, _ := r.Lookup(name); known.Class != Unclassified {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if known, _ := r.Lookup(name); known.Class == Unclassified {
		r.store(r.owned(Table{Name: name}, s, r.column, Owned))
	}
}

// learn marks a schema as seen when its table is stored, not before: whoever
// finds it seen relies on that.
func (r *Registry) learn(s *schema.Schema, visited map[*schema.Schema]bool) {
	if visited[s] {
		return
	}
	visited[s] = true
	t := r.classify(s)
	if known, ok := r.Lookup(t.Name); !ok || known.Class == Unclassified || t.Class == Owned {
		r.store(t)
	}
	r.seen.Store(s, true)
	for _, rel := range Relations(s) {
		r.learn(rel.FieldSchema, visited)
		if rel.JoinTable != nil {
			r.learn(rel.JoinTable, visited)
		}
	}
}

// Relations copies the relations under their lock: GORM may still be adding
// to those of a schema that refers back to this one.
func Relations(s *schema.Schema) []*schema.Relationship {
	s.Relationships.Mux.RLock()
	defer s.Relationships.Mux.RUnlock()
	return slices.Collect(maps.Values(s.Relationships.Relations))
}

// classify lets the tenant column decide before Shared: a table that has it and
// is declared shared is a contradiction, and stays closed.
func (r *Registry) classify(s *schema.Schema) Table {
	t := Table{Name: Unqualified(s.Table)}
	switch {
	case t.Name == models.TenantsTable:
		return r.owned(t, s, "id", Owned)
	case t.Name == models.AuditLogsTable:
		return r.owned(t, s, models.DefaultTenantColumn, Trail)
	case s.FieldsByDBName[r.column] != nil:
		return r.owned(t, s, r.column, Owned)
	case r.isShared(schemaOf(s.Table), t.Name):
		t.Class = Shared
	}
	return t
}

// isShared compares the schemas too: a table of the same name in another schema
// is another table. One declared without a schema is that of the search path,
// or of public.
func (r *Registry) isShared(schema, name string) bool {
	for _, given := range r.shared[name] {
		if schema == "" || schema == given || given == "" && schema == "public" {
			return true
		}
	}
	return false
}

func (r *Registry) owned(t Table, s *schema.Schema, column string, class Class) Table {
	if f := s.FieldsByDBName[column]; f != nil {
		t.Class, t.Column, t.kind = class, column, kindOf(f)
		t.min, t.max = rangeOf(f)
	}
	return t
}

// kindOf goes by what GORM says of the field's value, which in a type such as
// sql.NullInt64 is not the field's own.
func kindOf(f *schema.Field) kind {
	if integers[strings.ToLower(string(f.DataType))] > 0 {
		return integer
	}
	if valueType(f).Kind() == reflect.Array || strings.EqualFold(string(f.DataType), "uuid") {
		return uuidKind
	}
	return text
}

// valueType returns the type of a field's value: in sql.NullInt64 and its like it comes first.
func valueType(f *schema.Field) reflect.Type {
	if typ := f.IndirectFieldType; typ.Kind() != reflect.Struct || typ.NumField() == 0 {
		return typ
	}
	return f.IndirectFieldType.Field(0).Type
}

// integers holds the integer types of columns with their sizes in bits.
var integers = map[string]int{
	string(schema.Int): 64, string(schema.Uint): 64, "bigint": 64, "int8": 64, "bigserial": 64,
	"integer": 32, "int4": 32, "serial": 32, "smallint": 16, "int2": 16, "smallserial": 16,
}

// rangeOf returns what both the column and the Go type of the field hold.
func rangeOf(f *schema.Field) (low, high int64) {
	bits := cmp.Or(integers[strings.ToLower(string(f.DataType))], 64)
	size, typ := f.Size, valueType(f)
	if f.GORMDataType == schema.Uint {
		size++ // as GORM's driver does, so that the type's values fit
	}
	switch {
	case size > 0 && size <= 16:
		bits = min(bits, 16)
	case size > 0 && size <= 32:
		bits = min(bits, 32)
	}
	low, high = math.MinInt64>>(64-bits), math.MaxInt64>>(64-bits)
	switch zero := reflect.Zero(typ); {
	case zero.CanInt():
		return max(low, math.MinInt64>>(64-typ.Bits())), min(high, math.MaxInt64>>(64-typ.Bits()))
	case zero.CanUint() && typ.Bits() < 64:
		return 0, min(high, 1<<typ.Bits()-1)
	case zero.CanUint():
		return 0, high
	}
	return low, high
}
