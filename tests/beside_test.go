package tests

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
	gormschema "gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// What an app may have beside both plugins must neither open nor close them.

// Memo has a column that a serializer seals.
type Memo struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Key      string `gorm:"uniqueIndex"`
	Body     string `gorm:"serializer:sealed"`
	FolderID *int64
	Folder   *Folder
}

// Folder is what a Memo lies in.
type Folder struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Name     string
	Memos    []Memo
}

// sealed stands for a serializer that encrypts.
type sealed struct{}

func (sealed) Scan(ctx context.Context, field *gormschema.Field, dst reflect.Value, value any) error {
	text, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(fmt.Sprint(value), "sealed:"))
	if err != nil {
		return err
	}
	return field.Set(ctx, dst, string(text))
}

func (sealed) Value(_ context.Context, _ *gormschema.Field, _ reflect.Value, value any) (any, error) {
	return "sealed:" + base64.StdEncoding.EncodeToString(fmt.Append(nil, value)), nil
}

// wrapped is a dialector of an app's own, with a translator of errors.
type wrapped struct{ *postgres.Dialector }

var errTranslated = errors.New("translated by the app")

func (w wrapped) Translate(err error) error {
	if err = w.Dialector.Translate(err); errors.Is(err, gorm.ErrDuplicatedKey) {
		return errors.Join(errTranslated, err)
	}
	return err
}

// besides are the ways in which an app's handle may differ from a plain one.
var besides = map[string]struct {
	config        gorm.Config
	dialector     func(dsn string) gorm.Dialector
	before, after func(db *gorm.DB) // the app's own, around db.Use
	duplicate     error             // the error of a taken key
}{
	"plain":                  {},
	"translate":              {config: gorm.Config{TranslateError: true}, duplicate: gorm.ErrDuplicatedKey},
	"prepare_stmt":           {config: gorm.Config{PrepareStmt: true}},
	"no_default_transaction": {config: gorm.Config{SkipDefaultTransaction: true}},
	"naming":                 {config: gorm.Config{NamingStrategy: gormschema.NamingStrategy{TablePrefix: "app_", SingularTable: true}}},
	"dialector": {config: gorm.Config{TranslateError: true}, duplicate: errTranslated, dialector: func(dsn string) gorm.Dialector {
		return wrapped{postgres.Open(dsn).(*postgres.Dialector)}
	}},
	"builder_before": {before: commentWhere},
	"builder_after":  {after: commentWhere},
}

// commentWhere is another plugin's clause builder around the one that is there.
func commentWhere(db *gorm.DB) {
	next := db.ClauseBuilders["WHERE"]
	db.ClauseBuilders["WHERE"] = func(c clause.Clause, b clause.Builder) {
		if next != nil {
			next(c, b)
		} else {
			c.Build(b)
		}
		_, _ = b.WriteString(" /* marked */ -- to the end\n")
	}
}

func TestBeside(t *testing.T) {
	t.Parallel()
	gormschema.RegisterSerializer("sealed", sealed{})
	for name, beside := range besides {
		for _, auditFirst := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/auditFirst=%t", name, auditFirst), func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, pgtest.Template{Name: "beside-" + name, Build: func(owner *gorm.DB) error {
					return besideSchema(owner, beside.config)
				}})
				dialector := postgres.Open(db.AppDSN)
				if beside.dialector != nil {
					dialector = beside.dialector(db.AppDSN)
				}
				config := beside.config
				app := db.Open(dialector, &config)
				r := tenancy.Rules{Models: []any{&Memo{}, &Folder{}}}
				plugins := []gorm.Plugin{tenancy.New(tenancy.Config{Rules: r}), audit.New(audit.Config{Rules: r})}
				if auditFirst {
					plugins[0], plugins[1] = plugins[1], plugins[0]
				}
				if beside.before != nil {
					beside.before(app)
				}
				for _, p := range plugins {
					use(t, app, p)
				}
				if beside.after != nil {
					beside.after(app)
				}
				basics(t, newBundle(t, db, app), beside.duplicate)
			})
		}
	}
}

func besideSchema(owner *gorm.DB, config gorm.Config) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(context.Background()); err != nil {
		return err
	}
	named, err := gorm.Open(postgres.New(postgres.Config{Conn: owner.ConnPool}), &gorm.Config{NamingStrategy: config.NamingStrategy})
	if err != nil {
		return err
	}
	return named.AutoMigrate(&Folder{}, &Memo{})
}

// basics goes through reads and writes of two tenants that have like rows.
func basics(t *testing.T, b *bundle, duplicate error) {
	t.Helper()
	acme := Folder{Name: "f", Memos: []Memo{{Key: "acme", Body: "acme secret"}}}
	own := Folder{Name: "f", Memos: []Memo{{Key: "hal", Body: "hal text"}}}
	must(t, b.as(b.acme).Create(&acme).Error)
	must(t, b.as(b.hal).Create(&own).Error)
	hal := b.as(b.hal)

	var notes []Memo
	must(t, hal.Joins("Folder").Or("1 = 1").Find(&notes).Error)
	if len(notes) != 1 || notes[0].Body != "hal text" || notes[0].Folder == nil || notes[0].Folder.ID != own.ID {
		t.Errorf("joins: %+v", notes)
	}
	var folders []Folder
	must(t, hal.Preload("Memos", "1 = 1").Find(&folders).Error)
	if len(folders) != 1 || len(folders[0].Memos) != 1 || folders[0].Memos[0].Key != "hal" {
		t.Errorf("preload: %+v", folders)
	}
	var n int64
	must(t, hal.Model(&Memo{}).Count(&n).Error)
	rows, err := hal.Model(&Memo{}).Rows()
	must(t, err)
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		n++
	}
	must(t, rows.Err())
	if n != 2 {
		t.Errorf("count and rows see %d rows, want 1 each", n)
	}

	foreign := acme.Memos[0].ID
	changed := hal.Model(&Memo{}).Where("id = ?", foreign).Update("body", "stolen")
	deleted := hal.Delete(&Memo{}, foreign)
	if errors.Join(changed.Error, deleted.Error) != nil || changed.RowsAffected+deleted.RowsAffected != 0 {
		t.Errorf("foreign rows: update %d %v, delete %d %v", changed.RowsAffected, changed.Error, deleted.RowsAffected, deleted.Error)
	}
	for name, err := range map[string]error{
		"save":   hal.Save(&Memo{ID: foreign, Key: "x", Body: "stolen"}).Error,
		"upsert": hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Memo{ID: foreign, Key: "x", Body: "stolen"}).Error,
	} {
		if !errors.Is(err, gorm.ErrDuplicatedKey) {
			t.Errorf("%s of a foreign row: %v, want ErrDuplicatedKey", name, err)
		}
	}
	if err := hal.Create(&Memo{Key: "hal"}).Error; err == nil || duplicate != nil && !errors.Is(err, duplicate) {
		t.Errorf("a taken key: %v, want %v", err, duplicate)
	}
	note := own.Memos[0]
	must(t, hal.Model(&note).Update("body", "new").Error)
	note.Body = "saved"
	must(t, hal.Save(&note).Error)
	must(t, hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Memo{ID: note.ID, Key: "hal", Body: "upserted"}).Error)
	must(t, hal.Delete(&note).Error)
	if err := b.as(context.Background()).Find(&notes).Error; !errors.Is(err, tenancy.ErrNoTenant) {
		t.Errorf("without a tenant: %v, want ErrNoTenant", err)
	}

	must(t, b.as(b.acme).Find(&notes).Error)
	if len(notes) != 1 || notes[0].Body != "acme secret" {
		t.Errorf("acme's rows are now %+v", notes)
	}
	page, err := audit.List(b.hal, b.app, audit.Filter{}, "")
	must(t, err)
	actions := map[string]int{}
	for _, e := range page.Entries {
		actions[e.Action]++
		if text := string(*e.Metadata); strings.Contains(text, "secret") || strings.Contains(text, "hal text") {
			t.Errorf("the trail has what the serializer seals, or another tenant's: %s", text)
		}
	}
	if want := map[string]int{"create": 2, "update": 3, "delete": 1}; !maps.Equal(actions, want) {
		t.Errorf("entries %v, want %v", actions, want)
	}
}
