package migrate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/migrate"
)

func TestUp(t *testing.T) {
	t.Parallel()
	embedded, _, err := migrate.Load(migrate.Embedded)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("creates tables and applies every version in order", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		want := migrate.Result{Created: []string{"tenants", "audit_logs", "courtroll_migrations"}, Applied: embedded}
		if diff := cmp.Diff(want, b.up(t)); diff != "" {
			t.Error(diff)
		}
		if got := len(b.versions(t)); got != len(embedded) {
			t.Errorf("got %d records, want %d", got, len(embedded))
		}
	})

	t.Run("twice changes nothing", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.up(t)
		before := b.catalogue(t)
		if diff := cmp.Diff(migrate.Result{}, b.up(t)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("runs on a pool of one connection", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.sql.SetMaxOpenConns(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := migrate.New(b.owner, migrate.Config{}).Up(ctx); err != nil {
			t.Fatal(err)
		}
		if got := b.advisoryLocks(t); got != "0" {
			t.Errorf("got %s advisory locks left", got)
		}
	})

	t.Run("is shaped by nothing of the handle", func(t *testing.T) {
		t.Parallel()
		plain, odd := setup(t), setup(t)
		plain.up(t)
		db, err := gorm.Open(postgres.Open(odd.OwnerDSN), &gorm.Config{
			DryRun: true, PrepareStmt: true, Logger: logger.Discard,
			NamingStrategy: prefixed(), DisableAutomaticPing: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pool(t, db).Close() })
		if _, err := migrate.New(db, migrate.Config{}).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(plain.shape(t), odd.shape(t)); diff != "" {
			t.Error(diff)
		}
	})
}

func TestUpLogs(t *testing.T) {
	t.Parallel()

	t.Run("nothing through GORM", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		var text bytes.Buffer
		db := b.owner.Session(&gorm.Session{Logger: logger.New(writer{&text}, logger.Config{SlowThreshold: 1, LogLevel: logger.Info})})
		for range 2 {
			if _, err := migrate.New(db, migrate.Config{}).Up(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if text.Len() > 0 {
			t.Errorf("GORM logged:\n%s", &text)
		}
	})

	t.Run("nothing to the process's output", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		// The child writes JSON there, and this fails to read anything else.
		applied, err := runChild(t.Context(), b.OwnerDSN)
		if err != nil || len(applied) == 0 {
			t.Errorf("got %v, %v", applied, err)
		}
	})

	t.Run("tables and versions to the logger", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		var text bytes.Buffer
		cfg := migrate.Config{Logger: slog.New(slog.NewTextHandler(&text, nil))}
		if _, err := migrate.New(b.owner, cfg).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"table=tenants", "table=audit_logs", "version=1 name=uuidv7"} {
			if !strings.Contains(text.String(), want) {
				t.Errorf("no %q in\n%s", want, &text)
			}
		}
	})
}

func TestUpRefusesHandle(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"courtroll:tenancy", "courtroll:audit"} {
		t.Run("ErrAppHandle "+name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			if err := b.owner.Use(plugin(name)); err != nil {
				t.Fatal(err)
			}
			refused(t, b, b.owner, migrate.ErrAppHandle)
		})
	}

	t.Run("ErrInTransaction", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		tx := b.owner.Begin()
		defer tx.Rollback()
		refused(t, b, tx, migrate.ErrInTransaction)
	})

	t.Run("no handle", func(t *testing.T) {
		t.Parallel()
		if _, err := migrate.New(nil, migrate.Config{}).Up(t.Context()); err == nil {
			t.Error("got no error")
		}
	})

	t.Run("handle with an error", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		db := b.owner.Session(&gorm.Session{})
		db.Error = errors.New("broken before")
		refused(t, b, db, db.Error)
	})

	t.Run("another plugin is welcome", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		if err := b.owner.Use(plugin("tracing")); err != nil {
			t.Fatal(err)
		}
		b.up(t)
	})
}

// refused checks that Up and Status fail with want and make nothing.
func refused(t *testing.T, b *bundle, db *gorm.DB, want error) {
	t.Helper()
	m := migrate.New(db, migrate.Config{})
	if _, err := m.Up(t.Context()); !errors.Is(err, want) {
		t.Errorf("Up: got %v, want %v", err, want)
	}
	if _, err := m.Status(t.Context()); !errors.Is(err, want) {
		t.Errorf("Status: got %v, want %v", err, want)
	}
	if got := b.catalogue(t); got != "" {
		t.Errorf("something was made:\n%s", got)
	}
}

type plugin string

func (p plugin) Name() string            { return string(p) }
func (plugin) Initialize(*gorm.DB) error { return nil }

type writer struct{ *bytes.Buffer }

func (w writer) Printf(format string, args ...any) { fmt.Fprintf(w.Buffer, format, args...) }
