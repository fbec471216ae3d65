package pgtest_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestTemplateIsBuiltOnce(t *testing.T) {
	t.Parallel()
	var builds atomic.Int32
	template := pgtest.Template{Name: "once", Build: func(owner *gorm.DB) error {
		builds.Add(1)
		return owner.Exec(`CREATE TABLE seeds AS SELECT 7 AS seed`).Error
	}}
	t.Run("Use", func(t *testing.T) {
		for i := range 8 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, template)
				if got := scalar[int](t, db.App, `SELECT seed FROM seeds`); got != 7 {
					t.Errorf("got %d", got)
				}
				noError(t, db.App.Exec(`DELETE FROM seeds`).Error)
			})
		}
	})
	if n := builds.Load(); n != 1 {
		t.Errorf("built %d times", n)
	}
}

func TestTemplateBuildsAsOwner(t *testing.T) {
	t.Parallel()
	pgtest.New(t, pgtest.Template{Name: "as owner", Build: func(owner *gorm.DB) error {
		if super := scalar[bool](t, owner, `SELECT rolsuper FROM pg_roles WHERE rolname = current_user`); super {
			return errors.New("built as superuser")
		}
		return owner.Exec(`CREATE TABLE mine (x int)`).Error
	}})
}

// TestTemplateWithLeakedConnection: a database that somebody is in cannot be copied.
func TestTemplateWithLeakedConnection(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{Name: "leaky", Build: func(owner *gorm.DB) error {
		leak, err := gorm.Open(owner.Dialector, &gorm.Config{})
		if err != nil {
			return err
		}
		return leak.Exec(`CREATE TABLE leaked (x int)`).Error
	}})
	noError(t, db.App.Exec(`INSERT INTO leaked VALUES (1)`).Error)
}

func TestTemplateErrors(t *testing.T) {
	t.Parallel()
	var builds atomic.Int32
	failing := pgtest.Template{Name: "failing", Build: func(owner *gorm.DB) error {
		builds.Add(1)
		return errors.New("out of bricks")
	}}

	t.Run("ErrBuildReachesEveryTest", func(t *testing.T) {
		t.Parallel()
		for range 3 {
			wantFatal(t, failing, `building template "failing": out of bricks`)
		}
		if n := builds.Load(); n != 1 {
			t.Errorf("built %d times", n)
		}
	})

	t.Run("ErrNoBuild", func(t *testing.T) {
		t.Parallel()
		wantFatal(t, pgtest.Template{Name: "unbuilt"}, "a Template has a Name and a Build, or neither")
	})

	t.Run("ErrNoName", func(t *testing.T) {
		t.Parallel()
		wantFatal(t, pgtest.Template{Build: failing.Build}, "a Template has a Name and a Build, or neither")
	})
}

// wantFatal asks for a database in a test that must not get further.
func wantFatal(t *testing.T, template pgtest.Template, text string) {
	t.Helper()
	r := newRecorder()
	log := r.run(func(tb testing.TB) {
		pgtest.New(tb, template)
		t.Error("the test went on")
	})
	if !r.Failed() {
		t.Error("the test did not fail")
	}
	wantText(t, log, text)
}
