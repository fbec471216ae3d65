package tenancy

import (
	"database/sql"
	"reflect"
	"sync"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/stmtpool"
)

// GORM scans each column into a value from a pool, which all tenants share, and
// sets the field from there also where the scan has failed: because the context
// ended after the row was fetched, or because a column is not of the field's
// type. What the field gets, beside the error, is what the value held before:
// a column of another row, of another table, of another tenant. So rows are read
// with schemas of our own, whose values are empty when GORM takes them.

// freshSchemas are the schemas that rows are read with, by type. GORM's own
// cannot be changed: other goroutines may be reading with them.
type freshSchemas struct {
	store  sync.Map // GORM's, of what it parsed for us
	mu     sync.Mutex
	fresh  map[*schema.Schema]bool
	byType sync.Map // of *schema.Schema whose relations are fresh, too
}

// of returns the fresh schema of a struct, nil if GORM cannot parse it.
func (f *freshSchemas) of(model reflect.Type, namer schema.Namer) *schema.Schema {
	if s, ok := f.byType.Load(model); ok {
		return s.(*schema.Schema)
	}
	f.mu.Lock() // while it parses, too: it hands out relations that are not parsed to the end
	defer f.mu.Unlock()
	s, err := schema.Parse(reflect.New(model).Interface(), &f.store, namer)
	if err != nil {
		return nil
	}
	if f.fresh == nil {
		f.fresh = map[*schema.Schema]bool{}
	}
	f.freshen(s)
	f.byType.Store(model, s)
	return s
}

// freshen changes a schema, and those that it joins, before anybody reads with them.
func (f *freshSchemas) freshen(s *schema.Schema) {
	if s == nil || f.fresh[s] {
		return
	}
	f.fresh[s] = true
	for _, field := range s.Fields {
		if field.NewValuePool != nil {
			field.NewValuePool = emptied{field.NewValuePool}
		}
	}
	for _, relation := range s.Relationships.Relations {
		f.freshen(relation.FieldSchema)
	}
}

// emptied is a pool of values that hold nothing.
type emptied struct{ schema.FieldNewValuePool }

// Get implements [schema.FieldNewValuePool].
func (e emptied) Get() any {
	value := e.FieldNewValuePool.Get()
	if v := reflect.ValueOf(value); v.Kind() == reflect.Pointer && v.Elem().Kind() == reflect.Pointer {
		v.Elem().SetZero()
		return value
	}
	// A serializer's, which is told what was scanned and keeps it.
	if pool, ok := e.FieldNewValuePool.(*sync.Pool); ok && pool.New != nil {
		return pool.New()
	}
	return value
}

// readFresh has the statement's own rows read with a fresh schema.
func (p *Plugin) readFresh(pool *stmtpool.Pool, stmt *gorm.Statement) {
	if pool == nil {
		return
	}
	theirs := stmt.Schema
	pool.Reading = func() { p.useFresh(stmt) }
	pool.Undo = func() { stmt.Schema = theirs }
}

// readFreshLater does it for GORM's Scan, which parses the struct that it reads
// into after the callbacks, and then asks the rows for their columns.
func (p *Plugin) readFreshLater(pool *stmtpool.Pool, stmt *gorm.Statement) {
	if rows, _ := stmt.Get("rows"); pool == nil || rows != true {
		return // of GORM's Row nothing is read into a struct
	}
	theirs := stmt.Context
	stmt.Context = pgpipe.OnColumns(theirs, func() {
		if _, byHand := stmt.Dest.(*sql.Rows); !byHand {
			p.useFresh(stmt)
		}
	})
	pool.Undo = func() { stmt.Context = theirs }
}

func (p *Plugin) useFresh(stmt *gorm.Statement) {
	if model := rowType(stmt.ReflectValue); stmt.Schema != nil && model != nil {
		if s := p.fresh.of(model, stmt.NamingStrategy); s != nil {
			stmt.Schema = s
		}
	}
}

// rowType is the struct that a row is read into, nil if it is none.
func rowType(v reflect.Value) reflect.Type {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	if !v.IsValid() {
		return nil
	}
	t := v.Type()
	if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
		t = t.Elem()
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	return t
}
