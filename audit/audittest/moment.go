package audittest

import (
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/stmtpool"
)

// Moment is a point in the database's time, which is the trail's. Make one with
// [Now]: the clock of the test's machine may be another, so a time.Time of its
// own could leave out what it should not, or take in what came before.
type Moment struct{ at time.Time }

// String returns the moment in UTC.
func (m Moment) String() string { return m.at.UTC().Format(time.RFC3339Nano) }

// Now returns the moment by the clock of db's database, for [Trail.Since]: with
// it a test does not see what others before it left in a database that they
// share. It needs no tenant in db's context, and is good for every context.
func Now(t testing.TB, db *gorm.DB) Moment {
	t.Helper()
	var m Moment
	db, err := reader(db)
	if err == nil {
		err = stmtpool.ScanRow(db.Statement.Context, db.Statement.ConnPool, &m.at, `SELECT clock_timestamp()`)
	}
	if err != nil {
		t.Fatalf("audittest: asking the database for the time: %v", err)
	}
	return m
}
