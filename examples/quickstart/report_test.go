package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/audit"
)

func TestNumber(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -100: "-100", -1000: "-1,000"} {
		if got := number(n); got != want {
			t.Errorf("%d: got %s", n, got)
		}
	}
}

func TestDescribe(t *testing.T) {
	t.Parallel()
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	got := describe(map[string]audit.Change{
		"title": {New: raw(`"Größe"`), Old: raw(`null`)}, "length": {Old: raw(`-1`), New: raw(`2`)},
		"at": {Old: raw(`"2015-09-12T21:34:50.123+00:00"`), New: raw(`null`)},
	})
	if want := "at 12 Sep 21:34:50 → null, length -1 → 2, title Größe"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestTable: other people's texts neither break a line nor reach the terminal.
func TestTable(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	table := newTable("title\x1b[2J", "a")
	table.row("one\ntwo\x07")
	table.print(&out)
	if got := out.String(); strings.ContainsAny(got, "\x1b\x07") || !strings.Contains(got, "one two") {
		t.Errorf("got %q", got)
	}
}

func TestPrintChecks(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := printChecks(&out, []check{{"good", true, "not shown"}, {"bad", false, "why"}})
	if !errors.Is(err, errChecks) || !strings.Contains(err.Error(), "1 of 2") {
		t.Errorf("got %v", err)
	}
	if got := out.String(); !strings.Contains(got, "✓ good\n") || !strings.Contains(got, "✗ bad  why\n") {
		t.Errorf("got %s", got)
	}
}
