package plan_test

import (
	"reflect"
	"sync"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
	"gorm.io/gorm/utils/tests"

	"github.com/courtroll/courtroll/internal/plan"
)

func parse(t *testing.T, model any) *schema.Schema {
	t.Helper()
	s, err := schema.Parse(model, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type Project struct {
	ID       int64
	TenantID string
	Tasks    []Task
}

type Task struct {
	ID        int64
	ProjectID int64
	TenantID  uuid.UUID
}

type smallProject struct{ ID int64 }

func (smallProject) TableName() string { return "projects" }

type Country struct{ Code string }

func registry(t *testing.T, rules plan.Rules) *plan.Registry {
	t.Helper()
	db, err := gorm.Open(tests.DummyDialector{}, &gorm.Config{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := plan.NewRegistry(db, rules)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	r := registry(t, plan.Rules{Models: []any{&Project{}}, Shared: []any{"public.colours"}})
	for name, want := range map[string]plan.Class{
		"projects": plan.Owned, "tasks": plan.Owned, "tenants": plan.Owned, "audit_logs": plan.Trail,
		"colours": plan.Shared, "countries": plan.Unclassified,
	} {
		if got, _ := r.Lookup(name); got.Class != want {
			t.Errorf("%s: class %d, want %d", name, got.Class, want)
		}
	}
	if tenants, _ := r.Lookup("tenants"); tenants.Column != "id" {
		t.Errorf("tenants is owned by %q, want its id", tenants.Column)
	}
}

func TestRegistry_OwnedStaysOwned(t *testing.T) {
	t.Parallel()
	for name, learn := range map[string][]any{"owner first": {&Project{}, &smallProject{}}, "owner last": {&smallProject{}, &Project{}}} {
		r := registry(t, plan.Rules{})
		for _, model := range learn {
			r.Learn(parse(t, model))
		}
		if got, _ := r.Lookup("projects"); got.Class != plan.Owned {
			t.Errorf("%s: class %d, want owned", name, got.Class)
		}
	}
}

func TestRegistry_TenantColumn(t *testing.T) {
	t.Parallel()
	type Invoice struct{ ID, OrgID int64 }
	r := registry(t, plan.Rules{TenantColumn: "org_id", Models: []any{&Invoice{}, &Country{}}})
	invoices, _ := r.Lookup("invoices")
	if invoices.Class != plan.Owned || invoices.Column != "org_id" {
		t.Errorf("invoices: %+v", invoices)
	}
}

func TestTable_Value(t *testing.T) {
	t.Parallel()
	id := uuid.MustParse("0190d3a4-0000-7000-8000-000000000001")
	type byText struct{ TenantID *string }
	type byInt struct{ TenantID int64 }
	type byUUID struct{ TenantID uuid.UUID }
	type byUUIDText struct {
		TenantID string `gorm:"type:uuid"`
	}
	for _, tc := range []struct {
		model  any
		id     string
		value  any // nil for a refusal
		same   any
		other  any
		absent any
	}{
		{&byText{}, "acme", "acme", "acme", "hal", ""},
		{&byInt{}, "42", int64(42), 42, 43, 0},
		{&byInt{}, "042", nil, nil, nil, nil},
		{&byInt{}, "x", nil, nil, nil, nil},
		{&byUUID{}, id.String(), id.String(), id, uuid.New(), uuid.Nil},
		{&byUUIDText{}, id.String(), id.String(), "0190D3A4-0000-7000-8000-000000000001", "x", ""},
		{&byUUID{}, "0190D3A4-0000-7000-8000-000000000001", nil, nil, nil, nil},
	} {
		r := registry(t, plan.Rules{})
		s := parse(t, tc.model)
		r.Learn(s)
		table, _ := r.Lookup(s.Table)
		value, err := table.Value(tc.id)
		if (err == nil) != (tc.value != nil) || err == nil && !reflect.DeepEqual(value, tc.value) {
			t.Errorf("%T: Value(%q) = %v, %v", tc.model, tc.id, value, err)
		}
		if tc.value == nil {
			continue
		}
		for given, want := range map[any]plan.Match{tc.same: plan.Same, tc.other: plan.Foreign, tc.absent: plan.Absent} {
			if got := table.Compare(given, tc.id); got != want {
				t.Errorf("%T: Compare(%v) = %d, want %d", tc.model, given, got, want)
			}
		}
		if table.Compare(nil, tc.id) != plan.Absent || table.Compare(gorm.Expr("x"), tc.id) != plan.Foreign {
			t.Errorf("%T: nil or an expression is misjudged", tc.model)
		}
	}
}

func TestCompileAudited(t *testing.T) {
	t.Parallel()
	type Account struct {
		ID           int64
		Name         string
		PasswordHash string
		APIKey       string
		Token2       string
		Camel        string `gorm:"column:userPassword"`
		Camel2       string `gorm:"column:accessToken"`
		Joined       string `gorm:"column:passwordhash"`
		Spinning     bool
		ResetToken   string `audit:"keep"`
		Note         string `audit:"redact"`
		Cache        string `audit:"-"`
		Phone        string `audit:"hash"`
		SecretNote   string `audit:"cut=100"`
		Total        int64  `gorm:"->;-:migration"`
		DeletedAt    gorm.DeletedAt
	}
	a, err := plan.CompileAudited(parse(t, &Account{}), plan.Table{Name: "accounts"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]plan.Treatment{}
	for _, c := range a.Columns {
		got[c.Name] = c.Treatment
	}
	want := map[string]plan.Treatment{
		"id": plan.Keep, "name": plan.Keep, "password_hash": plan.Redact, "api_key": plan.Redact, "token2": plan.Redact, "userPassword": plan.Redact, "accessToken": plan.Redact, "passwordhash": plan.Redact, "spinning": plan.Keep,
		"reset_token": plan.Keep, "note": plan.Redact, "deleted_at": plan.Keep, "cache": plan.Omit, "phone": plan.Hash, "secret_note": plan.Keep, "total": plan.Keep,
	}
	if !reflect.DeepEqual(got, want) || a.DeletedAt != "deleted_at" {
		t.Errorf("got %v, %q", got, a.DeletedAt)
	}

	if limit := a.Column("secret_note").Limit; limit != 100 || a.Column("no_such_token").Treatment != plan.Redact {
		t.Errorf("limit %d; a column that no model has: %v", limit, a.Column("no_such_token"))
	}

	type Unknown struct {
		ID   int64
		Name string `audit:"hide"`
	}
	type Limitless struct {
		ID   int64
		Name string `audit:"cut=0"`
	}
	for _, wrong := range []any{&Unknown{}, &Limitless{}} {
		if _, err := plan.CompileAudited(parse(t, wrong), plan.Table{}); err == nil {
			t.Errorf("the tag of %T was accepted", wrong)
		}
	}
}
