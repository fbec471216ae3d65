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
	cfg := demo.Config{Name: "export", URL: db.SuperDSN, Out: &out}
	if err := demo.Run(t.Context(), cfg, audit.Config{}, run, &demo.Page{}); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	for _, want := range []string{
		"Edits:    [de.wikipedia:218 en.wikipedia:868]\n",
		"held  csv: all 868 entries of en.wikipedia before ", "held  ocsf: all 868 entries of en.wikipedia before ",
		"held  jsonl: all 868 entries of en.wikipedia before ",
		"      resumed.jsonl: 500 entries, ", "held  interrupted: audit: exporting: the disk is full at 400000 bytes, ",
		"      resumed.jsonl: 868 entries, ", "held  resumed: the same bytes, sha256 ",
		"tenant en.wikipedia  actor auditor ",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
