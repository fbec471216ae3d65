package tenancytest

import (
	"fmt"
	"reflect"
	"slices"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// associations go along every association whose other end is tenant-owned: a
// preload, a join, and association mode.
func (s *session) associations() (list []scenario) {
	rels := &s.schema.Relationships
	for _, rel := range slices.Concat(rels.BelongsTo, rels.HasOne, rels.HasMany, rels.Many2Many) {
		if s.tenantField(rel.FieldSchema) == nil || s.isTenantRow(rel.FieldSchema) || rel.JoinTable != nil && s.tenantField(rel.JoinTable) == nil {
			continue
		}
		list = append(list,
			scenario{"preload_" + rel.Name, func(s *session) error { return s.reachesOver(rel, s.me().Preload(rel.Name)) }},
			scenario{"association_" + rel.Name, func(s *session) error { return s.associates(rel) }})
		if rel.Type == schema.BelongsTo || rel.Type == schema.HasOne {
			list = append(list, scenario{"joins_" + rel.Name, func(s *session) error { return s.reachesOver(rel, s.me().Joins(rel.Name)) }})
		}
	}
	return list
}

// reachesOver points a row of one tenant at one of the other and reads the
// intruder's rows with the association. Where the database refuses such a row
// there is none to read.
func (s *session) reachesOver(rel *schema.Relationship, db *gorm.DB) error {
	err := s.cross(rel)
	if sqlState(err) == "23503" || sqlState(err) == "23505" {
		s.note = "the database itself refuses a link from one tenant's row to another's"
	} else if err != nil {
		return couldNotRun(err)
	}
	if s.before, err = s.snapshotAll(s.victim); err != nil { // the link has added to them
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

// cross makes the link: the row that holds the reference is created as its own
// tenant's, with the other tenant's key in it.
func (s *session) cross(rel *schema.Relationship) error {
	if rel.Type == schema.HasOne || rel.Type == schema.HasMany {
		_, err := s.create(rel.FieldSchema, s.victim, func(row reflect.Value) error { return s.pointAt(row, rel, s.own) })
		return err
	}
	target, err := s.create(rel.FieldSchema, s.victim, nil)
	if err != nil {
		return couldNotRun(err)
	}
	if rel.Type == schema.Many2Many {
		return s.join(rel, s.own, target, s.intruder)
	}
	_, err = s.create(s.schema, s.intruder, func(row reflect.Value) error { return s.pointAt(row, rel, target) })
	return err
}

// join creates the row that joins two of a many2many, as a tenant's.
func (s *session) join(rel *schema.Relationship, owner, target reflect.Value, tenant string) error {
	row, ctx := reflect.New(rel.JoinTable.ModelType), s.base.Statement.Context
	for _, ref := range rel.References {
		if ref.ForeignKey == s.tenantField(rel.JoinTable) {
			continue
		}
		end, value := target, any(ref.PrimaryValue)
		if ref.OwnPrimaryKey {
			end = owner
		}
		if ref.PrimaryKey != nil {
			value, _ = ref.PrimaryKey.ValueOf(ctx, end.Elem())
		}
		if err := ref.ForeignKey.Set(ctx, row.Elem(), value); err != nil {
			return fmt.Errorf("tenancytest: table %s, column %q: %w", rel.JoinTable.Table, ref.ForeignKey.DBName, err)
		}
	}
	if err := s.setTenant(row, rel.JoinTable, tenant); err != nil {
		return err
	}
	if s.config.Fill != nil {
		s.config.Fill(row.Interface())
	}
	err := s.attempt(func() error { return s.as(tenant).Create(row.Interface()).Error })
	if err != nil {
		return s.explain(rel.JoinTable, err)
	}
	return nil
}

// associates uses association mode on a row of the victim that has the
// association: nothing may be found by it, nor cut off.
func (s *session) associates(rel *schema.Relationship) error {
	if err := s.associate(rel); err != nil {
		return couldNotRun(err)
	}
	var err error
	if s.before, err = s.snapshotAll(s.victim); err != nil {
		return couldNotRun(err)
	}
	mode := s.modeOfVictim(rel)
	if n := mode.Count(); mode.Error != nil {
		return couldNotRun(mode.Error)
	} else if n > 0 {
		return errLeak
	}
	return s.harmless(&gorm.DB{Error: s.modeOfVictim(rel).Clear()})
}

// modeOfVictim is association mode on the victim's row, for one call: Count leaves
// its conditions in it, with which the statement of another would not run.
func (s *session) modeOfVictim(rel *schema.Relationship) *gorm.Association {
	row := s.clone(s.other)
	s.tenantField(s.schema).ReflectValueOf(s.base.Statement.Context, row.Elem()).SetZero()
	return s.me().Model(row.Interface()).Association(rel.Name)
}

// associate gives the victim's row something to be associated with.
func (s *session) associate(rel *schema.Relationship) error {
	switch rel.Type {
	case schema.BelongsTo:
		return nil // it was made with its parents
	case schema.Many2Many:
		target, err := s.create(rel.FieldSchema, s.victim, nil)
		if err != nil {
			return err
		}
		return s.join(rel, s.other, target, s.victim)
	}
	_, err := s.create(rel.FieldSchema, s.victim, func(row reflect.Value) error { return s.pointAt(row, rel, s.other) })
	return err
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
