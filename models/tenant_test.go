package models_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/models"
)

func TestCreateTenant(t *testing.T) {
	t.Parallel()

	t.Run("inactive stores inactive", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		create(t, db.App, &models.Tenant{ID: "row", Name: "Row", Slug: "row", IsActive: false, Plan: "free"})
		create(t, db.App, &models.NewTenant{ID: "new", Name: "New", Slug: "new", IsActive: ptr(false)})
		create(t, db.App, &[]models.Tenant{{ID: "a", Name: "A", Slug: "a", IsActive: true}, {ID: "b", Name: "B", Slug: "b"}})
		for id, want := range map[string]bool{"row": false, "new": false, "a": true, "b": false} {
			if got := find[models.Tenant](t, db.App, id).IsActive; got != want {
				t.Errorf("%s: got active %t, want %t", id, got, want)
			}
		}
	})

	t.Run("of required fields takes the defaults", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		app := db.OpenApp(wrongClock())
		begin := clock(t, app)
		tenant := models.NewTenant{ID: "t", Name: "T", Slug: "t-slug"}
		create(t, app, &tenant)
		end := clock(t, app)

		got := find[models.Tenant](t, db.App, "t")
		between(t, "created_at", got.CreatedAt, begin.Add(-time.Millisecond), end)
		between(t, "updated_at", got.UpdatedAt, begin.Add(-time.Millisecond), end)
		want := models.Tenant{ID: "t", Name: "T", Slug: "t-slug", IsActive: true, Plan: "free",
			CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		returned := models.NewTenant{ID: "t", Name: "T", Slug: "t-slug", IsActive: &want.IsActive, Plan: &want.Plan,
			CreatedAt: &want.CreatedAt, UpdatedAt: &want.UpdatedAt}
		if diff := cmp.Diff(returned, tenant); diff != "" {
			t.Errorf("the caller's value should have the defaults now: %s", diff)
		}
	})

	t.Run("with every field keeps them", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		at := time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
		create(t, db.App, &models.NewTenant{ID: "t", Name: "T", Slug: "s", Domain: ptr("t.example"), Logo: ptr("https://t.example/logo"),
			IsActive: ptr(true), Plan: ptr("gold"), CreatedAt: &at, UpdatedAt: ptr(at.Add(time.Hour))})
		want := models.Tenant{ID: "t", Name: "T", Slug: "s", Domain: ptr("t.example"), Logo: ptr("https://t.example/logo"),
			IsActive: true, Plan: "gold", CreatedAt: at, UpdatedAt: at.Add(time.Hour)}
		if diff := cmp.Diff(want, find[models.Tenant](t, db.App, "t")); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("in a batch of given and default values", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		create(t, db.App, &[]models.NewTenant{
			{ID: "a", Name: "A", Slug: "a"},
			{ID: "b", Name: "B", Slug: "b", Domain: ptr("b.example"), IsActive: ptr(false), Plan: ptr("gold")},
			{ID: "c", Name: "C", Slug: "c", IsActive: ptr(true)},
		})
		want := map[string]models.Tenant{
			"a": {ID: "a", Name: "A", Slug: "a", IsActive: true, Plan: "free"},
			"b": {ID: "b", Name: "B", Slug: "b", Domain: ptr("b.example"), Plan: "gold"},
			"c": {ID: "c", Name: "C", Slug: "c", IsActive: true, Plan: "free"},
		}
		for id, want := range want {
			got := find[models.Tenant](t, db.App, id)
			want.CreatedAt, want.UpdatedAt = got.CreatedAt, got.UpdatedAt
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: %s", id, diff)
			}
			if got.CreatedAt.IsZero() || got.UpdatedAt.IsZero() {
				t.Errorf("%s: no time: %+v", id, got)
			}
		}
	})
}

func TestReadTenantOfPlainSQL(t *testing.T) {
	t.Parallel()
	db := setup(t)
	if err := db.App.Exec(`INSERT INTO tenants (id, name, slug) VALUES ('t', 'T', 's')`).Error; err != nil {
		t.Fatal(err)
	}
	got := find[models.Tenant](t, db.App, "t")
	want := models.Tenant{ID: "t", Name: "T", Slug: "s", IsActive: true, Plan: "free", CreatedAt: got.CreatedAt, UpdatedAt: got.UpdatedAt}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUpdateTenant(t *testing.T) {
	t.Parallel()
	db := setup(t)
	at := time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
	create(t, db.App, &models.Tenant{ID: "t", Name: "T", Slug: "s", IsActive: true, Plan: "free", CreatedAt: at, UpdatedAt: at})
	if err := db.App.Model(&models.Tenant{ID: "t"}).Update("is_active", false).Error; err != nil {
		t.Fatal(err)
	}
	got := find[models.Tenant](t, db.App, "t")
	if got.IsActive || !got.CreatedAt.Equal(at) || !got.UpdatedAt.After(at) {
		t.Errorf("got %+v, want it inactive, updated now, created then", got)
	}
}

func TestTenantSlugIsUnique(t *testing.T) {
	t.Parallel()
	db := setup(t)
	create(t, db.App, &models.NewTenant{ID: "a", Name: "A", Slug: "s"})
	if err := db.App.Create(&models.NewTenant{ID: "b", Name: "B", Slug: "s"}).Error; err == nil {
		t.Error("a second tenant got the slug")
	}
}
