package tests

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const guarantees = "../docs/guarantees.md"

// guarantee is a row of the tables of promises.
type guarantee struct{ promise, mechanism, tests, codes string }

// TestGuarantees compares docs/guarantees.md with README.md, with the tests that it names
// and with the codes of migrate.Doctor.
func TestGuarantees(t *testing.T) {
	t.Parallel()
	rows := guaranteeRows(t)
	var promised, tests, reported []string
	for _, row := range rows {
		promised = append(promised, row.promise)
		tests = append(tests, split(row.tests)...)
		if row.mechanism == "" || row.tests == "" || row.codes == "" {
			t.Errorf("%q has an empty cell", row.promise)
		}
		if row.codes != "–" {
			reported = append(reported, split(row.codes)...)
		}
	}

	t.Run("HasEachPromise", func(t *testing.T) {
		t.Parallel()
		differ(t, "promises of README.md", promises(t), "promises of the page", promised)
	})

	t.Run("HasEachCode", func(t *testing.T) {
		t.Parallel()
		differ(t, "codes of package migrate (a finding breaks some promise: put it into the row of that one)", doctorCodes(t), "codes of the page", reported)
	})

	t.Run("NamesTestsThatExist", func(t *testing.T) {
		t.Parallel()
		link := regexp.MustCompile("^\\[`(Test\\w+)`\\]\\(\\.\\./(\\S+_test\\.go)\\)$")
		for _, cell := range tests {
			found := link.FindStringSubmatch(cell)
			if found == nil {
				t.Errorf("%s is no link to a test", cell)
				continue
			}
			text, err := os.ReadFile(filepath.Join("..", found[2]))
			if err != nil || !strings.Contains(string(text), "\nfunc "+found[1]+"(t *testing.T) {") {
				t.Errorf("%s has no %s: %v", found[2], found[1], err)
			}
		}
	})
}

// differ fails with what one list has and the other has not.
func differ(t *testing.T, whatA string, a []string, whatB string, b []string) {
	t.Helper()
	if len(a) == 0 || len(b) == 0 {
		t.Fatalf("there are %d %s and %d %s", len(a), whatA, len(b), whatB)
	}
	report := func(in string, these []string, notIn string, those []string) {
		var lack []string
		for _, one := range these {
			if !slices.Contains(those, one) {
				lack = append(lack, one)
			}
		}
		if len(lack) > 0 {
			t.Errorf("of the %s these are not among the %s:\n\t%s", in, notIn, strings.Join(lack, "\n\t"))
		}
	}
	report(whatA, a, whatB, b)
	report(whatB, b, whatA, a)
}

// split returns what the commas of a cell part, without the marks of code.
func split(cell string) (parts []string) {
	for part := range strings.SplitSeq(cell, ", ") {
		if strings.HasPrefix(part, "`") {
			part = strings.Trim(part, "`")
		}
		parts = append(parts, part)
	}
	return parts
}

// guaranteeRows reads the tables of the page's section of promises. Its links are made those of README.md.
func guaranteeRows(t *testing.T) (rows []guarantee) {
	t.Helper()
	for line := range strings.SplitSeq(section(t, guarantees, "Promises"), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), " | ")
		if len(cells) != 4 || strings.HasPrefix(line, "| promise ") {
			continue
		}
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		promise := strings.NewReplacer("](../", "](", "](", "](docs/").Replace(cells[0])
		rows = append(rows, guarantee{promise, cells[1], cells[2], cells[3]})
	}
	return rows
}

var (
	titled   = regexp.MustCompile(`^\*\*[^*]+\.\*\* `)
	codeSpan = regexp.MustCompile("`[^`]*`")
)

// promises returns how each paragraph and each bullet of README's guarantees begins: its
// first sentence, or what is before the colon.
func promises(t *testing.T) (list []string) {
	t.Helper()
	for line := range strings.SplitSeq(section(t, readme, "Guarantees"), "\n") {
		text, isBullet := strings.CutPrefix(line, "- ")
		title := titled.FindString(text)
		if text = text[len(title):]; !isBullet && title == "" {
			continue
		}
		plain := codeSpan.ReplaceAllStringFunc(text, func(code string) string { return strings.Repeat("x", len(code)) })
		if end := regexp.MustCompile(`[.:]( |$)`).FindStringIndex(plain); end != nil {
			text = text[:end[0]]
		}
		list = append(list, text)
	}
	return list
}

// section returns a document's second-level section.
func section(t *testing.T, document, title string) string {
	t.Helper()
	text, err := os.ReadFile(document)
	must(t, err)
	_, rest, ok := strings.Cut(string(text), "\n## "+title+"\n")
	if !ok {
		t.Fatalf("%s has no section %q", document, title)
	}
	body, _, _ := strings.Cut(rest, "\n## ")
	return body
}

// doctorCodes returns the values of package migrate's constants of type Code.
func doctorCodes(t *testing.T) (codes []string) {
	t.Helper()
	files, err := filepath.Glob("../migrate/*.go")
	must(t, err)
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		must(t, err)
		for _, decl := range file.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok || group.Tok != token.CONST {
				continue
			}
			for _, spec := range group.Specs {
				codes = append(codes, codesOf(t, spec.(*ast.ValueSpec))...)
			}
		}
	}
	return codes
}

func codesOf(t *testing.T, spec *ast.ValueSpec) (codes []string) {
	t.Helper()
	if kind, ok := spec.Type.(*ast.Ident); !ok || kind.Name != "Code" {
		return nil
	}
	for _, value := range spec.Values {
		literal, ok := value.(*ast.BasicLit)
		if !ok {
			t.Fatalf("%s is no literal", spec.Names[0])
		}
		code, err := strconv.Unquote(literal.Value)
		must(t, err)
		codes = append(codes, code)
	}
	return codes
}
