package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/lifecycle"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Project is soft-deleted, and has tags.
type Project struct {
	ID        int64
	TenantID  string `gorm:"not null"`
	Name      string
	Tags      []Tag `gorm:"many2many:project_tags"`
	DeletedAt gorm.DeletedAt
}

// Tag is a project's.
type Tag struct {
	ID       int64
	TenantID string `gorm:"not null"`
	Name     string
}

// ProjectTag joins them.
type ProjectTag struct {
	ProjectID int64 `gorm:"primaryKey"`
	TagID     int64 `gorm:"primaryKey"`
	TenantID  string
}

// Task has a parent.
type Task struct {
	ID        int64
	TenantID  string `gorm:"not null"`
	Name      string
	ProjectID int64
	Project   *Project
	ParentID  *int64
	Parent    *Task
}

// Node always has a parent, and be it itself.
type Node struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	ParentID int64  `gorm:"not null"`
}

// Team and Person refer to each other.
type Team struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	LeadID   *int64
}

// Person is in a team.
type Person struct {
	ID       int64  `gorm:"primaryKey;autoIncrement:false"`
	TenantID string `gorm:"not null"`
	TeamID   int64  `gorm:"not null"`
}

// Value is a row of values that are easily lost, in a table without a primary key
// whose name is that of a column.
type Value struct {
	TenantID string `gorm:"not null"`
	Values   string
}

// Country is shared.
type Country struct {
	Code string `gorm:"primaryKey"`
}

var rules = tenancy.Rules{
	Models: []any{&Project{}, &Tag{}, &ProjectTag{}, &Task{}, &Node{}, &Team{}, &Person{}, &Value{}},
	Shared: []any{&Country{}},
}

var keys = []string{
	`ALTER TABLE nodes ADD CONSTRAINT nodes_parent FOREIGN KEY (parent_id) REFERENCES nodes (id)`,
	`ALTER TABLE people ADD CONSTRAINT people_team FOREIGN KEY (team_id) REFERENCES teams (id)`,
	`ALTER TABLE teams ADD CONSTRAINT teams_lead FOREIGN KEY (lead_id) REFERENCES people (id)`,
	`ALTER TABLE "values" ADD raw bytea, ADD exact numeric, ADD big bigint, ADD doc jsonb, ADD text_doc json, ADD at timestamptz, ADD ratio float8, ADD span interval, ADD list text[]`,
}

// tables makes the tables, with walls around them or without.
func tables(walled bool) pgtest.Template {
	return pgtest.Template{Name: fmt.Sprint("lifecycle walled ", walled), BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error {
		m := migrate.New(owner, migrate.Config{Rules: rules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
		_, err := m.Up(context.Background())
		err = errors.Join(err, owner.SetupJoinTable(&Project{}, "Tags", &ProjectTag{}))
		err = errors.Join(err, owner.AutoMigrate(append(rules.Models, rules.Shared...)...))
		for _, key := range keys {
			err = errors.Join(err, owner.Exec(key).Error)
		}
		if walled {
			_, protectErr := m.Protect(context.Background())
			return errors.Join(err, protectErr)
		}
		return errors.Join(err, owner.Exec("GRANT EXECUTE ON FUNCTION "+models.AdmitFunction+" TO "+roles.AppRole).Error)
	}}
}

// form is a way in which an app can be put together.
type form struct {
	name      string
	dialector func(dsn string) gorm.Dialector
	walled    bool
	audited   bool
}

var (
	ours  = form{"tenancy.Postgres, walled, audited", tenancy.Postgres, true, true}
	alone = form{"postgres.Open", postgres.Open, false, false}
	forms = []form{ours, alone, {"tenancy.Postgres, audited", tenancy.Postgres, false, true}, {"postgres.Open, walled, audited", postgres.Open, true, true}}
)

// bundle is a database with the app's handle on it, and the tenants acme and hal.
type bundle struct {
	*pgtest.DB
	form   form
	app    *gorm.DB
	super  *gorm.DB
	system context.Context
}

func eachForm(t *testing.T, test func(t *testing.T, b *bundle)) {
	t.Helper()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			test(t, setup(t, f))
		})
	}
}

func setup(t *testing.T, f form) *bundle {
	t.Helper()
	db := pgtest.New(t, tables(f.walled))
	b := &bundle{
		DB: db, form: f, super: db.Open(postgres.Open(db.SuperDSN), nil),
		system: tenancy.AsSystem(audit.WithActor(t.Context(), audit.Actor{ID: "ops", RequestID: "r_1"}), "test"),
	}
	b.app = b.open(t, tenancy.RefuseSuspended)
	for _, tenant := range []string{"acme", "hal"} {
		_, err := lifecycle.Create(b.system, b.app, models.NewTenant{ID: tenant, Name: tenant, Slug: tenant})
		must(t, err)
	}
	b.seed(t, "acme", 1)
	b.seed(t, "hal", 2)
	return b
}

func (b *bundle) open(t *testing.T, mode tenancy.Suspended) *gorm.DB {
	t.Helper()
	app := b.Open(b.form.dialector(b.AppDSN), &gorm.Config{DisableAutomaticPing: true})
	must(t, app.SetupJoinTable(&Project{}, "Tags", &ProjectTag{}))
	config := tenancy.Config{Rules: rules, Suspended: mode}
	if b.form.walled {
		config.RowLevelSecurity, config.System = true, b.Open(b.form.dialector(b.SystemDSN), nil)
	}
	must(t, app.Use(tenancy.New(config)))
	if b.form.audited {
		must(t, app.Use(audit.New(audit.Config{Rules: rules})))
	}
	return app
}

// seed gives a tenant rows of every shape: n-th of the tenants, so that ids differ.
func (b *bundle) seed(t *testing.T, tenant string, n int) {
	t.Helper()
	base := n * 1_000_000
	for _, statement := range []string{
		`INSERT INTO projects (id, tenant_id, name, deleted_at) SELECT $2 + i, $1, 'p' || i, CASE WHEN i % 3 = 0 THEN now() END FROM generate_series(1, 30) i`,
		`INSERT INTO tags (id, tenant_id, name) SELECT $2 + i, $1, 't' || i FROM generate_series(1, 5) i`,
		`INSERT INTO project_tags (project_id, tag_id, tenant_id) SELECT $2 + i, $2 + 1 + i % 5, $1 FROM generate_series(1, 30) i`,
		`INSERT INTO tasks (id, tenant_id, name, project_id, parent_id) SELECT $2 + i, $1, 'k' || i, $2 + 1 + i % 30, CASE WHEN i > 3 THEN $2 + i / 3 END FROM generate_series(1, 1500) i`,
		`UPDATE tasks SET parent_id = $2 + 3 WHERE tenant_id = $1 AND id = $2 + 1`,
		`UPDATE tasks SET parent_id = $2 + 1 WHERE tenant_id = $1 AND id = $2 + 3`,
		`INSERT INTO nodes (id, tenant_id, parent_id) SELECT $2 + i, $1, $2 + greatest(i / 2, 1) FROM generate_series(1, 40) i`,
		`INSERT INTO nodes (id, tenant_id, parent_id) SELECT $2 + 100 + i, $1, $2 + 101 + i % 3 FROM generate_series(1, 3) i`,
		`INSERT INTO teams (id, tenant_id) SELECT $2 + i, $1 FROM generate_series(1, 4) i`,
		`INSERT INTO people (id, tenant_id, team_id) SELECT $2 + i, $1, $2 + 1 + i % 4 FROM generate_series(1, 20) i`,
		`UPDATE teams SET lead_id = $2 + 1 WHERE tenant_id = $1 AND $2 > 0`,
		values,
	} {
		text := strings.NewReplacer("$1", "'"+tenant+"'", "$2", fmt.Sprint(base)).Replace(statement)
		must(t, b.super.Exec(text).Error)
	}
}

const values = `INSERT INTO "values" (tenant_id, values, raw, exact, big, doc, text_doc, at, ratio, span, list) VALUES
	($1, E'\u2028\u2029"\\ <&>\n', '\x00ff10', 12345678901234567890.123456789012345678901234567890, 9223372036854775807,
		'{"n": 1.10, "big": 123456789012345678901234567890}', E'{"b": 1,\n "a": "\\u2028", "b": 2}', 'infinity', '-0', '1 mon -3 days', '{a,NULL,"b,c"}'),
	($1, '', NULL, 'NaN', -9223372036854775808, '{"x": null}', NULL, '-infinity', 'NaN', NULL, '{}'),
	($1, NULL, '', NULL, NULL, '[]', '[]', '0044-03-15 12:00:00.123456+00 BC', 1e-320, '00:00:00.000001', NULL)`

// owned are the tables with tenants' rows, by the name of their columns.
var owned = []string{"people", "teams", "projects", "tags", "project_tags", "tasks", "nodes", `"values"`}

// rows says how many rows a tenant has in each table that has any.
func (b *bundle) rows(t *testing.T, tenant string) map[string]int64 {
	t.Helper()
	found := map[string]int64{}
	for _, table := range owned {
		var n int64
		must(t, b.super.Raw(`SELECT count(*) FROM `+table+` WHERE tenant_id = ?`, tenant).Scan(&n).Error)
		if n > 0 {
			found[strings.Trim(table, `"`)] = n
		}
	}
	return found
}

// sum is a checksum of a tenant's rows, and of the transactions that wrote them.
func (b *bundle) sum(t *testing.T, tenant string) string {
	t.Helper()
	parts := []string{`SELECT xmin || tenants::text AS r FROM tenants WHERE id = '` + tenant + `'`}
	for _, table := range append([]string{"audit_logs"}, owned...) {
		parts = append(parts, `SELECT xmin || (`+table+`.*)::text FROM `+table+` WHERE tenant_id = '`+tenant+`'`)
	}
	var sum string
	must(t, b.super.Raw(`SELECT md5(string_agg(r, ' ' ORDER BY r)) FROM (`+strings.Join(parts, " UNION ALL ")+`) x`).Scan(&sum).Error)
	return sum
}

// entries counts the entries of the tenant, and of its deletion, in the trail, by action and resource type.
func (b *bundle) entries(t *testing.T, tenant string) map[string]int64 {
	t.Helper()
	var list []struct {
		Name string
		N    int64
	}
	must(t, b.super.Raw(`SELECT action || ' ' || resource_type AS name, count(*) AS n FROM audit_logs
		WHERE tenant_id = ? OR tenant_id IS NULL AND resource_type = 'tenants' AND resource_id = ? GROUP BY 1`, tenant, tenant).Scan(&list).Error)
	found := map[string]int64{}
	for _, l := range list {
		found[l.Name] = l.N
	}
	return found
}

func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
