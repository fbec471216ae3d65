// Package plugins tests courtroll beside other plugins for GORM. It is a module
// of its own, so that what they depend on stays out of the library's go.mod.
package plugins

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	"gorm.io/plugin/dbresolver"
	"gorm.io/plugin/opentelemetry/tracing"
	"gorm.io/plugin/prometheus"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// Folder has Notes, and both are owned by tenants.
type Folder struct {
	ID       int64
	TenantID string
	Name     string
	Notes    []Note
}

// Note lies in a Folder.
type Note struct {
	ID       int64
	TenantID string
	Body     string
	FolderID *int64
	Folder   *Folder
}

var schema = pgtest.Template{Name: "schema", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	return owner.AutoMigrate(&Folder{}, &Note{})
}}

// others are the plugins beside ours, for a database of the test.
var others = map[string]func(db *pgtest.DB) gorm.Plugin{
	"dbresolver": func(db *pgtest.DB) gorm.Plugin {
		return dbresolver.Register(dbresolver.Config{Replicas: []gorm.Dialector{postgres.Open(db.AppDSN)}})
	},
	"dbresolver_of_models": func(db *pgtest.DB) gorm.Plugin {
		return dbresolver.Register(dbresolver.Config{
			Sources: []gorm.Dialector{postgres.Open(db.AppDSN)}, Replicas: []gorm.Dialector{postgres.Open(db.AppDSN)},
		}, &Note{}, "folders")
	},
	"opentelemetry": func(*pgtest.DB) gorm.Plugin { return tracing.NewPlugin() },
	"prometheus": func(*pgtest.DB) gorm.Plugin {
		return prometheus.New(prometheus.Config{DBName: "test", RefreshInterval: 3600})
	},
}

func TestBeside(t *testing.T) {
	t.Parallel()
	for name, other := range others {
		for place := range 3 { // before, between and after ours
			for _, auditFirst := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/place=%d/auditFirst=%t", name, place, auditFirst), func(t *testing.T) {
					t.Parallel()
					db := pgtest.New(t, schema)
					r := tenancy.Rules{Models: []any{&Note{}, &Folder{}}}
					plugins := []gorm.Plugin{tenancy.New(tenancy.Config{Rules: r}), audit.New(audit.Config{Rules: r})}
					if auditFirst {
						plugins[0], plugins[1] = plugins[1], plugins[0]
					}
					plugins = append(plugins[:place:place], append([]gorm.Plugin{other(db)}, plugins[place:]...)...)
					var err error
					for _, p := range plugins {
						err = errors.Join(err, db.App.Use(p))
					}
					// dbresolver initialises the plugins that it finds once more: it comes first.
					if late := strings.HasPrefix(name, "dbresolver") && place > 0; late {
						if err == nil {
							t.Error("no error")
						}
						return
					}
					must(t, err)
					basics(t, db.App)
				})
			}
		}
	}
}

// basics goes through reads and writes of two tenants that have like rows.
func basics(t *testing.T, app *gorm.DB) {
	t.Helper()
	acmes := app.WithContext(tenancy.WithTenant(t.Context(), "acme"))
	halCtx := tenancy.WithTenant(t.Context(), "hal")
	hal := app.WithContext(halCtx)
	acme := Folder{Name: "f", Notes: []Note{{Body: "acme secret"}}}
	own := Folder{Name: "f", Notes: []Note{{Body: "hal text"}}}
	must(t, acmes.Create(&acme).Error)
	must(t, hal.Create(&own).Error)

	var notes []Note
	must(t, hal.Joins("Folder").Or("1 = 1").Find(&notes).Error)
	if len(notes) != 1 || notes[0].Body != "hal text" || notes[0].Folder == nil || notes[0].Folder.ID != own.ID {
		t.Errorf("joins: %+v", notes)
	}
	var folders []Folder
	must(t, hal.Preload("Notes", "1 = 1").Find(&folders).Error)
	if len(folders) != 1 || len(folders[0].Notes) != 1 || folders[0].Notes[0].Body != "hal text" {
		t.Errorf("preload: %+v", folders)
	}
	var count, rows int64
	must(t, hal.Model(&Note{}).Count(&count).Error)
	must(t, hal.Model(&Note{}).Select("count(*)").Row().Scan(&rows))
	if count != 1 || rows != 1 {
		t.Errorf("count sees %d rows and Row %d, want 1 each", count, rows)
	}
	if err := hal.Raw("SELECT * FROM notes").Scan(&notes).Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
		t.Errorf("raw: %v, want ErrOpaqueSQL", err)
	}
	writes(t, hal, own.Notes[0], acme.Notes[0].ID)

	if err := app.WithContext(context.Background()).Find(&notes).Error; !errors.Is(err, tenancy.ErrNoTenant) {
		t.Errorf("without a tenant: %v, want ErrNoTenant", err)
	}
	must(t, acmes.Find(&notes).Error)
	if len(notes) != 1 || notes[0].Body != "acme secret" {
		t.Errorf("acme's rows are now %+v", notes)
	}
	page, err := audit.List(halCtx, app, audit.Filter{}, "")
	must(t, err)
	if len(page.Entries) != 6 {
		t.Errorf("%d entries, want 2 creates, 3 updates and 1 delete", len(page.Entries))
	}
}

func writes(t *testing.T, hal *gorm.DB, note Note, foreign int64) {
	t.Helper()
	changed := hal.Model(&Note{}).Where("id = ?", foreign).Update("body", "stolen")
	deleted := hal.Delete(&Note{}, foreign)
	if errors.Join(changed.Error, deleted.Error) != nil || changed.RowsAffected+deleted.RowsAffected != 0 {
		t.Errorf("foreign rows: update %d %v, delete %d %v", changed.RowsAffected, changed.Error, deleted.RowsAffected, deleted.Error)
	}
	for name, err := range map[string]error{
		"save":   hal.Save(&Note{ID: foreign, Body: "stolen"}).Error,
		"upsert": hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Note{ID: foreign, Body: "stolen"}).Error,
	} {
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("%s of a foreign row: %v, want ErrDuplicatedKey", name, err)
		}
	}
	must(t, hal.Model(&note).Update("body", "new").Error)
	note.Body = "saved"
	must(t, hal.Save(&note).Error)
	must(t, hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Note{ID: note.ID, Body: "upserted"}).Error)
	must(t, hal.Delete(&note).Error)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
