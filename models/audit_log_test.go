package models_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"gorm.io/datatypes"

	"github.com/courtroll/courtroll/models"
)

func TestCreateAuditLog(t *testing.T) {
	t.Parallel()

	t.Run("of required fields takes the defaults", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		app := db.OpenApp(wrongClock())
		begin := clock(t, app)
		entry := models.NewAuditLog{Action: "user.login", ResourceType: "users"}
		create(t, app, &entry)
		end := clock(t, app)

		if entry.ID == nil || *entry.ID == uuid.Nil {
			t.Fatalf("got id %v, want one of the database's", entry.ID)
		}
		got := find[models.AuditLog](t, db.App, *entry.ID)
		between(t, "created_at", got.CreatedAt, begin, end)
		want := models.AuditLog{ID: *entry.ID, Action: "user.login", ResourceType: "users", CreatedAt: got.CreatedAt}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("as a row does not take the app's clock", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		app := db.OpenApp(wrongClock())
		begin := clock(t, app)
		entry := models.AuditLog{ID: uuid.Must(uuid.NewV7()), Action: "create", ResourceType: "things"}
		create(t, app, &entry)
		between(t, "created_at", find[models.AuditLog](t, db.App, entry.ID).CreatedAt, begin, clock(t, app))
	})

	t.Run("with every field keeps them", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		id, at := uuid.Must(uuid.NewV7()), time.Date(2020, 2, 3, 4, 5, 6, 7000, time.UTC)
		metadata := datatypes.JSON(`{"changes": {"name": {"new": "b", "old": "a"}}}`)
		create(t, db.App, &models.NewAuditLog{ID: &id, ActorID: ptr("u"), TenantID: ptr("t"), Action: "update",
			ResourceType: "things", ResourceID: ptr("1"), IPAddress: ptr("2001:db8::1"), Metadata: &metadata, CreatedAt: &at})
		want := models.AuditLog{ID: id, ActorID: ptr("u"), TenantID: ptr("t"), Action: "update",
			ResourceType: "things", ResourceID: ptr("1"), IPAddress: ptr("2001:db8::1"), Metadata: &metadata, CreatedAt: at}
		if diff := cmp.Diff(want, find[models.AuditLog](t, db.App, id)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("in a batch of given and default values", func(t *testing.T) {
		t.Parallel()
		db := setup(t)
		id, at := uuid.Must(uuid.NewV7()), time.Date(2020, 2, 3, 4, 5, 6, 0, time.UTC)
		batch := []models.NewAuditLog{
			{Action: "a", ResourceType: "r"},
			{ID: &id, ActorID: ptr("u"), TenantID: ptr("t"), Action: "b", ResourceType: "r", CreatedAt: &at},
			{Action: "c", ResourceType: "r", ResourceID: ptr("3")},
		}
		create(t, db.App, &batch)
		var got []models.AuditLog
		if err := db.App.Order("action").Find(&got).Error; err != nil || len(got) != 3 {
			t.Fatalf("got %d rows, %v", len(got), err)
		}
		want := []models.AuditLog{
			{ID: got[0].ID, Action: "a", ResourceType: "r", CreatedAt: got[0].CreatedAt},
			{ID: id, ActorID: ptr("u"), TenantID: ptr("t"), Action: "b", ResourceType: "r", CreatedAt: at},
			{ID: got[2].ID, Action: "c", ResourceType: "r", ResourceID: ptr("3"), CreatedAt: got[2].CreatedAt},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for i, row := range got {
			if batch[i].ID == nil || *batch[i].ID != row.ID {
				t.Errorf("row %s: the caller's value has id %v, the table %s", row.Action, batch[i].ID, row.ID)
			}
		}
		if got[0].CreatedAt.Equal(got[2].CreatedAt) {
			t.Error("two rows of one statement have one time: the default is the transaction's")
		}
	})
}

func TestReadAuditLogOfPlainSQL(t *testing.T) {
	t.Parallel()
	db := setup(t)
	if err := db.App.Exec(`INSERT INTO audit_logs (action, resource_type) VALUES ('a', 'r')`).Error; err != nil {
		t.Fatal(err)
	}
	var got models.AuditLog
	if err := db.App.Take(&got).Error; err != nil {
		t.Fatal(err)
	}
	want := models.AuditLog{ID: got.ID, Action: "a", ResourceType: "r", CreatedAt: got.CreatedAt}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got.ID.Version() != 4 || got.CreatedAt.IsZero() {
		t.Errorf("got id %s of version %d, time %s", got.ID, got.ID.Version(), got.CreatedAt)
	}
}
