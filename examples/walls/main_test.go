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
	if err := run(t.Context(), db.SuperDSN, &out); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	if n := strings.Count(out.String(), "held"); n != 6 {
		t.Errorf("%d walls held, want 6:\n%s", n, out.String())
	}
}
