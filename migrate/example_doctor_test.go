package migrate_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// Invoice stands for the models of an app.
type Invoice struct {
	ID       uint
	TenantID string `gorm:"not null"`
}

// At the start of the app: it does not serve while a guarantee does not hold. A warning
// is told, and does not stop it.
func ExampleDoctor() {
	ctx := context.Background()
	var app *gorm.DB // the app's handle, with the plugins and the login that it serves with
	found, err := migrate.Doctor(ctx, app, &Invoice{})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range found {
		log.Printf("%s\n\t%s", f, f.Fix)
	}
	if err := found.Err(); err != nil {
		log.Fatal(err)
	}
}

// In a test of the app's own: whatever is found and is not in the file of what was
// looked at fails it, warnings too, and so does an entry whose finding is gone.
func ExampleBaseline() {
	var app *gorm.DB // as the tests open it: as the app's role, after Up, AutoMigrate and Protect
	testDoctor := func(t *testing.T) {
		file, err := os.Open("testdata/doctor.json")
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		baseline, err := migrate.ReadBaseline(file)
		if err != nil {
			t.Fatal(err)
		}
		found, err := migrate.Doctor(t.Context(), app, &Invoice{})
		if err != nil {
			t.Fatal(err)
		}
		left, _, stale := baseline.Apply(found)
		for _, f := range left {
			t.Errorf("%s\n\t%s", f, f.Fix)
		}
		for _, entry := range stale {
			t.Errorf("%s is not found any more: take it out of the baseline", entry)
		}
	}
	_ = testDoctor
}

func ExampleReadBaseline() {
	_, err := migrate.ReadBaseline(strings.NewReader(`[
		{"code": "rls-not-forced", "object": "table public.pages", "reason": "its owner is a program without a tenant, until June"},
		{"code": "rls-disabled", "object": "table public.pages", "reason": ""}
	]`))
	fmt.Println(err)
	// Output:
	// migrate: this is no baseline: entry 2 (rls-disabled: table public.pages): it has no reason
}
