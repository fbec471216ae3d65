package tenancytest

import (
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// Config says what reflection cannot know of an app. The zero value suits an app
// whose plugin has the zero [tenancy.Config].
type Config struct {
	// Rules are those that the app gives to its tenancy plugin. A model without
	// the tenant column that is not in Shared fails.
	tenancy.Rules

	// Tenants are the ids that stand for the two tenants, in canonical form.
	// They must exist where a foreign key demands it that no model shows.
	// Default: two ids of the type of the tenant column.
	Tenants [2]string

	// Fill is called with a pointer to each row before it is created, and sets
	// what reflection cannot guess: a value that a CHECK or an enum type allows,
	// or a foreign key without an association. The rest of the row is filled
	// already, with values that no other row has. It may be called more than
	// once for one model, and with models that belong-to associations refer to.
	// Default: none.
	Fill func(row any)
}

// Run tests models with the zero [Config]. See [Config.Run].
func Run(t *testing.T, db *gorm.DB, models ...any) {
	t.Helper()
	Config{}.Run(t, db, models...)
}

// Run tests that each model keeps tenants apart on db, a handle with the tenancy
// plugin to a PostgreSQL database that has the models' tables. What db's context
// carries besides the tenant, such as an audit actor, is kept. Shared models have
// nothing to test.
func (c Config) Run(t *testing.T, db *gorm.DB, models ...any) {
	t.Helper()
	if len(models) == 0 {
		t.Fatal("tenancytest: no models given")
	}
	for _, model := range models {
		t.Run(nameOf(model), func(t *testing.T) {
			s, err := c.open(db, model)
			if err != nil {
				t.Fatal(err)
			}
			if s == nil {
				return // shared
			}
			defer s.close()
			for _, sc := range s.scenarios() {
				t.Run(sc.name, func(t *testing.T) { s.test(t, sc) })
			}
		})
	}
}

func (s *session) test(t *testing.T, sc scenario) {
	t.Helper()
	if err := s.check(sc); err != nil {
		t.Error(err)
	}
	if s.note != "" {
		t.Log(s.note)
	}
}
