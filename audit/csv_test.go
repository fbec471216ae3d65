package audit_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/courtroll/courtroll/audit"
)

func TestSafeCell(t *testing.T) {
	t.Parallel()
	for cell, want := range map[string]string{
		"": "", "plain": "plain", "a=b": "a=b", "2026-01-02": "2026-01-02", "a;b": "a;b",
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(1)": "'@SUM(1)", "＝1": "'＝1", "\t=1": "'\t'=1", "\r": "'\r", "\n": "'\n",
		" =1": "' =1", "'": "''", "'=1": "''=1", "x;=1": "x;'=1", `x; "=1"`: `x; "'=1"`, "x\n-1": "x\n'-1", "x|@a": "x|'@a", "a,=1": "a,=1",
	} {
		if got := audit.SafeCell(cell); got != want {
			t.Errorf("%q is written as %q, want %q", cell, got, want)
		}
	}
}

// FuzzCells looks for a text that a spreadsheet would take for a formula, whatever
// it splits cells at, and for a JSON text that is not the same any more.
func FuzzCells(f *testing.F) {
	for _, seed := range []string{"=1", ";=1", "\n;\t=1", `;"=1`, "';-1", "a|＝1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // the trail holds none
		}
		if cell := audit.SafeCell(text); runs(cell) {
			t.Errorf("%q is written as %q", text, cell)
		}
		object, err := json.Marshal(map[string]string{"x": text})
		if err != nil {
			t.Fatal(err)
		}
		cell := audit.SafeJSONCell(string(object))
		var back map[string]string
		if err := json.Unmarshal([]byte(cell), &back); err != nil || back["x"] != text || runs(cell) {
			t.Errorf("%q is written as %q, and read as %q, %v", text, cell, back["x"], err)
		}
	})
}

// runs reports whether a cell, or a part of it that another separator makes one,
// begins like a formula.
func runs(cell string) bool {
	for part := range strings.FieldsFuncSeq(cell, func(r rune) bool { return strings.ContainsRune(";|\t\r\n", r) }) {
		part = strings.TrimLeft(part, " \"\f")
		if part != "" && strings.ContainsRune("=+-@＝＋－＠", []rune(part)[0]) {
			return true
		}
	}
	return false
}
