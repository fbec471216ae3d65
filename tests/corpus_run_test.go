package tests

import (
	"errors"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

// Job is shared by all tenants and has a column of each type that apps write SQL for.
type Job struct {
	ID       int64 `gorm:"primaryKey"`
	ParentID *int64
	Queue    string
	Payload  string    `gorm:"type:jsonb"`
	Tags     string    `gorm:"type:text[]"`
	RunAt    time.Time `gorm:"type:timestamptz"`
	Done     bool
	Cost     float64 `gorm:"type:numeric(10,2)"`
	Text     string  `gorm:"type:tsvector"`
	During   string  `gorm:"type:tstzrange"`
}

// rawDDL makes what the statements of testdata/raw name beside the tables of
// schema: shared tables with odd names and a procedure.
var rawDDL = []string{
	`INSERT INTO jobs (id, parent_id, queue, payload, tags, run_at, done, cost, text, during) VALUES
		(1, NULL, 'mail', '{"to": "a@b.c", "retry": {"max": 3}, "cc": ["x", "y"]}', '{red,blue}', '2024-01-01', true, 1.5, 'fat cat', '[2024-01-01,2024-01-02)'),
		(2, 1, 'mail', '{"to": "d@e.f"}', '{red}', '2024-02-01', false, 2.5, 'rat', '[2024-02-01,)')`,
	`SELECT setval('jobs_id_seq', 100)`,
	`INSERT INTO countries VALUES ('no', 'Norway'), ('se', 'Sweden')`,
	`CREATE TABLE "Rates" ("From" text, "Order" numeric, "größe" int, note xml)`,
	`INSERT INTO "Rates" VALUES ('EUR', 1.1, 3, '<a>1</a>')`,
	`CREATE PROCEDURE hide_pages() LANGUAGE sql AS 'UPDATE pages SET deleted_at = now()'`,
}

var rawSchema = pgtest.Template{Name: "raw", Build: func(owner *gorm.DB) error {
	if err := schema.Build(owner); err != nil {
		return err
	}
	if err := owner.AutoMigrate(&Job{}); err != nil {
		return err
	}
	for _, d := range rawDDL {
		if err := owner.Exec(d).Error; err != nil {
			return err
		}
	}
	return nil
}}

// rawHandles returns handles of one database, with the tenancy plugin alone and
// with both; the audit trail leaves out the shared tables, which raw SQL may write.
func rawHandles(t *testing.T, db *pgtest.DB) map[string]*bundle {
	t.Helper()
	r := tenancy.Rules{Models: rules.Models, Shared: []any{&Country{}, &Job{}, "Rates"}}
	exclude := []audit.Exclusion{{Model: &Country{}, Reason: "test"}, {Model: &Job{}, Reason: "test"}, {Model: "Rates", Reason: "test"}}
	alone, both := db.OpenApp(nil), db.OpenApp(nil)
	use(t, alone, tenancy.New(tenancy.Config{Rules: r}))
	use(t, both, tenancy.New(tenancy.Config{Rules: r}))
	use(t, both, audit.New(audit.Config{Rules: r, Exclude: exclude}))
	return map[string]*bundle{"tenancy": newBundle(t, db, alone), "both": newBundle(t, db, both)}
}

// tried runs f in a transaction that is rolled back, between the statements that s needs.
func (s rawStatement) tried(db *gorm.DB, f func(db *gorm.DB) error) error {
	tx := db.Begin()
	defer tx.Rollback()
	exec := func(sql string) error {
		if sql == "" {
			return nil
		}
		return tx.Exec(sql).Error
	}
	if err := errors.Join(tx.Error, exec(s.keys["before"])); err != nil {
		return err
	}
	return errors.Join(f(tx), exec(s.keys["after"]))
}

// TestRaw_Harmless: hand-written SQL that reaches no tenant's rows runs.
func TestRaw_Harmless(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, rawSchema)
	handles := rawHandles(t, db)
	for _, s := range rawCorpus(t, "harmless.sql") {
		t.Run(s.name, func(t *testing.T) {
			for way, run := range s.rawWays(t) {
				if err := s.tried(db.App, run); err != nil {
					t.Errorf("%s without plugins: %v", way, err)
				}
				for plugins, b := range handles {
					if err := s.tried(b.as(b.hal), run); err != nil {
						t.Errorf("%s with %s: %v\n%s", way, plugins, err, s.text)
					}
				}
			}
		})
	}
}

// TestRaw_Refused: hand-written SQL that reaches a tenant's rows sends nothing.
// It is SQL that would run, so that what is refused is not nonsense.
func TestRaw_Refused(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, rawSchema)
	roles := map[string]*gorm.DB{"": db.Owner, "super": db.Open(postgres.Open(db.SuperDSN), nil)}
	handles := rawHandles(t, db)
	sent := map[string]*sentSQL{}
	for plugins, b := range handles {
		sent[plugins] = recordSQL(b.app)
	}
	wants := map[string]error{
		"": tenancy.ErrOpaqueSQL, "ErrMigrateHandle": tenancy.ErrMigrateHandle,
		"ErrUnclassified": tenancy.ErrUnclassified, "ErrCrossTenant": tenancy.ErrCrossTenant,
	}
	for _, s := range rawCorpus(t, "refused.sql") {
		t.Run(s.name, func(t *testing.T) {
			want, isKnown := wants[s.keys["error"]]
			if !isKnown {
				t.Fatalf("unknown error %q", s.keys["error"])
			}
			_, isBroken := s.keys["broken"]
			for way, run := range s.rawWays(t) {
				if err := s.tried(roles[s.keys["as"]], run); (err != nil) != isBroken {
					t.Errorf("%s without plugins: error %v, broken %t", way, err, isBroken)
				}
				for plugins, b := range handles {
					if err := run(b.as(b.hal)); !errors.Is(err, want) {
						t.Errorf("%s with %s: error %v, want %v\n%s", way, plugins, err, want, s.text)
					}
					if log := sent[plugins].take(); len(log) > 0 {
						t.Errorf("%s with %s sent %q", way, plugins, log)
					}
				}
			}
		})
	}
}
