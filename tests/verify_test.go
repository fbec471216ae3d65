package tests

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

type VProject struct {
	ID       int64
	TenantID string
	Tasks    []VTask  `gorm:"foreignKey:ProjectID"`
	Labels   []VLabel `gorm:"many2many:v_project_labels"`
}

type VTask struct{ ID, ProjectID int64 }

type VLabel struct {
	ID       int64
	TenantID int64
}

type VNote struct {
	ID        int64
	ProjectID int64
	Project   VProject
}

type VLoose struct{ ID int64 }

func TestVerify(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	must(t, db.Owner.Exec(`CREATE TABLE v_projects (id bigint, tenant_id text); CREATE TABLE v_labels (id bigint, tenant_id text);
		CREATE TABLE v_forgotten (id bigint, tenant_id text); CREATE TABLE v_parts (tenant_id text) PARTITION BY LIST (tenant_id);
		CREATE TABLE v_parts_hal PARTITION OF v_parts FOR VALUES IN ('hal'); CREATE TABLE v_jobs (tenant_id text);
		CREATE SCHEMA elsewhere; CREATE TABLE elsewhere.v_unseen (tenant_id text)`).Error)
	if err := tenancy.Verify(t.Context(), db.App); !errors.Is(err, tenancy.ErrNotInstalled) {
		t.Errorf("without the plugin: %v, want ErrNotInstalled", err)
	}
	rules := rules
	rules.Shared = append(slices.Clone(rules.Shared), "v_jobs")
	use(t, db.App, tenancy.New(tenancy.Config{Rules: rules}))
	err := tenancy.Verify(t.Context(), db.App, &VProject{}, &VNote{}, &VLoose{})
	want := []struct {
		table, says string
		kind        error
	}{
		{"v_forgotten", "", tenancy.ErrNoModel},
		{"v_jobs", "", tenancy.ErrTenantColumn},
		{"v_labels", "", tenancy.ErrTenantColumn},
		{"v_looses", "", tenancy.ErrUnclassified},
		{"v_notes", "hangs on tenant-owned v_projects", tenancy.ErrUnclassified},
		{"v_parts", "", tenancy.ErrNoModel},
		{"v_project_labels", "hangs on tenant-owned v_labels, v_projects", tenancy.ErrUnclassified},
		{"v_tasks", "hangs on tenant-owned v_projects", tenancy.ErrUnclassified},
	}
	all, ok := err.(interface{ Unwrap() []error })
	if !ok || len(all.Unwrap()) != len(want) {
		t.Fatalf("faults:\n%v", err)
	}
	for i, fault := range all.Unwrap() {
		var s *tenancy.StatementError
		if !errors.As(fault, &s) || s.Table != want[i].table || !errors.Is(fault, want[i].kind) || !strings.Contains(fault.Error(), want[i].says) {
			t.Errorf("fault %d: %v, want %s: %v %s", i, fault, want[i].table, want[i].kind, want[i].says)
		}
	}
}

// A tenant column that takes two ids for the same keeps no tenants apart.
func TestVerify_LaxColumns(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	super := db.Open(postgres.Open(db.SuperDSN), nil)
	must(t, super.Exec(`CREATE EXTENSION citext; CREATE DOMAIN tenant AS text;
		CREATE COLLATION lax (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`).Error)
	for column, want := range map[string]error{
		"citext": tenancy.ErrTenantColumn, "char(10)": tenancy.ErrTenantColumn, "text COLLATE lax": tenancy.ErrTenantColumn,
		"text": nil, "varchar(20)": nil, `text COLLATE "C"`: nil, "tenant": nil,
	} {
		must(t, super.Exec("DROP TABLE IF EXISTS v_laxes; CREATE TABLE v_laxes (id bigint, tenant_id "+column+")").Error)
		type VLax struct {
			ID       int64
			TenantID string
		}
		app := db.OpenApp(nil)
		use(t, app, tenancy.New(tenancy.Config{Rules: rules}))
		if err := tenancy.Verify(t.Context(), app, &VLax{}); want == nil && err != nil || !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", column, err, want)
		}
	}
}

// A join model may be set up after the plugin has read the models.
func TestVerify_JoinTableSetUpLater(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	use(t, db.App, tenancy.New(tenancy.Config{Rules: tenancy.Rules{Models: []any{&MRoom{}}}}))
	if err := tenancy.Verify(t.Context(), db.App); !errors.Is(err, tenancy.ErrUnclassified) || !strings.Contains(err.Error(), "m_room_tags") {
		t.Errorf("without a join model: %v, want ErrUnclassified of m_room_tags", err)
	}
	must(t, db.App.SetupJoinTable(&MRoom{}, "Tags", &MRoomTag{}))
	if err := tenancy.Verify(t.Context(), db.App); err != nil && strings.Contains(err.Error(), "m_room_tags") {
		t.Errorf("with a join model: %v", err)
	}
}

func TestVerify_Clean(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := tenancy.Verify(t.Context(), b.app, &Page{}, &Author{}, &Country{}); err != nil {
		t.Errorf("%v", err)
	}
	_ = b.app.Callback().Raw().Remove("tenancy:guard_raw")
	if err := tenancy.Verify(t.Context(), b.app.Session(&gorm.Session{}), &Page{}); !errors.Is(err, tenancy.ErrDisplaced) {
		t.Errorf("with displaced callbacks: %v, want ErrDisplaced", err)
	}
}
