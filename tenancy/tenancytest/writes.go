package tenancytest

import (
	"errors"
	"reflect"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/tenancy"
)

var errChanged = errors.New("rows of the other tenant were changed")

// changes demands that a statement changed n rows.
func (s *session) changes(tx *gorm.DB, n int64) error {
	switch {
	case tx.Error != nil:
		return couldNotRun(tx.Error)
	case tx.RowsAffected != n:
		return errChanged
	}
	return nil
}

// harmless takes a refusal for an answer, and leaves it to the comparison of the
// rows whether a statement that ran did harm. GORM itself refuses to cut off a row
// whose key is the reference.
func (s *session) harmless(tx *gorm.DB) error {
	var refused *tenancy.StatementError
	switch err := tx.Error; {
	case err == nil, errors.As(err, &refused), errors.Is(err, gorm.ErrDuplicatedKey), errors.Is(err, gorm.ErrMissingWhereClause), sqlState(err) == "23505":
		return nil
	default:
		return couldNotRun(err)
	}
}

// change is what the scenarios write to a row of the victim: a value that it
// does not have, in a field that is no key, not unique and refers to no other
// row. A guess may be one that the database refuses.
type change struct {
	field *schema.Field
	value any
	guess bool
}

// change finds one, if the model has such a field: one in which the rows of the
// two tenants differ, or else one for which a value can be made up.
func (s *session) change() (c change, ok bool) {
	taken := s.takenFields()
	for _, f := range s.schema.Fields {
		if own := s.valueOf(f, s.own); !taken[f] && !isLeft(f) && !reflect.DeepEqual(own, s.valueOf(f, s.other)) {
			return change{field: f, value: own}, true
		}
	}
	for _, f := range s.schema.Fields {
		if taken[f] || f.DBName == "" || f.HasDefaultValue || f.AutoCreateTime+f.AutoUpdateTime > 0 {
			continue
		}
		if other, isBool := s.valueOf(f, s.other).(bool); isBool {
			return change{f, !other, true}, true
		}
		if value, made := s.filler.value(f); made && f.FieldType.Kind() == reflect.Pointer {
			return change{f, value, true}, true
		}
	}
	return change{}, false
}

// takenFields are those that a scenario must not write.
func (s *session) takenFields() map[*schema.Field]bool {
	taken := map[*schema.Field]bool{s.tenantField(s.schema): true}
	for _, f := range s.schema.Fields {
		if f.DBName == "" || f.PrimaryKey || f.Unique || !f.Updatable || !f.Creatable {
			taken[f] = true
		}
	}
	for _, rel := range s.schema.Relationships.BelongsTo {
		for _, ref := range rel.References {
			taken[ref.ForeignKey] = true
		}
	}
	for _, index := range s.schema.ParseIndexes() {
		for _, option := range index.Fields {
			taken[option.Field] = taken[option.Field] || index.Class == "UNIQUE"
		}
	}
	return taken
}

func (s *session) valueOf(f *schema.Field, row reflect.Value) any {
	value, _ := f.ValueOf(s.base.Statement.Context, row.Elem())
	return value
}

// copyOfOther returns the victim's row with one value changed, under its tenant or none.
func (s *session) copyOfOther(tenant bool) any {
	row, ctx := s.clone(s.other), s.base.Statement.Context
	if c, ok := s.change(); ok {
		_ = c.field.Set(ctx, row.Elem(), c.value) // of the field's own type, or made for it
	}
	if !tenant {
		s.tenantField(s.schema).ReflectValueOf(ctx, row.Elem()).SetZero()
	}
	return row.Interface()
}

// clone copies a row column by column: parts of it may be pointers.
func (s *session) clone(row reflect.Value) reflect.Value {
	copied, ctx := reflect.New(s.schema.ModelType), s.base.Statement.Context
	for _, f := range s.schema.Fields {
		if f.DBName != "" {
			f.ReflectValueOf(ctx, copied.Elem()).Set(f.ReflectValueOf(ctx, row.Elem()))
		}
	}
	return copied
}

func (s *session) updateByKey() error {
	return s.updates(func(c change) (*gorm.DB, int64) {
		return s.me().Model(s.new()).Where(s.key(s.other)).Update(c.field.DBName, c.value), 0
	})
}

func (s *session) updateAll() error {
	n, err := s.ownCount()
	if err != nil {
		return couldNotRun(err)
	}
	return s.updates(func(c change) (*gorm.DB, int64) {
		db := s.me().Unscoped().Session(&gorm.Session{AllowGlobalUpdate: true})
		return db.Model(s.new()).Update(c.field.DBName, c.value), n
	})
}

// updates runs an update that has to change n rows. It says in a note where
// there is none that could be run.
func (s *session) updates(run func(c change) (tx *gorm.DB, n int64)) error {
	c, ok := s.change()
	if !ok {
		s.note = "the model has no column that can be updated without breaking a key: updates were not tested"
		return nil
	}
	tx, n := run(c)
	if tx.Error != nil && (c.guess || len(s.schema.PrimaryFields) == 0) {
		s.note = "updates were not tested: " + tx.Error.Error()
		return nil
	}
	return s.changes(tx, n)
}

func (s *session) deleteAll() error {
	n, err := s.ownCount()
	if err != nil {
		return couldNotRun(err)
	}
	return s.changes(s.me().Unscoped().Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(s.new()), n)
}

func (s *session) createForOther() error {
	row, err := s.build(s.schema, s.intruder, nil)
	if err == nil {
		err = s.setTenant(row, s.schema, s.victim)
	}
	if err != nil {
		return couldNotRun(err)
	}
	return s.crossTenant(s.me().Omit(clause.Associations).Create(row.Interface()))
}

func (s *session) upsert() *gorm.DB {
	return s.me().Omit(clause.Associations).Clauses(clause.OnConflict{UpdateAll: true})
}

// crossTenant demands that a row which names the other tenant was refused for that.
func (s *session) crossTenant(tx *gorm.DB) error {
	if !errors.Is(tx.Error, tenancy.ErrCrossTenant) {
		return errors.New("a row that names the other tenant was not refused with tenancy.ErrCrossTenant")
	}
	return nil
}

func (s *session) moveToOther() error {
	value, err := s.table.Value(s.victim)
	if err != nil {
		return couldNotRun(err)
	}
	db := s.me().Session(&gorm.Session{AllowGlobalUpdate: true})
	if err := db.Model(s.new()).Updates(map[string]any{s.table.Column: value}).Error; !errors.Is(err, tenancy.ErrTenantImmutable) {
		return errors.New("a change of the tenant column was not refused with tenancy.ErrTenantImmutable")
	}
	return nil
}
