package models_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// migrated has the two tables as Up makes them.
var migrated = pgtest.Template{Name: "migrated", Build: func(owner *gorm.DB) error {
	_, err := migrate.New(owner, migrate.Config{}).Up(context.Background())
	return err
}}

func setup(t *testing.T) *pgtest.DB {
	t.Helper()
	return pgtest.New(t, migrated)
}

// wrongClock is a configuration of an app whose clock stands in another century.
func wrongClock() *gorm.Config {
	return &gorm.Config{NowFunc: func() time.Time { return time.Date(1999, 12, 31, 23, 59, 59, 0, time.UTC) }}
}

func create(t *testing.T, db *gorm.DB, value any) {
	t.Helper()
	if err := db.Create(value).Error; err != nil {
		t.Fatalf("creating %T: %v", value, err)
	}
}

// find reads the row of that key back, through a type of its own.
func find[Row any](t *testing.T, db *gorm.DB, id any) Row {
	t.Helper()
	var row Row
	if err := db.Take(&row, "id = ?", id).Error; err != nil {
		t.Fatalf("reading %T %v: %v", row, id, err)
	}
	return row
}

// clock reads the database's clock.
func clock(t *testing.T, db *gorm.DB) (now time.Time) {
	t.Helper()
	if err := db.Raw(`SELECT clock_timestamp()`).Row().Scan(&now); err != nil {
		t.Fatal(err)
	}
	return now
}

// between checks that a time is the database's of a moment ago.
func between(t *testing.T, what string, got, begin, end time.Time) {
	t.Helper()
	if got.Before(begin) || got.After(end) {
		t.Errorf("%s: got %s, want between %s and %s", what, got, begin, end)
	}
}

// recorder is a GORM logger that keeps every statement.
type recorder struct {
	logger.Interface
	mu         sync.Mutex
	statements []string
}

func (r *recorder) Trace(_ context.Context, _ time.Time, text func() (string, int64), _ error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	statement, _ := text()
	r.statements = append(r.statements, statement)
}

// changing returns the statements that are not reads.
func (r *recorder) changing() (list []string) {
	for _, statement := range r.statements {
		if !strings.HasPrefix(strings.ToUpper(strings.TrimSpace(statement)), "SELECT") {
			list = append(list, statement)
		}
	}
	return list
}

func ptr[T any](value T) *T { return &value }
