package main

import (
	"strings"
	"testing"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	var out strings.Builder
	cfg := demo.Config{Name: "lifecycle", URL: db.SuperDSN, Out: &out}
	if err := demo.Run(t.Context(), cfg, audit.Config{}, run, &Project{}, &Task{}); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	for _, want := range []string{
		"held  an active tenant is not deleted: ", "held  a suspended one is refused: tenancy: table \"projects\": ",
		`      {"table":"tenants","row":{"id":"acme",`, "held  exported [{tenants 1} {projects 1} {tasks 300} {audit_logs 303}], ",
		"held  deleted what the dry run said: [{tasks 300} {projects 1}]", "held  0 tasks are left of it, and 300 of the other tenant",
		"held  the trail stays: of its tasks map[create:300 delete:300]", "acme                tenant -             actor ops ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
