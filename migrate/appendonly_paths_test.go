package migrate_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// A cascade runs as the table's owner, whoever deletes what entries refer to, and
// whatever he has set.
func TestAppendOnlyStopsCascades(t *testing.T) {
	t.Parallel()
	d := setupTrail(t)
	d.exec(t, `CREATE TABLE subjects (id text PRIMARY KEY)`, `GRANT ALL ON subjects TO `+d.names["stranger"], `INSERT INTO subjects VALUES ('1')`,
		`ALTER TABLE audit_logs ADD CONSTRAINT subject FOREIGN KEY (resource_id) REFERENCES subjects ON DELETE CASCADE ON UPDATE CASCADE`,
		`CREATE RULE quiet AS ON UPDATE TO audit_logs WHERE false DO INSTEAD NOTHING`,
		`INSERT INTO audit_logs (action, resource_type, resource_id) VALUES ('create', 'subjects', '1')`)
	done := d.keep(t)
	for _, object := range []string{"constraint public.audit_logs.subject", "rule quiet of public.audit_logs"} {
		if !slices.ContainsFunc(done.Reported, func(r migrate.Report) bool { return r.Object == object }) {
			t.Errorf("%s is not reported: %v", object, done.Reported)
		}
	}
	for _, statement := range []string{`DELETE FROM subjects`, `UPDATE subjects SET id = '2'`} {
		if _, err := as(t, d.logins["stranger"], "", forge, statement); code(err) != "TRAIL" {
			t.Errorf("%s: got %v", statement, err)
		}
	}
}

// What reaches the rows by the name of another table meets the trigger of each row.
func TestAppendOnlyStopsParents(t *testing.T) {
	t.Parallel()
	d := kept(t, false)
	d.fill(t, 3, "a")
	d.exec(t, `CREATE TABLE parent (action text NOT NULL)`, `ALTER TABLE audit_logs INHERIT parent`)
	for _, statement := range []string{`DELETE FROM parent`, `UPDATE parent SET action = 'x'`} {
		if _, err := as(t, d.logins["super"], "", forge, statement); code(err) != "TRAIL" {
			t.Errorf("%s: got %v", statement, err)
		}
	}
}

// A record of the purge is the purge's alone, whichever function writes it.
func TestAppendOnlyKeepsThePurgesRecords(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	const record = `INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('a', 'audit_logs.purge', 'audit_logs')`
	for _, role := range []string{"app", "system"} {
		if _, err := as(t, d.logins[role], "a", forge, record); code(err) != "TRAIL" {
			t.Errorf("%s: got %v", role, err)
		}
		if _, err := as(t, d.logins[role], "a", forge, `SELECT courtroll_record_event(NULL, 'x', 'audit_logs.purge', 'audit_logs', NULL, NULL, NULL)`); code(err) != "TRAIL" {
			t.Errorf("%s by courtroll_record_event: got %v", role, err)
		}
		const call = `SELECT courtroll_purge_audit_logs('2000-01-01', 'x', NULL, 1, NULL, NULL, gen_random_uuid(), false)`
		if _, err := as(t, d.logins[role], "a", forge, call); code(err) != "42501" {
			t.Errorf("%s may purge: %v", role, err)
		}
	}
	if _, err := as(t, d.logins["trusted"], "", record); err != nil {
		t.Errorf("a restore of the trusted role: %v", err)
	}
}

// Both plugins write, list and export through it, and find nothing to complain of.
func TestAppendOnlyAndThePlugins(t *testing.T) {
	t.Parallel()
	for _, walls := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "with Protect"}[walls], func(t *testing.T) {
			t.Parallel()
			d := kept(t, walls)
			d.capture(t)
			app := d.Open(tenancy.Postgres(d.AppDSN), &gorm.Config{TranslateError: true})
			for _, plugin := range []gorm.Plugin{
				tenancy.New(tenancy.Config{Rules: sheetRules, RowLevelSecurity: walls}), audit.New(audit.Config{Rules: sheetRules, HashKey: make([]byte, 32)}),
			} {
				if err := app.Use(plugin); err != nil {
					t.Fatal(err)
				}
			}
			db := app.WithContext(d.ctx)
			folders := make([]Folder, 100)
			steps := []error{
				db.Create(&Folder{ID: 1000, Name: "one"}).Error,
				db.Create(&folders).Error,
				db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Folder{ID: 1000, Name: "two"}).Error,
				db.Model(&Folder{}).Clauses(clause.Returning{}).Where("id > 0").Update("name", "all").Error,
				audit.Record(d.ctx, db, audit.Event{Action: "user.login", ResourceType: "users"}),
				audit.Verify(d.ctx, app),
				db.Delete(&Folder{}, "id = 1000").Error,
			}
			if walls {
				steps = append(steps, tenancy.Verify(d.ctx, app))
			}
			for i, err := range steps {
				if err != nil {
					t.Errorf("step %d: %v", i, err)
				}
			}
			var out bytes.Buffer
			done, err := audit.Export(d.ctx, app, &out, audit.ExportConfig{})
			if err != nil || done.Entries != 205 {
				t.Errorf("got %+v, %v", done, err)
			}
			if got := d.count(t, `created_at < now() - interval '1 hour'`); got != "0" {
				t.Errorf("%s have another time", got)
			}
		})
	}
}

// A dump keeps the times, and what it is restored to keeps the trail.
func TestAppendOnlySurvivesADump(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.fill(t, 50, "a", "")
	dump := exec.CommandContext(t.Context(), pgDump(t), "--no-password", d.SuperDSN)
	sql, err := dump.Output()
	if err != nil {
		t.Fatal(err)
	}
	copied := pgtest.New(t, pgtest.Template{})
	other := &bundle{DB: copied}
	other.sql = other.connect(t, copied.SuperDSN, nil)
	load := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(pgDump(t)), "psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", copied.SuperDSN)
	load.Stdin = strings.NewReader("DROP SCHEMA public CASCADE; CREATE SCHEMA public;\n" + string(sql))
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	const all = `SELECT a::text FROM audit_logs a ORDER BY id`
	if before, after := d.super.lines(t, all), other.lines(t, all); !slices.Equal(before, after) || len(after) != 100 {
		t.Errorf("got %d entries, and not the same", len(after))
	}
	if _, err := other.sql.Exec(`DELETE FROM audit_logs`); code(err) != "TRAIL" {
		t.Errorf("after the restore: got %v", err)
	}
}

// pgDump finds the program as the tests' server is found.
func pgDump(t testing.TB) string {
	t.Helper()
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if dir := os.Getenv("COURTROLL_PG_BIN"); dir != "" {
		places = []string{filepath.Join(dir, "pg_dump")}
	}
	if path, err := exec.LookPath("pg_dump"); err == nil {
		places = append(places, path)
	}
	if len(places) == 0 {
		t.Fatal("pg_dump is not found: apt-get install postgresql-client")
	}
	return places[0]
}

func postgresOf(db gorm.ConnPool) gorm.Dialector {
	return postgres.New(postgres.Config{Conn: db})
}
