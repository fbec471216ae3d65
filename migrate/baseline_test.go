package migrate_test

import (
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

func TestReadBaseline(t *testing.T) {
	t.Parallel()
	const good = `{"code": "rls-not-forced", "object": "table public.pages", "reason": "owned by another program until June"}`
	for name, test := range map[string]struct{ text, want string }{
		"OK":             {`[` + good + `]`, ""},
		"Empty":          {`[]`, ""},
		"NoText":         {``, "unexpected end"},
		"NoArray":        {good, "cannot unmarshal object"},
		"More":           {`[] []`, "after top-level value"},
		"UnknownMember":  {`[` + good + `, {"code": "rls-disabled", "why": "x"}]`, `entry 2 (rls-disabled: ): json: unknown field "why"`},
		"UnknownCode":    {`[{"code": "rls-of", "object": "table public.pages", "reason": "x"}]`, "entry 1 (rls-of: table public.pages): Doctor has no such code"},
		"NoObject":       {`[{"code": "rls-disabled", "object": " ", "reason": "x"}]`, "entry 1 (rls-disabled:  ): it names no object"},
		"NoReason":       {`[{"code": "rls-disabled", "object": "table public.pages", "reason": " "}]`, "entry 1 (rls-disabled: table public.pages): it has no reason"},
		"ThereTwice":     {`[` + good + `, ` + good + `]`, "entry 2 (rls-not-forced: table public.pages): it is there twice"},
		"EntryIsNoEntry": {`["rls-disabled"]`, "entry 1 (: ): json: cannot unmarshal string"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := migrate.ReadBaseline(strings.NewReader(test.text))
			if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, migrate.ErrBaseline) || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	if _, err := migrate.ReadBaseline(iotest.ErrReader(fs.ErrClosed)); !errors.Is(err, fs.ErrClosed) || errors.Is(err, migrate.ErrBaseline) {
		t.Errorf("of a reader that fails: %v", err)
	}
}

func TestBaseline_Apply(t *testing.T) {
	t.Parallel()
	pages := migrate.Finding{Code: migrate.CodeRLSOff, Severity: migrate.SeverityError, Object: "table public.pages"}
	other, notForced := pages, pages
	other.Object, notForced.Code = "table public.tasks", migrate.CodeRLSNotForced
	b := migrate.Baseline{
		{Code: pages.Code, Object: pages.Object, Reason: "a test"},
		{Code: other.Code, Object: "table public.gone", Reason: "it was there"},
	}
	left, accepted, stale := b.Apply(migrate.Findings{pages, other, notForced})
	if d := cmp.Diff([]migrate.Findings{{other, notForced}, {pages}}, []migrate.Findings{left, accepted}); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(b[1:], stale); d != "" {
		t.Error(d)
	}
	if b.Reason(pages) != "a test" || b.Reason(other) != "" {
		t.Errorf("the reasons are %q and %q", b.Reason(pages), b.Reason(other))
	}
	left, accepted, stale = migrate.Baseline(nil).Apply(migrate.Findings{pages})
	if len(left) != 1 || accepted != nil || stale != nil {
		t.Errorf("without a baseline: %v, %v, %v", left, accepted, stale)
	}
}

// TestCodes: a baseline may have each code that Doctor has, and no other.
func TestCodes(t *testing.T) {
	t.Parallel()
	var declared []migrate.Code
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if kind, named := specType(spec); ok && named && kind == "Code" {
				for _, value := range spec.Values {
					text, err := strconv.Unquote(value.(*ast.BasicLit).Value)
					if err != nil {
						t.Error(err)
					}
					declared = append(declared, migrate.Code(text))
				}
			}
			return true
		})
	}
	known := migrate.Codes()
	slices.Sort(declared)
	slices.Sort(known)
	if d := cmp.Diff(declared, known); d != "" || len(declared) == 0 {
		t.Errorf("the constants of type Code and codes() differ (-constants +codes):\n%s", d)
	}
}

func specType(spec *ast.ValueSpec) (name string, named bool) {
	if spec == nil {
		return "", false
	}
	ident, named := spec.Type.(*ast.Ident)
	if !named {
		return "", false
	}
	return ident.Name, true
}
