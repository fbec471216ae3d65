package tests

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	diff "github.com/google/go-cmp/cmp"
	"gorm.io/gorm"
)

var updateGolden = flag.Bool("update", false, "write the golden files anew")

const matrixFile = "../docs/isolation.md"

// matrixCase is one path through GORM: the method, and after a colon the
// variant. want is the outcome that the runs have to show.
type matrixCase struct {
	path   string
	want   string
	run    func(db *gorm.DB) (any, error)
	before string // what is done to the database of both tenants beforehand
}

// The outcomes.
const (
	filtered = "filtered"
	stamped  = "stamped"
	both     = "filtered, stamped"
	nothing  = "nothing sent"
	policies = "row-level security"
	keys     = "composite foreign keys"

	opaque     = "refused: tenancy.ErrOpaqueSQL"
	cross      = "refused: tenancy.ErrCrossTenant"
	immutable  = "refused: tenancy.ErrTenantImmutable"
	duplicated = "refused: gorm.ErrDuplicatedKey"
	migrates   = "refused: tenancy.ErrMigrateHandle"
	unknown    = "refused: tenancy.ErrUnclassified"
	homeless   = "refused: tenancy.ErrNoTenant"
)

// matrixGroup is a section of the document.
type matrixGroup struct {
	title string
	cases []matrixCase
}

func TestMatrix(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	outcomes := map[string]string{}
	databases := make(chan *matrixDB, 3)
	for range cap(databases) {
		databases <- newMatrixDB(t)
	}
	ok := t.Run("Paths", func(t *testing.T) {
		for _, group := range matrixGroups {
			for _, tc := range group.cases {
				t.Run(group.title+"/"+tc.path, func(t *testing.T) {
					t.Parallel()
					got := decide(t, tc, databases)
					if got != tc.want {
						t.Errorf("outcome %q, want %q", got, tc.want)
					}
					mu.Lock()
					defer mu.Unlock()
					outcomes[group.title+"/"+tc.path] = got
				})
			}
		}
	})
	if total := matrixSize(t); !ok || len(outcomes) < total {
		return // a failure, or a selection of the paths: nothing to write down
	}
	text := matrixDocument(outcomes)
	if *updateGolden {
		must(t, os.WriteFile(matrixFile, []byte(text), 0o644))
	}
	want, err := os.ReadFile(matrixFile)
	must(t, err)
	if d := diff.Diff(string(want), text); d != "" {
		t.Errorf("%s is not current; run go test ./tests -run Matrix -update\n%s", matrixFile, d)
	}
}

func matrixSize(t *testing.T) (n int) {
	t.Helper()
	seen := map[string]bool{}
	for _, group := range matrixGroups {
		for _, tc := range group.cases {
			if seen[group.title+tc.path] {
				t.Errorf("%s has two cases %q", group.title, tc.path)
			}
			seen[group.title+tc.path] = true
			n++
		}
	}
	return n
}

// decide runs a path as hal beside acme with the plugin, as hal alone with it,
// and beside acme without it, and says what came out.
func decide(t *testing.T, tc matrixCase, databases chan *matrixDB) string {
	t.Helper()
	var m *matrixDB
	if tc.before == "" {
		m = <-databases
		defer func() { databases <- m }()
	} else {
		m = newMatrixDB(t) // it changes tables
	}
	o := m.observe(t, tc, bothTenants, true)
	if name, inTime := o.refusal(t); name != "" {
		if !inTime || !o.unchanged("") || o.leaks() || strings.Contains(o.err.Error(), "acme") {
			return "refused too late: " + name
		}
		if control := m.observe(t, tc, bothTenants, false); control.err != nil {
			t.Errorf("without the plugin it fails as well: %v", control.err)
		}
		return "refused: " + name
	}
	if o.leaks() {
		return decideWall(t, tc)
	}
	alone := m.observe(t, tc, halAlone, true)
	if o.result != alone.result || fmt.Sprint(o.err) != fmt.Sprint(alone.err) {
		return fmt.Sprintf("differs from hal alone: %s, %v; %s, %v", o.result, o.err, alone.result, alone.err)
	}
	outcome := confinement(t, o)
	control := m.observe(t, tc, bothTenants, false)
	if outcome != nothing && !control.leaks() && control.result == o.result {
		if _, own := control.created(); own {
			t.Errorf("it does the same without the plugin, so it shows nothing: %s, %v", o.result, o.err)
		}
	}
	return outcome
}

// confinement says how a run that leaked nothing was confined.
func confinement(t *testing.T, o observed) string {
	t.Helper()
	var parts []string
	mentions, inserts, all := o.filtered(t)
	switch {
	case !all:
		return fmt.Sprintf("a statement without its predicate: %v", o.sent)
	case mentions > 0:
		parts = append(parts, filtered)
	}
	rows, own := o.created()
	switch {
	case !own:
		return "a row without its tenant"
	case rows > 0:
		parts = append(parts, stamped)
	}
	if len(parts) == 0 && inserts > 0 {
		return "an insert without a row"
	}
	return cmp.Or(strings.Join(parts, ", "), nothing)
}

// decideWall says which wall behind the plugin stops a run that got past it.
func decideWall(t *testing.T, tc matrixCase) string {
	t.Helper()
	m := newMatrixDB(t)
	m.reset(t, bothTenants)
	if tc.before != "" {
		must(t, m.super.Exec(tc.before).Error)
	}
	for _, table := range matrixTables {
		must(t, m.super.Exec(fmt.Sprintf(matrixPolicy, table)).Error)
	}
	if o := m.act(t, tc, true); !o.leaks() {
		return policies
	}

	m = newMatrixDB(t)
	m.reset(t, bothTenants)
	must(t, m.super.Exec(matrixKeys).Error)
	if tc.before != "" && m.super.Exec(tc.before).Error != nil {
		return keys // the reference that the run follows cannot be stored
	}
	if o := m.act(t, tc, true); !o.leaks() {
		return keys
	}
	return "no wall stops it"
}

const matrixHead = `# What stops each path

Written by ` + "`go test ./tests -run Matrix -update`" + `, from what happened when each path was run with the tenancy plugin alone, beside the rows of another tenant. Do not edit it by hand: the test fails where it is not current, and where a method of GORM has no path.

- *filtered*: each mention of a tenant's table in what was sent had the predicate of the context's tenant. Result and rows were those of a database without another tenant.
- *stamped*: each row that came has the context's tenant.
- *refused*: the run failed with this error and no row changed. Errors of this library came before a statement on a tenant's table was sent.
- *needs*: the plugin does not see it. The wall named stopped the same run; this library does not set it up.
- None of them: nothing was sent that reaches a tenant's table.

In each, the rows of the other tenant stayed as they were, except in paths that need a further wall.
`

func matrixDocument(outcomes map[string]string) string {
	var b strings.Builder
	b.WriteString(matrixHead)
	for _, group := range matrixGroups {
		fmt.Fprintf(&b, "\n## %s\n\n| path | filtered | stamped | refused | needs |\n|---|---|---|---|---|\n", group.title)
		for _, tc := range group.cases {
			cells := slices.Repeat([]string{" "}, 4)
			for part := range strings.SplitSeq(outcomes[group.title+"/"+tc.path], ", ") {
				name, isRefused := strings.CutPrefix(part, "refused: ")
				switch {
				case part == filtered:
					cells[0] = " ✓ "
				case part == stamped:
					cells[1] = " ✓ "
				case isRefused:
					cells[2] = " `" + name + "` "
				case part == policies, part == keys:
					cells[3] = " " + part + " "
				}
			}
			fmt.Fprintf(&b, "| %s |%s|\n", strings.ReplaceAll(tc.path, "|", "\\|"), strings.Join(cells, "|"))
		}
	}
	return b.String()
}
