package tenancytest

import (
	"errors"
	"fmt"
	"reflect"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/tenancy"
)

// scenario is one attempt of a tenant to reach another's rows. run returns an
// error if it succeeds, or fails for a reason that has nothing to do with tenants.
type scenario struct {
	name string
	run  func(s *session) error
}

func (s *session) scenarios() []scenario {
	list := []scenario{
		{"find", func(s *session) error { return s.reads(s.me()) }},
		{"or", func(s *session) error { return s.reads(s.me().Where("1 = 1").Or("1 = 0")) }},
		{"or_last", func(s *session) error { return s.reads(s.me().Where("1 = 0").Or("1 = 1")) }},
		{"unscoped", func(s *session) error { return s.reads(s.me().Unscoped()) }},
		{"caller_tenant_id", func(s *session) error { return s.reads(s.me().Where(s.victimIs())) }},
		{"count", (*session).counts},
		{"pluck", (*session).plucks},
		{"rows", (*session).rows},
		{"table", (*session).byTable},
		{"create_for_other", (*session).createForOther},
		{"move_to_other", (*session).moveToOther},
		{"delete_all", (*session).deleteAll},
		{"no_tenant", func(s *session) error { return s.refusedWithout("") }},
		{"blank_tenant", func(s *session) error { return s.refusedWithout("  ") }},
	}
	if len(s.schema.PrimaryFields) > 0 {
		list = append(list,
			scenario{"find_by_key", func(s *session) error { return s.reads(s.me().Where(s.key(s.other))) }},
			scenario{"first_by_key", (*session).first},
			scenario{"sub_query", (*session).subQuery},
			scenario{"delete_by_key", func(s *session) error {
				return s.changes(s.me().Where(s.key(s.other)).Delete(s.new()), 0)
			}},
			scenario{"save_row", func(s *session) error {
				return s.crossTenant(s.me().Omit(clause.Associations).Save(s.copyOfOther(true)))
			}},
			scenario{"upsert_row", func(s *session) error { return s.crossTenant(s.upsert().Create(s.copyOfOther(true))) }})
		// With the tenant in it, another's key without its tenant is one's own.
		if !s.tenantField(s.schema).PrimaryKey {
			list = append(list,
				scenario{"save_key", func(s *session) error { return s.harmless(s.me().Omit(clause.Associations).Save(s.copyOfOther(false))) }},
				scenario{"upsert_key", func(s *session) error { return s.harmless(s.upsert().Create(s.copyOfOther(false))) }})
		}
	}
	list = append(list, scenario{"update_all", (*session).updateAll})
	if len(s.schema.PrimaryFields) > 0 {
		list = append(list, scenario{"update_by_key", (*session).updateByKey})
	}
	return append(list, s.associations()...)
}

func (s *session) tenantColumn() clause.Column {
	return clause.Column{Table: clause.CurrentTable, Name: s.table.Column}
}

func (s *session) victimIs() clause.Expression {
	value, _ := s.table.Value(s.victim) // open has checked it
	return clause.Eq{Column: s.tenantColumn(), Value: value}
}

// key is the condition that a row has the primary key of the given one.
func (s *session) key(row reflect.Value) clause.Expression {
	var all []clause.Expression
	for _, f := range s.schema.PrimaryFields {
		value, _ := f.ValueOf(s.base.Statement.Context, row.Elem())
		all = append(all, clause.Eq{Column: clause.Column{Table: clause.CurrentTable, Name: f.DBName}, Value: value})
	}
	return clause.And(all...)
}

var errLeak = errors.New("a row of the other tenant was read")

func (s *session) isMine(value any) bool { return s.table.Compare(value, s.intruder) == plan.Same }

func (s *session) reads(db *gorm.DB) error {
	rows := reflect.New(reflect.SliceOf(s.schema.ModelType))
	if err := db.Find(rows.Interface()).Error; err != nil {
		return couldNotRun(err)
	}
	for i := range rows.Elem().Len() {
		if value, _ := s.tenantField(s.schema).ValueOf(s.base.Statement.Context, rows.Elem().Index(i)); !s.isMine(value) {
			return errLeak
		}
	}
	return nil
}

func couldNotRun(err error) error { return fmt.Errorf("could not be tested: %w", err) }

func (s *session) first() error {
	err := s.me().Where(s.key(s.other)).First(s.new()).Error
	switch {
	case err == nil:
		return errLeak
	case errors.Is(err, gorm.ErrRecordNotFound):
		return nil
	}
	return couldNotRun(err)
}

// ownCount returns how many rows the intruder has.
func (s *session) ownCount() (int64, error) {
	rows, err := s.snapshot(s.schema, s.intruder)
	return int64(len(rows)), err
}

func (s *session) counts() error {
	want, err := s.ownCount()
	if err != nil {
		return couldNotRun(err)
	}
	var n int64
	if err := s.me().Unscoped().Model(s.new()).Count(&n).Error; err != nil {
		return couldNotRun(err)
	}
	if n != want {
		return errLeak
	}
	return nil
}

func (s *session) plucks() error {
	var values []string
	if err := s.me().Model(s.new()).Pluck(s.tx.Statement.Quote(s.table.Column)+"::text", &values).Error; err != nil {
		return couldNotRun(err)
	}
	for _, v := range values {
		if v != s.intruder {
			return errLeak
		}
	}
	return nil
}

func (s *session) rows() error {
	var values []string
	if err := s.me().Model(s.new()).Select(s.tx.Statement.Quote(s.table.Column) + "::text").Scan(&values).Error; err != nil {
		return couldNotRun(err)
	}
	for _, v := range values {
		if v != s.intruder {
			return errLeak
		}
	}
	return nil
}

func (s *session) byTable() error {
	var values []string
	err := s.me().Table(s.schema.Table).Pluck(s.tx.Statement.Quote(s.table.Column)+"::text", &values).Error
	if err != nil {
		return couldNotRun(err)
	}
	for _, v := range values {
		if v != s.intruder {
			return errLeak
		}
	}
	return nil
}

func (s *session) subQuery() error {
	var n int64
	sub := s.me().Model(s.new()).Select("1").Where(s.key(s.other))
	if err := s.me().Model(s.new()).Where("EXISTS (?)", sub).Count(&n).Error; err != nil {
		return couldNotRun(err)
	}
	if n != 0 {
		return errLeak
	}
	return nil
}

// refusedWithout demands that statements without a tenant are refused.
func (s *session) refusedWithout(blank string) error {
	db := s.as(blank)
	for name, err := range map[string]error{
		"find":   db.Find(reflect.New(reflect.SliceOf(s.schema.ModelType)).Interface()).Error,
		"create": db.Omit(clause.Associations).Create(s.copyOfOther(false)).Error,
		"delete": db.Session(&gorm.Session{AllowGlobalUpdate: true}).Delete(s.new()).Error,
	} {
		if !errors.Is(err, tenancy.ErrNoTenant) {
			return fmt.Errorf("a %s without a tenant was not refused with tenancy.ErrNoTenant", name)
		}
	}
	return nil
}
