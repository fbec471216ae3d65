package main

import (
	"strings"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestRun(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	var out strings.Builder
	if err := run(t.Context(), db.SuperDSN, &out, 20_000); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	for _, want := range []string{"  backfill public.invoices\n", "held  adopted ", "0 are another tenant's", "none failed", "held  protected in "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
