package audittest_test

import (
	"context"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/audit/audittest"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

type Project struct {
	ID    int64
	Tasks []Task `gorm:"constraint:OnDelete:CASCADE"`
}

type Task struct{ ID, ProjectID int64 }

type Session struct{ ID int64 }

var schema = pgtest.Template{Name: "kit", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	return owner.AutoMigrate(&Project{}, &Task{}, &Session{})
}}

// captures makes the triggers of migrate.CaptureByTrigger, which capture nothing.
const captures = `CREATE FUNCTION no_op() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
	CREATE TRIGGER courtroll_capture_insert AFTER INSERT ON tasks EXECUTE FUNCTION no_op();
	CREATE TRIGGER courtroll_capture_update AFTER UPDATE ON tasks EXECUTE FUNCTION no_op();
	CREATE TRIGGER courtroll_capture_delete AFTER DELETE ON tasks EXECUTE FUNCTION no_op();
	CREATE TRIGGER courtroll_capture_truncate BEFORE TRUNCATE ON tasks EXECUTE FUNCTION no_op();`

func TestAllModelsCovered(t *testing.T) {
	t.Parallel()
	without := func(tables ...string) (c audit.Config) {
		for _, table := range tables {
			c.Exclude = append(c.Exclude, audit.Exclusion{Model: table, Reason: "no one's property"})
		}
		return c
	}
	for name, c := range map[string]struct {
		sql    string
		config audit.Config
		models []any
		want   []string // in the failure, none if there is to be none
		logged string
	}{
		"ForgottenModel":   {sql: captures, models: []any{&Project{}}, want: []string{`table "sessions"`, "Config.Models"}},
		"CascadeAndModel":  {models: []any{&Project{}}, want: []string{`table "sessions"`, `table "tasks"`, "CASCADE", "CaptureByTrigger"}},
		"Excluded":         {sql: captures, models: []any{&Project{}}, config: without("sessions"), logged: "sessions: excluded: no one's property"},
		"ExcludedChild":    {models: []any{&Project{}, &Session{}}, config: without("tasks"), logged: "tasks: excluded: no one's property"},
		"Captured":         {sql: captures, models: []any{&Project{}, &Session{}}},
		"ConfigsModels":    {sql: captures, config: audit.Config{Rules: audit.Rules{Models: []any{&Project{}, &Session{}}}}},
		"NotWrittenByUs":   {sql: captures + `REVOKE ALL ON sessions FROM PUBLIC, app;`, models: []any{&Project{}}},
		"DisabledTrigger":  {sql: captures + `ALTER TABLE tasks DISABLE TRIGGER courtroll_capture_delete`, models: []any{&Project{}, &Session{}}, want: []string{`table "tasks"`, "disabled"}},
		"ModelIsNoModel":   {models: []any{"projects"}, want: []string{"a model is due"}},
		"NoTableOfAModel":  {sql: captures + `DROP TABLE sessions`, models: []any{&Project{}, &Session{}}, want: []string{`table "sessions"`, "migrate"}},
		"WritesElsewhere":  {sql: captures + `CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN DELETE FROM projects; RETURN NULL; END'; CREATE TRIGGER w AFTER INSERT ON sessions EXECUTE FUNCTION w()`, models: []any{&Project{}, &Session{}}, want: []string{`table "projects"`, `trigger "w"`}},
		"OtherSchema":      {sql: captures + `CREATE SCHEMA far; CREATE TABLE far.orders (id int); GRANT USAGE ON SCHEMA far TO PUBLIC; GRANT DELETE ON far.orders TO PUBLIC`, models: []any{&Project{}, &Session{}}, want: []string{`table "far.orders"`}},
		"OutOfReach":       {sql: captures + `CREATE SCHEMA far; CREATE TABLE far.orders (id int); GRANT ALL ON far.orders TO PUBLIC`, models: []any{&Project{}, &Session{}}},
		"NamedAsOurs":      {sql: captures + `CREATE TABLE courtroll_orders (id int)`, models: []any{&Project{}, &Session{}}, want: []string{`table "courtroll_orders"`}},
		"CannotWriteTrail": {sql: captures + `REVOKE ALL ON audit_logs FROM PUBLIC, app`, models: []any{&Project{}, &Session{}}, want: []string{`table "audit_logs"`, "INSERT"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, schema)
			if err := db.Owner.Exec("SELECT 1;" + strings.ReplaceAll(c.sql, "PUBLIC, app", `PUBLIC, "`+db.AppRole+`"`)).Error; err != nil {
				t.Fatal(err)
			}
			if err := db.App.Use(audit.New(c.config)); err != nil {
				t.Fatal(err)
			}
			r := &recorder{TB: t}
			audittest.AllModelsCovered(r, db.App, c.models...)
			got := strings.Join(r.failures, "\n")
			if len(c.want) == 0 && got != "" || len(c.want) > 0 && got == "" {
				t.Fatalf("failed with: %q", got)
			}
			for _, want := range c.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in:\n%s", want, got)
				}
			}
			if logged := strings.Join(r.log, "\n"); logged != c.logged {
				t.Errorf("logged %q, want %q", logged, c.logged)
			}
		})
	}
}

func TestAllModelsCovered_NoHandle(t *testing.T) {
	t.Parallel()
	check(t, func(r *recorder) { audittest.AllModelsCovered(r, nil, &Project{}) }, "nil")
}

// Each fault is told once, and a handle without the plugin is one.
func TestAllModelsCovered_Once(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	r := &recorder{TB: t}
	audittest.AllModelsCovered(r, db.App, &Project{})
	if len(r.failures) != 1 || r.failures[0] != audit.ErrNotInstalled.Error() {
		t.Errorf("without the plugin: %q", r.failures)
	}
	if err := db.App.Use(audit.New(audit.Config{})); err != nil {
		t.Fatal(err)
	}
	r = &recorder{TB: t}
	audittest.AllModelsCovered(r, db.App, &Project{})
	if len(r.failures) != 1 || strings.Count(r.failures[0], "\n") != 2 {
		t.Errorf("failures %q, want one of two lines", r.failures)
	}
}
