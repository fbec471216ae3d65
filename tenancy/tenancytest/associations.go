package tenancytest

import (
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// associations are the preloads of tenant-owned parents, to which a row of the
// intruder is pointed, and the joins by their names.
func (s *session) associations() (list []scenario) {
	for _, rel := range s.schema.Relationships.BelongsTo {
		if s.tenantField(rel.FieldSchema) == nil || s.isTenantRow(rel.FieldSchema) {
			continue
		}
		list = append(list,
			scenario{"preload_" + rel.Name, func(s *session) error { return s.parent(rel, s.me().Preload(rel.Name)) }},
			scenario{"joins_" + rel.Name, func(s *session) error { return s.parent(rel, s.me().Joins(rel.Name)) }})
	}
	for _, rel := range slices.Concat(s.schema.Relationships.HasOne, s.schema.Relationships.HasMany) {
		if s.tenantField(rel.FieldSchema) == nil {
			continue
		}
		list = append(list, scenario{"preload_" + rel.Name, func(s *session) error { return s.child(rel, s.me().Preload(rel.Name)) }})
		if rel.Type == schema.HasOne {
			list = append(list, scenario{"joins_" + rel.Name, func(s *session) error { return s.child(rel, s.me().Joins(rel.Name)) }})
		}
	}
	return list
}

// parent points a row of the intruder at the victim's parent and reads it with
// the association. Where the database refuses such a row there is none to read.
func (s *session) parent(rel *schema.Relationship, db *gorm.DB) error {
	target, err := s.create(rel.FieldSchema, s.victim, nil)
	if err != nil {
		return couldNotRun(err)
	}
	_, err = s.create(s.schema, s.intruder, func(row reflect.Value) error { return s.pointAt(row, rel, target) })
	if err != nil && sqlState(err) != "23503" && sqlState(err) != "23505" {
		return couldNotRun(err)
	}
	return s.readsOwn(rel, db)
}

// child points a row of the victim at the intruder's and reads that one with it.
func (s *session) child(rel *schema.Relationship, db *gorm.DB) error {
	_, err := s.create(rel.FieldSchema, s.victim, func(row reflect.Value) error { return s.pointAt(row, rel, s.own) })
	if err != nil && sqlState(err) != "23503" && sqlState(err) != "23505" {
		return couldNotRun(err)
	}
	return s.readsOwn(rel, db)
}

// readsOwn reads the model's rows and demands that the association holds rows of
// the intruder alone.
func (s *session) readsOwn(rel *schema.Relationship, db *gorm.DB) error {
	var err error
	if s.before, err = s.snapshot(s.victim); err != nil { // the link has added to them
		return couldNotRun(err)
	}
	rows := reflect.New(reflect.SliceOf(s.schema.ModelType))
	if err := db.Find(rows.Interface()).Error; err != nil {
		return couldNotRun(err)
	}
	ctx := s.base.Statement.Context
	for i := range rows.Elem().Len() {
		if !s.ownAll(rel, reflect.Indirect(rel.Field.ReflectValueOf(ctx, rows.Elem().Index(i)))) {
			return errLeak
		}
	}
	return nil
}

func (s *session) ownAll(rel *schema.Relationship, got reflect.Value) bool {
	if got.IsValid() && got.Kind() == reflect.Slice {
		for i := range got.Len() {
			if !s.ownAll(rel, reflect.Indirect(got.Index(i))) {
				return false
			}
		}
		return true
	}
	if !got.IsValid() || got.IsZero() {
		return true
	}
	value, _ := s.tenantField(rel.FieldSchema).ValueOf(s.base.Statement.Context, got)
	return s.isMine(value)
}
