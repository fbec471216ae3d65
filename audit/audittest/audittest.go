package audittest

import (
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
)

// AllModelsCovered fails the test with each fault that [audit.Coverage] and
// [audit.Verify] find on db, a handle with the audit plugin to a PostgreSQL
// database that has the models' tables. It takes the models that are not in
// Config.Models; every other table of the app's that db's login may write, in
// whatever schema, fails, too: Coverage says which those are. What the login may
// write only after a SET ROLE, or by a function of another's, is not seen. The
// tables that are excluded go to the test's log with their reasons. Nothing is
// written to the database.
func AllModelsCovered(t testing.TB, db *gorm.DB, models ...any) {
	t.Helper()
	if db == nil {
		t.Fatal("audittest: the *gorm.DB is nil")
		return
	}
	lines, err := audit.Coverage(t.Context(), db, models...)
	if err != nil {
		t.Fatal(err)
		return
	}
	var faults []string
	for _, line := range lines {
		if line.Excluded != "" {
			t.Log(line)
		}
		if errors.Is(line.Fault, audit.ErrNoModel) { // the other faults are Verify's as well
			faults = append(faults, line.Fault.Error())
		}
	}
	if err := audit.Verify(t.Context(), db, models...); err != nil {
		faults = append(faults, err.Error())
	}
	if len(faults) > 0 {
		t.Errorf("audittest: changes can leave no entry:\n%s", strings.Join(faults, "\n"))
	}
}
