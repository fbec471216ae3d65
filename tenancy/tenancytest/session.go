package tenancytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/tenancy"
)

const (
	seedSavepoint     = "tenancytest_seed"
	scenarioSavepoint = "tenancytest_scenario"
)

// session is the transaction in which one model is tested.
type session struct {
	config   Config
	base     *gorm.DB // what the transaction is begun from
	tx       *gorm.DB
	registry *plan.Registry
	schema   *schema.Schema
	table    plan.Table
	watched  []*schema.Schema // tables whose rows scenarios compare
	filler   filler

	// intruder tries to reach the rows of victim.
	intruder, victim string
	own, other       reflect.Value // a row of each, as pointers
	before           []string      // the victim's rows, as a scenario must leave them
	note             string        // what the last scenario could not test, and why
}

func nameOf(model any) string {
	t := reflect.TypeOf(model)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil {
		return "nil"
	}
	return cmp.Or(t.Name(), t.String())
}

// open begins the transaction and seeds both tenants. It returns nil for a shared model.
func (c Config) open(db *gorm.DB, model any) (*session, error) {
	sch, err := plan.Parse(db, model)
	if err != nil {
		return nil, fmt.Errorf("tenancytest: %w", err)
	}
	registry, err := plan.NewRegistry(db, c.Rules)
	if err != nil {
		return nil, fmt.Errorf("tenancytest: %w", err)
	}
	registry.Learn(sch)
	table, _ := registry.Lookup(plan.Unqualified(sch.Table))
	switch {
	case table.Class == plan.Shared:
		return nil, nil //nolint:nilnil // a shared model has nothing to test
	case !table.HasTenant():
		return nil, fmt.Errorf("tenancytest: model %s: no column %q: give it one, or list the model in Config.Shared (of both this Config and the plugin's)",
			sch.Name, cmp.Or(c.TenantColumn, "tenant_id"))
	}
	s := &session{
		config: c, registry: registry, schema: sch, table: table, filler: newFiller(),
		base: db.Session(&gorm.Session{NewDB: true, Logger: logger.Discard, Context: db.Statement.Context}),
	}
	s.watch()
	s.intruder, s.victim = s.tenants()
	for _, id := range []string{s.intruder, s.victim} {
		if _, err := table.Value(id); err != nil {
			return nil, fmt.Errorf("tenancytest: model %s: Config.Tenants: %w", sch.Name, err)
		}
	}
	s.tx = s.base.Begin()
	if errors.Is(s.tx.Error, gorm.ErrInvalidTransaction) {
		return nil, errors.New("tenancytest: the handle is in a transaction: use one that is not")
	}
	if s.tx.Error != nil {
		return nil, fmt.Errorf("tenancytest: beginning a transaction: %w", s.tx.Error)
	}
	if err := s.seedBoth(); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *session) close() { s.tx.Rollback() }

// tenants returns the ids of the intruder and the victim.
func (s *session) tenants() (intruder, victim string) {
	if s.config.Tenants != [2]string{} {
		return s.config.Tenants[0], s.config.Tenants[1]
	}
	if _, err := s.table.Value(uuid.NewString()); err != nil { // an integer
		n := rand.IntN(10_000) * 2 //nolint:gosec // an id that is likely to be free is no secret
		if f := s.tenantField(s.schema); f.Size > 16 {
			n += 2_000_000_000
		}
		return strconv.Itoa(n + 1), strconv.Itoa(n + 2)
	}
	return uuid.NewString(), uuid.NewString()
}

// as returns the transaction as one tenant.
func (s *session) as(tenant string) *gorm.DB {
	return s.in(tenancy.WithTenant(s.base.Statement.Context, tenant))
}

func (s *session) in(ctx context.Context) *gorm.DB {
	return s.tx.Session(&gorm.Session{NewDB: true, Context: pgpipe.Switching(ctx)})
}

func (s *session) me() *gorm.DB { return s.as(s.intruder) }

func (s *session) tenantField(sch *schema.Schema) *schema.Field {
	table, _ := s.registry.Lookup(plan.Unqualified(sch.Table))
	if !table.HasTenant() {
		return nil
	}
	return sch.FieldsByDBName[table.Column]
}

func (s *session) seedBoth() (err error) {
	if s.own, err = s.create(s.schema, s.intruder, nil); err != nil {
		return err
	}
	if s.other, err = s.create(s.schema, s.victim, nil); err != nil {
		return err
	}
	for _, tenant := range []string{s.intruder, s.victim} {
		rows, err := s.snapshot(s.schema, tenant)
		if err != nil {
			return fmt.Errorf("tenancytest: model %s: reading the rows of a tenant as itself: %w", s.schema.Name, err)
		}
		if len(rows) == 0 {
			return fmt.Errorf("tenancytest: model %s: a tenant does not see the row that it created", s.schema.Name)
		}
	}
	return nil
}

// snapshot returns a model's rows of a tenant as text, read as that tenant.
// The condition is there for a handle that lets a tenant see more.
func (s *session) snapshot(sch *schema.Schema, tenant string) ([]string, error) {
	table, _ := s.registry.Lookup(s.tableName(sch))
	value, err := table.Value(tenant)
	if err != nil {
		return nil, err
	}
	var rows []string
	err = s.as(tenant).Table(sch.Table).
		Where(clause.Eq{Column: clause.Column{Table: table.Name, Name: table.Column}, Value: value}).
		Pluck(s.tx.Statement.Quote(table.Name)+"::text", &rows).Error
	slices.Sort(rows)
	return rows, err
}

// snapshotAll returns a tenant's rows of the model and of all that it is
// associated with.
func (s *session) snapshotAll(tenant string) ([]string, error) {
	var all []string
	for _, sch := range s.watched {
		rows, err := s.snapshot(sch, tenant)
		if err != nil {
			return nil, err
		}
		all = append(all, rows...)
	}
	return all, nil
}

// watch notes the tenant-owned tables that a scenario may touch.
func (s *session) watch() {
	s.watched = []*schema.Schema{s.schema}
	for _, rel := range s.schema.Relationships.Relations {
		for _, sch := range []*schema.Schema{rel.FieldSchema, rel.JoinTable} {
			if sch != nil && s.tenantField(sch) != nil && !slices.Contains(s.watched, sch) {
				s.watched = append(s.watched, sch)
			}
		}
	}
}

func (s *session) new() any { return reflect.New(s.schema.ModelType).Interface() }

// check runs a scenario and takes back what it did.
func (s *session) check(sc scenario) error {
	if err := s.tx.SavePoint(scenarioSavepoint).Error; err != nil {
		return fmt.Errorf("before the scenario: %w", err)
	}
	defer func() { s.tx.RollbackTo(scenarioSavepoint) }()
	var err error
	s.note = ""
	if s.before, err = s.snapshotAll(s.victim); err != nil {
		return fmt.Errorf("before the scenario: %w", err)
	}
	err = sc.run(s)
	after, readErr := s.snapshotAll(s.victim)
	switch {
	case isAborted(readErr): // the statement failed, and with it all that it did
	case readErr != nil:
		err = errors.Join(err, fmt.Errorf("after the scenario: %w", readErr))
	case !slices.Equal(s.before, after):
		err = errors.Join(err, fmt.Errorf("the other tenant's rows changed: it had %d rows and has %d", len(s.before), len(after)))
	}
	if err != nil {
		return fmt.Errorf("model %s: %w", s.schema.Name, err)
	}
	return nil
}

// attempt runs f under a savepoint, to which it goes back if f fails.
func (s *session) attempt(f func() error) error {
	if err := s.tx.SavePoint(seedSavepoint).Error; err != nil {
		return err
	}
	err := f()
	if err != nil {
		s.tx.RollbackTo(seedSavepoint)
	}
	return err
}

// sqlState returns the SQLSTATE of an error, empty if it has none.
func sqlState(err error) string {
	var state interface{ SQLState() string }
	if errors.As(err, &state) {
		return state.SQLState()
	}
	return ""
}

func isAborted(err error) bool { return sqlState(err) == "25P02" }
