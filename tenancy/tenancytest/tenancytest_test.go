package tenancytest_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
	"github.com/courtroll/courtroll/tenancy/tenancytest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Base is embedded.
type Base struct {
	ID       uint
	TenantID string
}

type Project struct {
	Base
	Name     string
	Code     string `gorm:"uniqueIndex;not null"`
	Charter  *Charter
	Comments []Comment `gorm:"polymorphic:Subject"`
	Labels   []Label   `gorm:"many2many:project_labels"`
	Deleted  gorm.DeletedAt
}

type Charter struct {
	*Base
	ProjectID *uint
	Text      string
}

type Comment struct {
	ID          int64
	TenantID    string
	SubjectID   uint
	SubjectType string
	Text        string
}

type Label struct {
	ID       int64
	TenantID string
	Name     string
	Projects []Project `gorm:"many2many:project_labels"`
}

// ProjectLabel joins projects and labels.
type ProjectLabel struct {
	TenantID  string
	ProjectID uint  `gorm:"primaryKey;autoIncrement:false"`
	LabelID   int64 `gorm:"primaryKey;autoIncrement:false"`
}

type Task struct {
	TenantID  int64 `gorm:"primaryKey;autoIncrement:false"`
	Number    int   `gorm:"primaryKey;autoIncrement:false"`
	Title     string
	BoardID   int64
	Board     *Board
	CountryID *string
}

// Pin has no column beside its keys.
type Pin struct {
	TenantID int64
	BoardID  int64 `gorm:"primaryKey;autoIncrement:false"`
	Board    *Board
}

// Flag has a bool, and Memo a column that may be NULL, and nothing else to update.
type Flag struct {
	ID       int64
	TenantID string
	On       bool
}

type Memo struct {
	ID       int64
	TenantID string
	Text     *string
}

type Board struct {
	ID       int64
	TenantID int64
	Name     string
	Tasks    []Task
}

type Asset struct {
	ID       string `gorm:"type:uuid;primaryKey"`
	TenantID string `gorm:"type:uuid"`
	State    string `gorm:"check:state IN ('new','old')"`
}

var all = []any{&Project{}, &Charter{}, &Comment{}, &Label{}, &Board{}, &Pin{}, &Task{}, &Asset{}, &Flag{}, &Memo{}}

var schema = pgtest.Template{Name: "kit", Build: func(owner *gorm.DB) error {
	return errors.Join(joinTable(owner), owner.AutoMigrate(append(all, &ProjectLabel{})...))
}}

func joinTable(db *gorm.DB) error {
	return errors.Join(db.SetupJoinTable(&Project{}, "Labels", &ProjectLabel{}), db.SetupJoinTable(&Label{}, "Projects", &ProjectLabel{}))
}

// open returns a handle of the app's role with the plugins.
func open(t *testing.T, db *pgtest.DB, plugins ...gorm.Plugin) *gorm.DB {
	t.Helper()
	if err := joinTable(db.App); err != nil {
		t.Fatal(err)
	}
	for _, plugin := range plugins {
		if err := db.App.Use(plugin); err != nil {
			t.Fatal(err)
		}
	}
	return db.App
}

// fill returns a Config.Fill that makes assets differ, for a change to show.
func fill() func(row any) {
	n := 0
	return func(row any) {
		if asset, ok := row.(*Asset); ok {
			n++
			asset.State = []string{"new", "old"}[n%2]
		}
	}
}

func TestRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	tenancytest.Config{Fill: fill()}.Run(t, open(t, db, tenancy.New(tenancy.Config{})), all...)
	nothingLeft(t, db.Owner)
}

// Without the plugin every scenario finds its hole.
func TestRun_NoPlugin(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	for name, err := range tenancytest.Failures(t, tenancytest.Config{Fill: fill()}, open(t, db), all...) {
		// A Pin is all key: there is nothing to update, nor to overwrite.
		if err == nil && !slices.Contains([]string{"Pin/update_all", "Pin/update_by_key", "Pin/upsert_key", "Pin/save_key"}, name) {
			t.Errorf("%s found nothing", name)
		}
	}
}

// naive is the usual plugin of callbacks: a condition before queries, updates
// and deletes, and the tenant set before creates.
type naive struct{}

func (naive) Name() string { return "naive" }

func (naive) Initialize(db *gorm.DB) error {
	filter := func(db *gorm.DB) {
		tenant, err := tenancy.FromContext(db.Statement.Context)
		if err != nil {
			_ = db.AddError(tenancy.ErrNoTenant)
			return
		}
		db.Where("tenant_id = ?", tenant)
	}
	stamp := func(db *gorm.DB) {
		tenant, err := tenancy.FromContext(db.Statement.Context)
		if err != nil {
			_ = db.AddError(tenancy.ErrNoTenant)
			return
		}
		db.Statement.SetColumn("TenantID", tenant, true)
	}
	return errors.Join(
		db.Callback().Query().Before("gorm:query").Register("naive:query", filter),
		db.Callback().Update().Before("gorm:update").Register("naive:update", filter),
		db.Callback().Delete().Before("gorm:delete").Register("naive:delete", filter),
		db.Callback().Create().Before("gorm:create").Register("naive:create", stamp),
	)
}

func TestRun_NaivePlugin(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	found := tenancytest.Failures(t, tenancytest.Config{}, open(t, db, naive{}), &Project{})
	for name, wantHole := range map[string]bool{
		"find": false, "count": false, "find_by_key": false, "update_by_key": false, "delete_by_key": false,
		"preload_Labels": false,
		"or":             true, "rows": true, "save_row": true, "save_key": true, "upsert_key": true, "move_to_other": true, "create_for_other": true,
	} {
		if err := found["Project/"+name]; (err != nil) != wantHole {
			t.Errorf("%s: error %v, want a hole: %t", name, err, wantHole)
		}
	}
}

func TestRun_CannotSeed(t *testing.T) {
	t.Parallel()
	type Loose struct{ ID uint }
	db := pgtest.New(t, schema)
	for name, c := range map[string]struct {
		model any
		want  []string
	}{
		"Check":          {&Asset{}, []string{"model Asset", `column "state"`, "Config.Fill"}},
		"NoTenantColumn": {&Loose{}, []string{"model Loose", `no column "tenant_id"`, "Config.Shared"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := tenancytest.OpenError(tenancytest.Config{}, db.App, c.model)
			for _, want := range c.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

// Where a foreign key wants the tenants to exist, the app names two that do.
func TestRun_Tenants(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	if err := db.Owner.Exec(`CREATE TABLE customers (id text PRIMARY KEY); INSERT INTO customers VALUES ('one'), ('two');
		ALTER TABLE comments ADD FOREIGN KEY (tenant_id) REFERENCES customers`).Error; err != nil {
		t.Fatal(err)
	}
	app := open(t, db, tenancy.New(tenancy.Config{}))
	if err := tenancytest.OpenError(tenancytest.Config{}, app, &Comment{}); err == nil || !strings.Contains(err.Error(), "Config.Tenants") {
		t.Errorf("error %v, want one that names Config.Tenants", err)
	}
	tenancytest.Config{Tenants: [2]string{"one", "two"}}.Run(t, app, &Comment{})
}

// Composite foreign keys make the links impossible along which a scenario would
// go, and the kit says so.
func TestRun_CompositeKeys(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	if err := db.Owner.Exec(`ALTER TABLE projects ADD UNIQUE (tenant_id, id); ALTER TABLE labels ADD UNIQUE (tenant_id, id);
		ALTER TABLE charters ADD FOREIGN KEY (tenant_id, project_id) REFERENCES projects (tenant_id, id);
		ALTER TABLE project_labels ADD FOREIGN KEY (tenant_id, label_id) REFERENCES labels (tenant_id, id)`).Error; err != nil {
		t.Fatal(err)
	}
	notes := tenancytest.Notes(t, tenancytest.Config{}, open(t, db, tenancy.New(tenancy.Config{})), &Project{}, &Pin{})
	for _, name := range []string{"Project/preload_Charter", "Project/joins_Charter", "Project/preload_Labels", "Pin/update_all"} {
		if notes[name] == "" {
			t.Errorf("%s: no note, though it could not be tested", name)
		}
		delete(notes, name)
	}
	delete(notes, "Pin/update_by_key")
	if len(notes) > 0 {
		t.Errorf("could not be tested: %v", notes)
	}
}
