package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/courtroll/courtroll/audit"
)

// maxCell is the width at which a cell's text is wrapped.
const maxCell = 64

// printTable is a table that grows by rows.
type printTable struct{ writer table.Writer }

func newTable(title string, columns ...string) *printTable {
	t := &printTable{table.NewWriter()}
	t.writer.SetStyle(table.StyleLight)
	t.writer.Style().Format.Header = text.FormatDefault
	t.writer.SetTitle(printable(title))
	header, configs := make(table.Row, len(columns)), make([]table.ColumnConfig, len(columns))
	for i, name := range columns {
		header[i], configs[i] = name, table.ColumnConfig{Number: i + 1, WidthMax: maxCell, WidthMaxEnforcer: text.WrapSoft}
	}
	t.writer.AppendHeader(header)
	t.writer.SetColumnConfigs(configs)
	return t
}

func (t *printTable) row(cells ...string) {
	row := make(table.Row, len(cells))
	for i, cell := range cells {
		row[i] = printable(cell)
	}
	t.writer.AppendRow(row)
}

func (t *printTable) print(out io.Writer) { fmt.Fprintf(out, "\n%s\n", t.writer.Render()) }

// printable takes out what would break the line or control the terminal: names
// and titles are other people's.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r):
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// printChecks prints each check and returns an error unless all held.
func printChecks(out io.Writer, checks []check) error {
	fmt.Fprintln(out, "\nChecks")
	failed := 0
	for _, c := range checks {
		mark, detail := "✓", ""
		if !c.held {
			failed++
			mark, detail = "✗", "  "+c.detail
		}
		fmt.Fprintf(out, "  %s %s%s\n", mark, printable(c.name), printable(detail))
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d: %w", failed, len(checks), errChecks)
	}
	fmt.Fprintf(out, "All %d checks held.\n", len(checks))
	return nil
}

// describe writes changes as "length 10 → 46", in the order of their columns.
func describe(changes map[string]audit.Change) string {
	parts := make([]string, 0, len(changes))
	for _, column := range slices.Sorted(maps.Keys(changes)) {
		c := changes[column]
		part := column + " " + value(c.New)
		if !isNull(c.Old) {
			part = column + " " + value(c.Old) + " → " + value(c.New)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

func isNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

// value writes texts without quotes, and of times what differs between edits.
func value(raw json.RawMessage) string {
	var s string
	if isNull(raw) || json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	if at, err := time.Parse(time.RFC3339, s); err == nil {
		return at.UTC().Format("2 Jan 15:04:05")
	}
	return s
}

func orElse(s *string, other string) string {
	if s == nil {
		return other
	}
	return *s
}

// number writes n with commas.
func number(n int) string {
	digits := strconv.Itoa(n)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
