package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/courtroll/courtroll/migrate"
)

// formats are the forms of the result.
var formats = map[string]func(io.Writer, result) error{"table": printTable, "json": printJSON, "sarif": printSARIF}

// widths at which a column's text is wrapped.
const maxObject, maxWhy = 36, 64

// printTable is for people: the findings, and below them the fixes as one script.
func printTable(out io.Writer, r result) error {
	if len(r.left) == 0 {
		_, err := fmt.Fprintln(out, "Nothing undermines the guarantees.")
		return err
	}
	t := table.NewWriter()
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.Style().Options.SeparateRows = true
	t.SetColumnConfigs([]table.ColumnConfig{
		{Number: 3, WidthMax: maxObject, WidthMaxEnforcer: text.WrapSoft}, {Number: 4, WidthMax: maxWhy, WidthMaxEnforcer: text.WrapSoft},
	})
	t.AppendHeader(table.Row{"Severity", "Code", "Object", "Why"})
	var fixes strings.Builder
	for _, f := range r.left {
		t.AppendRow(table.Row{f.Severity, f.Code, printable(f.Object), printable(f.Why)})
		fmt.Fprintf(&fixes, "\n-- %s: %s\n%s\n", f.Code, printable(f.Object), f.Fix)
	}
	_, err := fmt.Fprintf(out, "\n%s\n\n-- The fixes, for the tables' owner, or a superuser where they are about roles, settings or the\n-- server's own triggers. Run each as one transaction, and look again: one fault can hide another.\n%s", t.Render(), fixes.String())
	return err
}

// printable takes out what would break the line or control the terminal: the names of
// objects are other people's.
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

// printJSON is an array of the findings.
func printJSON(out io.Writer, r result) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(append(migrate.Findings{}, r.left...))
}
