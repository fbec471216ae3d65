package tenancytest

import (
	"testing"

	"gorm.io/gorm"
)

// Failures returns what each scenario finds, by its name.
func Failures(t *testing.T, c Config, db *gorm.DB, models ...any) map[string]error {
	t.Helper()
	found := map[string]error{}
	for _, model := range models {
		s, err := c.open(db, model)
		if err != nil {
			t.Fatal(err)
		}
		for _, sc := range s.scenarios() {
			found[nameOf(model)+"/"+sc.name] = s.check(sc)
		}
		s.close()
	}
	return found
}

// OpenError returns the error of seeding a model.
func OpenError(c Config, db *gorm.DB, model any) error {
	s, err := c.open(db, model)
	if s != nil {
		s.close()
	}
	return err
}
