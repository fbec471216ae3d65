package tests

import (
	"context"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// TestCaptured_ByHand: SQL written by hand, and writes of a table without a model,
// go through where triggers capture the table, and leave their entries with the
// actor and the request, also where the driver does not bind them.
func TestCaptured_ByHand(t *testing.T) {
	t.Parallel()
	eachWall(t, func(t *testing.T, w walls) {
		b := w.with(t, false, nil, nil)
		seed(t, b)
		m := migrate.New(b.Owner, migrate.Config{Rules: rules})
		_, err := m.CaptureByTrigger(t.Context(), &Author{})
		must(t, err)
		b.forget(t)
		hal := b.as(b.hal)
		byHand := func(db *gorm.DB, name string) error {
			return db.Exec("UPDATE authors SET name = ? WHERE tenant_id = 'hal'", name).Error
		}
		if !w.all {
			hal = b.as(tenancy.AsSystem(b.hal, "by hand")) // outside of it the tenancy plugin refuses it
		}
		must(t, byHand(hal, "x"))
		must(t, hal.Session(&gorm.Session{SkipDefaultTransaction: true, PrepareStmt: true}).Raw("UPDATE authors SET name = 'y' WHERE tenant_id = 'hal' RETURNING *").Find(&[]Author{}).Error)
		must(t, hal.Transaction(func(tx *gorm.DB) error {
			rows, err := tx.Raw("UPDATE authors SET name = 'z' WHERE tenant_id = 'hal' RETURNING id").Rows()
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				continue
			}
			return rows.Err()
		}))
		failed := errors.New("failed")
		must(t, ignore(hal.Transaction(func(tx *gorm.DB) error { return errors.Join(byHand(tx, "lost"), failed) }), failed))
		must(t, b.as(b.hal).Model(&Author{}).Where("1=1").Update("name", "by GORM").Error)
		id := b.text(t, "SELECT id::text FROM authors WHERE tenant_id = 'hal'")
		b.wantTrail(t,
			`update authors `+id+`: name "hal author"→"x"`, `update authors `+id+`: name "x"→"y"`,
			`update authors `+id+`: name "y"→"z"`, `update authors `+id+`: name "z"→"by GORM"`)
		for _, e := range b.trail(t) {
			if deref(e.ActorID) != "u_1" || deref(e.TenantID) != "hal" || metadata(t, e)["request_id"] != "r_1" {
				t.Errorf("actor %s, tenant %s, %v", deref(e.ActorID), deref(e.TenantID), metadata(t, e))
			}
		}

		must(t, b.Owner.Exec("ALTER TABLE authors DISABLE TRIGGER courtroll_capture_update").Error)
		if err := byHand(hal, "unseen"); !errors.Is(err, audit.ErrUnaudited) {
			t.Errorf("with a trigger disabled: %v, want ErrUnaudited", err)
		}
		if !w.all { // the rows would be read when the transaction that tells the actor is over
			err := hal.Raw("UPDATE authors SET name = 'x' RETURNING id").Row().Scan(new(int))
			if !errors.Is(err, audit.ErrUnaudited) {
				t.Errorf("Row outside of a transaction: %v, want ErrUnaudited", err)
			}
		}
	})
}

// TestCaptured_ByName writes a table of which no model is known.
func TestCaptured_ByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := migrate.New(b.Owner, migrate.Config{}).CaptureByTrigger(t.Context(), &Country{})
	must(t, err)
	app := b.OpenApp(&gorm.Config{})
	use(t, app, audit.New(audit.Config{RequireActor: true}))
	must(t, app.WithContext(b.hal).Table("countries").Create(map[string]any{"code": "no", "name": "Norway"}).Error)
	must(t, app.WithContext(b.hal).Table("countries").Where("code = 'no'").Updates(map[string]any{"name": "Norge"}).Error)
	b.wantTrail(t, `create countries no: code null→"no", name null→"Norway"`, `update countries no: name "Norway"→"Norge"`)
	if e := b.trail(t)[1]; deref(e.ActorID) != "u_1" {
		t.Errorf("actor %s", deref(e.ActorID))
	}
	if err := app.WithContext(context.Background()).Exec("DELETE FROM countries").Error; !errors.Is(err, audit.ErrNoActor) {
		t.Errorf("without an actor: %v, want ErrNoActor", err)
	}
	if err := app.WithContext(b.hal).Table("authors").Where("1=1").Updates(map[string]any{"name": "x"}).Error; !errors.Is(err, audit.ErrUnaudited) {
		t.Errorf("a table without trigger or model: %v, want ErrUnaudited", err)
	}
}
