package main

import (
	"strings"
	"testing"

	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func TestServe(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	var out strings.Builder
	cfg := demo.Config{Name: "service", URL: db.SuperDSN, Out: &out}
	if err := demo.Run(t.Context(), cfg, trail, serve, &Page{}); err != nil {
		t.Fatalf("%v:\n%s", err, out.String())
	}
	for _, want := range []string{
		`"changes":{"text":{"old":"slate","new":"copper"}},"did":"update","from":"203.0.113.7"`,
		"held  bob    GET hal.example.test/pages/plan\n          404 Not Found\n",
		"success  ann@acme.example    tenant acme-id       actor ann@acme.example  from 203.0.113.7",
		"failure  ann@acme.example    tenant acme-id       actor -                 from 192.0.2.200",
		"failure  eve@nobody.example  tenant -             actor -                 from 192.0.2.200",
		"failure  joe@gone.example    tenant -             actor -                 from 192.0.2.200",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "192.0.2.66") {
		t.Error("an address that a client made up is in the trail")
	}
	if n := strings.Count(out.String(), "held  "); n != 20 {
		t.Errorf("%d requests were answered as they should, want 20", n)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}
