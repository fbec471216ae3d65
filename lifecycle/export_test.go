package lifecycle_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/lifecycle"
)

type line struct {
	Table string
	Row   json.RawMessage
}

func readLines(t *testing.T, text []byte) (all []line) {
	t.Helper()
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for scanner.Scan() {
		var l line
		must(t, json.Unmarshal(scanner.Bytes(), &l))
		all = append(all, l)
	}
	must(t, scanner.Err())
	return all
}

// TestExport imports what was exported into empty tables, and compares them.
func TestExport(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		must(t, lifecycle.Suspend(b.system, b.app, "acme")) // which does not matter
		had, before := b.rows(t, "acme"), b.sum(t, "acme")
		var out bytes.Buffer
		counts, err := lifecycle.Export(b.system, b.app, "acme", &out, lifecycle.Options{})
		must(t, err)
		had["tenants"] = 1
		for _, n := range b.entries(t, "acme") {
			had["audit_logs"] += n
		}
		if diff := cmp.Diff(had, byTable(counts)); diff != "" && b.form.audited {
			t.Errorf("counts: %s", diff)
		}
		lines := readLines(t, out.Bytes())
		b.checkOrder(t, lines)
		for _, table := range append([]string{"tenants", "audit_logs"}, owned...) {
			b.checkTable(t, table, lines)
		}
		if b.sum(t, "acme") != before {
			t.Error("exporting changed rows")
		}
	})
}

func (b *bundle) checkOrder(t *testing.T, lines []line) {
	t.Helper()
	var order []string
	for _, l := range lines {
		if len(order) == 0 || order[len(order)-1] != l.Table {
			order = append(order, l.Table)
		}
	}
	want := []string{"tenants", "nodes", "people", "projects", "tags", "project_tags", "tasks", "teams", "values", "audit_logs"}
	if !b.form.audited {
		want = want[:len(want)-1]
	}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

func (b *bundle) checkTable(t *testing.T, table string, lines []line) {
	t.Helper()
	var rows []json.RawMessage
	for _, l := range lines {
		if l.Table == strings.Trim(table, `"`) {
			rows = append(rows, l.Row)
		}
	}
	column := "tenant_id"
	if table == "tenants" {
		column = "id"
	}
	// Blanks in values of type json are not kept.
	const sum = `coalesce(md5(string_agg(r, E'\n' ORDER BY r)), '') FROM (SELECT regexp_replace((x.*)::text, '\s', '', 'g') AS r FROM `
	var want, got string
	must(t, b.super.Raw(`SELECT `+sum+table+` x WHERE `+column+` = 'acme') y`).Scan(&want).Error)
	array := "[" + string(bytes.Join(slices.Collect(func(yield func([]byte) bool) {
		for _, r := range rows {
			if !yield(r) {
				return
			}
		}
	}), []byte(","))) + "]"
	must(t, b.super.Raw(`SELECT `+sum+` json_populate_recordset(NULL::`+table+`, ?::json) x) y`, array).Scan(&got).Error)
	if got != want {
		t.Errorf("%s differs from what was exported", table)
	}
}

// TestExport_LeaveOutTrail leaves out audit_logs.
func TestExport_LeaveOutTrail(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	var out bytes.Buffer
	_, err := lifecycle.Export(b.system, b.app, "acme", &out, lifecycle.Options{LeaveOutTrail: true})
	must(t, err)
	if lines := readLines(t, out.Bytes()); lines[len(lines)-1].Table == "audit_logs" {
		t.Error("audit_logs is there")
	}
}

// writer calls what it is before each write.
type writer func() error

func (w writer) Write(p []byte) (int, error) { return len(p), w() }

// TestExport_Snapshot sees nothing of what is committed while it writes.
func TestExport_Snapshot(t *testing.T) {
	t.Parallel()
	eachForm(t, func(t *testing.T, b *bundle) {
		want := b.rows(t, "acme")
		counts, err := lifecycle.Export(b.system, b.app, "acme", writer(func() error {
			return b.super.Exec(`INSERT INTO "values" (tenant_id) VALUES ('acme'); INSERT INTO tasks (tenant_id, project_id) VALUES ('acme', 1000001)`).Error
		}), lifecycle.Options{LeaveOutTrail: true})
		must(t, err)
		want["tenants"] = 1
		if diff := cmp.Diff(want, byTable(counts)); diff != "" {
			t.Error(diff)
		}
		if n := b.rows(t, "acme")["values"]; n == want["values"] {
			t.Error("nothing was written meanwhile")
		}
	})
}

// TestExport_Errors ends with the writer's error, and with that of an unknown tenant.
func TestExport_Errors(t *testing.T) {
	t.Parallel()
	b := setup(t, ours)
	full := errors.New("the disk is full")
	if _, err := lifecycle.Export(b.system, b.app, "acme", writer(func() error { return full }), lifecycle.Options{}); !errors.Is(err, full) {
		t.Errorf("%v, want the writer's", err)
	}
	if _, err := lifecycle.Export(b.system, b.app, "nobody", io.Discard, lifecycle.Options{}); !errors.Is(err, lifecycle.ErrUnknownTenant) {
		t.Errorf("%v, want ErrUnknownTenant", err)
	}
	if _, err := lifecycle.Export(t.Context(), b.app, "acme", io.Discard, lifecycle.Options{}); !errors.Is(err, lifecycle.ErrNoSystemScope) {
		t.Errorf("%v, want ErrNoSystemScope", err)
	}
}
