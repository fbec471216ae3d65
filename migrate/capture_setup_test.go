package migrate_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"gorm.io/datatypes"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// Sheet has a column of each treatment and of many types. It refers to itself.
type Sheet struct {
	ID        int64
	TenantID  string `gorm:"not null"`
	Code      string `gorm:"uniqueIndex"`
	Title     string
	Views     int
	APIToken  string
	Draft     string     `audit:"-"`
	Mood      string     `audit:"redact"`
	Phone     string     `audit:"hash"`
	Body      string     `audit:"cut=20"`
	Amount    *string    `gorm:"type:numeric"`
	Ratio     *float64   //
	At        *time.Time //
	Day       *time.Time `gorm:"type:date"`
	Wall      *time.Time `gorm:"type:timestamp"`
	Raw       []byte
	Doc       *datatypes.JSON
	Old       *string `gorm:"type:json"`
	Labels    *string `gorm:"type:text[]"`
	Place     *string `gorm:"type:point"`
	Flag      *bool
	UpdatedAt time.Time
	DeletedAt gorm.DeletedAt
	ParentID  *int64
	Parent    *Sheet `gorm:"constraint:OnDelete:CASCADE,OnUpdate:CASCADE"`
	FolderID  *int64
	Folder    *Folder `gorm:"constraint:OnDelete:CASCADE,OnUpdate:CASCADE"`
}

// Folder is what sheets are in.
type Folder struct {
	ID       int64
	TenantID string `gorm:"not null"`
	Name     string
}

// Tie has a key of two columns.
type Tie struct {
	TenantID string `gorm:"primaryKey"`
	Number   int    `gorm:"primaryKey;autoIncrement:false"`
	FolderID *int64
	Folder   *Folder `gorm:"constraint:OnDelete:SET NULL"`
}

// Term has no key, and no tenant.
type Term struct {
	Text string
}

var sheetModels = []any{&Folder{}, &Sheet{}, &Tie{}, &Term{}}

var sheetRules = migrate.Rules{Models: sheetModels[:3], Shared: []any{&Term{}}}

var office = pgtest.Template{Name: "office", Build: func(owner *gorm.DB) error {
	_, err := migrate.New(owner, migrate.Config{}).Up(context.Background())
	return errors.Join(err, owner.AutoMigrate(sheetModels...))
}}

// desk is a database with captured tables.
type desk struct {
	*protected
	plugin *gorm.DB // the app's, with both plugins
	ctx    context.Context
}

func setupDesk(t testing.TB, capture bool) *desk {
	t.Helper()
	db := pgtest.New(t, office)
	b := &bundle{DB: db, owner: db.Owner, sql: pool(t, db.Owner)}
	d := &desk{protected: &protected{bundle: b, app: pool(t, db.OpenApp(nil))}}
	d.super = &bundle{DB: db, sql: b.connect(t, b.SuperDSN, nil)}
	if capture {
		d.capture(t)
	}
	d.ctx = audit.WithActor(tenancy.WithTenant(t.Context(), "a"), audit.Actor{ID: "ann", RequestID: "r1"})
	return d
}

func (d *desk) migrator() *migrate.Migrator {
	return migrate.New(d.owner, migrate.Config{AppRole: d.AppRole, Rules: sheetRules})
}

func (d *desk) capture(t testing.TB) migrate.Capture {
	t.Helper()
	done, err := d.migrator().CaptureByTrigger(t.Context(), sheetModels...)
	if err != nil {
		t.Fatalf("CaptureByTrigger: %v", err)
	}
	return done
}

func (d *desk) protectDesk(t testing.TB) migrate.Protection {
	t.Helper()
	done, err := d.migrator().Protect(t.Context())
	if err != nil {
		t.Fatalf("Protect: %v", err)
	}
	return done
}

// gorm opens the app's handle with both plugins, as an app does.
func (d *desk) gorm(t testing.TB) *gorm.DB {
	t.Helper()
	if d.plugin != nil {
		return d.plugin.WithContext(d.ctx)
	}
	app := d.Open(tenancy.Postgres(d.AppDSN), &gorm.Config{TranslateError: true, DisableAutomaticPing: true})
	for _, plugin := range []gorm.Plugin{
		tenancy.New(tenancy.Config{Rules: sheetRules}),
		audit.New(audit.Config{Rules: sheetRules, HashKey: make([]byte, 32)}),
	} {
		if err := app.Use(plugin); err != nil {
			t.Fatal(err)
		}
	}
	d.plugin = app
	return app.WithContext(d.ctx)
}

// brief takes the entries, "action type id" in order of the text, and empties the trail.
func (d *desk) brief(t testing.TB) []string {
	t.Helper()
	list := d.super.lines(t, `SELECT concat_ws(' ', action, resource_type, coalesce(resource_id, '-')) FROM audit_logs`)
	slices.Sort(list)
	d.super.exec(t, `TRUNCATE audit_logs`)
	return list
}
