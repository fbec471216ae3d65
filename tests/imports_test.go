package tests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/courtroll/courtroll"

// layer is a group of packages, and what they may import.
type layer struct {
	name string // the path below the module, with what lies below that
	ours []string
	// TestsOurs is what the tests of a package may import besides.
	testsOurs []string
	// Outside is true for packages that no app compiles: they and their tests
	// import what they like. The others keep to the list of modules below.
	outside bool
}

// layers is the architecture. The first layer that a package lies in counts. A
// package may always import its own layer, and the tests of any package may use
// the test server; nobody imports examples or tests.
var layers = []layer{
	{name: "internal/pgtest", ours: []string{"internal"}, testsOurs: []string{"models", "tenancy", "audit", "migrate"}, outside: true},
	{name: "internal", ours: []string{"models"}},
	{name: "models", testsOurs: []string{"migrate"}},
	{name: "tenancy/tenancytest", ours: []string{"models", "tenancy", "internal"}, testsOurs: []string{"audit", "migrate"}},
	{name: "tenancy", ours: []string{"models", "internal"}, testsOurs: []string{"migrate"}},
	{name: "audit/audittest", ours: []string{"models", "audit", "internal"}, testsOurs: []string{"tenancy", "migrate"}},
	{name: "audit", ours: []string{"models", "tenancy", "internal"}, testsOurs: []string{"migrate"}},
	{name: "migrate", ours: []string{"models", "internal"}, testsOurs: []string{"tenancy", "audit"}},
	{name: "lifecycle", ours: []string{"models", "tenancy", "internal"}, testsOurs: []string{"audit", "migrate"}},
	{name: "examples", ours: []string{"models", "tenancy", "audit", "migrate", "lifecycle", "internal", "internal/pgtest"}, outside: true},
	{name: "tests", ours: []string{"models", "tenancy", "audit", "migrate", "lifecycle", "internal", "internal/pgtest"}, outside: true},
}

// modules is what an app's build takes in with the packages that it imports.
// A path that ends in a slash stands for everything below it.
var modules = []string{
	"gorm.io/gorm", "gorm.io/driver/postgres", "gorm.io/datatypes", "github.com/google/jsonschema-go", "github.com/google/uuid", "github.com/jackc/pgx/v5",
	"golang.org/x/",
}

// goPackage is what go list says of a package.
type goPackage struct {
	ImportPath, Dir                    string
	Imports, TestImports, XTestImports []string
}

func TestImports(t *testing.T) {
	t.Parallel()
	graph := listPackages(t)
	for _, l := range layers {
		if l.name == "examples" {
			continue // one that has no example yet is no hole in the graph
		}
		if !slices.ContainsFunc(graph, func(p goPackage) bool { return layerOf(p.ImportPath).name == l.name }) {
			t.Errorf("no package lies in %q: the rule is out of date", l.name)
		}
	}
	for _, fault := range forbidden(graph) {
		t.Error(fault)
	}
}

func TestForbiddenImports(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		from string
		to   string
		test bool
		want []string
	}{
		{name: "Down", from: "tenancy", to: module + "/models"},
		{name: "Sideways", from: "tenancy", to: module + "/audit", want: []string{"tenancy imports audit"}},
		{name: "SidewaysInATest", from: "tenancy", to: module + "/audit", test: true, want: []string{"the tests of tenancy import audit"}},
		{name: "Upwards", from: "models", to: module + "/tenancy", want: []string{"models imports tenancy"}},
		{name: "ModelsImportInternal", from: "models", to: module + "/internal/plan", want: []string{"models imports internal/plan"}},
		{name: "AuditImportsTenancy", from: "audit", to: module + "/tenancy"},
		{name: "MigrateKnowsNoPlugin", from: "migrate", to: module + "/tenancy", want: []string{"migrate imports tenancy"}},
		{name: "MigrateTestsPlugins", from: "migrate", to: module + "/tenancy", test: true},
		{name: "LifecycleImportsTenancy", from: "lifecycle", to: module + "/tenancy"},
		{name: "LifecycleKnowsNoAudit", from: "lifecycle", to: module + "/audit", want: []string{"lifecycle imports audit"}},
		{name: "InternalImportsUs", from: "internal/plan", to: module + "/audit", want: []string{"internal/plan imports audit"}},
		{name: "InternalImportsInternal", from: "internal/hooks", to: module + "/internal/plan"},
		{name: "ShippedImportsTheTestServer", from: "audit", to: module + "/internal/pgtest/server", want: []string{"audit imports internal/pgtest/server"}},
		{name: "TestsUseTheTestServer", from: "audit", to: module + "/internal/pgtest", test: true},
		{name: "TheTestServerTestsWithThePlugins", from: "internal/pgtest", to: module + "/audit", test: true},
		{name: "TheTestServerImportsThePlugins", from: "internal/pgtest", to: module + "/audit", want: []string{"internal/pgtest imports audit"}},
		{name: "Examples", from: "audit", to: module + "/examples/quickstart", want: []string{"audit imports examples/quickstart"}},
		{name: "ExamplesInTests", from: "tests", to: module + "/examples/quickstart", want: []string{"tests imports examples/quickstart"}},
		{name: "TestsInExamples", from: "examples/quickstart", to: module + "/tests", want: []string{"examples/quickstart imports tests"}},
		{name: "Stranger", from: "elsewhere", to: "fmt", want: []string{"elsewhere lies in no layer"}},
		{name: "StandardLibrary", from: "models", to: "encoding/json"},
		{name: "Allowed", from: "tenancy", to: "gorm.io/gorm/clause"},
		{name: "BelowX", from: "audit", to: "golang.org/x/sync/errgroup"},
		{name: "TestOnlyModule", from: "audit", to: "github.com/ory/dockertest/v3", want: []string{"audit imports github.com/ory/dockertest/v3"}},
		{name: "LikeAnAllowedModule", from: "audit", to: "gorm.io/gormx", want: []string{"audit imports gorm.io/gormx"}},
		{name: "TestsOfShipped", from: "audit", to: "github.com/google/go-cmp/cmp", test: true},
		{name: "TestServer", from: "internal/pgtest/server", to: "github.com/ory/dockertest/v3"},
		{name: "C", from: "audit", to: "C", want: []string{"audit imports C"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := goPackage{ImportPath: module + "/" + c.from, Imports: []string{c.to}}
			if c.test {
				p = goPackage{ImportPath: p.ImportPath, XTestImports: p.Imports}
			}
			if diff := cmp.Diff(c.want, forbidden([]goPackage{p})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// forbidden returns the edges of the graph that the layers do not allow.
func forbidden(graph []goPackage) (faults []string) {
	for _, p := range graph {
		from := below(p.ImportPath)
		l := layerOf(p.ImportPath)
		if l.name == "" {
			faults = append(faults, from+" lies in no layer")
			continue
		}
		for _, to := range p.Imports {
			if !l.allows(to) {
				faults = append(faults, fmt.Sprintf("%s imports %s", from, below(to)))
			}
		}
		for _, to := range slices.Concat(p.TestImports, p.XTestImports) {
			if !l.allowsInTests(to) {
				faults = append(faults, fmt.Sprintf("the tests of %s import %s", from, below(to)))
			}
		}
	}
	slices.Sort(faults)
	return slices.Compact(faults)
}

// layerOf returns the layer of a package of ours, the zero layer if it has none.
func layerOf(path string) layer {
	name := below(path)
	for _, l := range layers {
		if name == l.name || strings.HasPrefix(name, l.name+"/") {
			return l
		}
	}
	return layer{}
}

func (l layer) allows(path string) bool {
	if !isOurs(path) {
		return l.outside && path != "C" || isStandard(path) || slices.ContainsFunc(modules, func(m string) bool {
			return path == m || strings.HasPrefix(path, strings.TrimSuffix(m, "/")+"/")
		})
	}
	to := layerOf(path).name
	return to != "" && (to == l.name || slices.Contains(l.ours, to))
}

func (l layer) allowsInTests(path string) bool {
	if !isOurs(path) {
		return true
	}
	to := layerOf(path).name
	return l.allows(path) || to == "internal/pgtest" || slices.Contains(l.testsOurs, to)
}

func isOurs(path string) bool { return path == module || strings.HasPrefix(path, module+"/") }

// isStandard reports whether the path is the standard library's, whose first
// element has no dot.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return path != "C" && !strings.Contains(first, ".")
}

func below(path string) string { return strings.TrimPrefix(path, module+"/") }

func listPackages(t *testing.T) (graph []goPackage) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Imports,TestImports,XTestImports", module+"/...")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	must(t, err)
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return graph
		}
		must(t, err)
		_, err = os.ReadDir(p.Dir) // so that go test knows what its cached result depends on
		must(t, err)
		graph = append(graph, p)
	}
}
