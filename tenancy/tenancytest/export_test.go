package tenancytest

import (
	"testing"

	"gorm.io/gorm"
)

// Failures returns what each scenario finds, by its name.
func Failures(t *testing.T, c Config, db *gorm.DB, models ...any) map[string]error {
	t.Helper()
	found := map[string]error{}
	c.each(t, db, models, func(name string, s *session, err error) { found[name] = err })
	return found
}

// Notes returns what could not be tested by a scenario, by its name. A scenario
// that fails fails the test.
func Notes(t *testing.T, c Config, db *gorm.DB, models ...any) map[string]string {
	t.Helper()
	notes := map[string]string{}
	c.each(t, db, models, func(name string, s *session, err error) {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if s.note != "" {
			notes[name] = s.note
		}
	})
	return notes
}

func (c Config) each(t *testing.T, db *gorm.DB, models []any, f func(name string, s *session, err error)) {
	t.Helper()
	for _, model := range models {
		s, err := c.open(db, model)
		if err != nil {
			t.Fatal(err)
		}
		for _, sc := range s.scenarios() {
			f(nameOf(model)+"/"+sc.name, s, s.check(sc))
		}
		s.close()
	}
}

// OpenError returns the error of seeding a model.
func OpenError(c Config, db *gorm.DB, model any) error {
	s, err := c.open(db, model)
	if s != nil {
		s.close()
	}
	return err
}
