package tests

import (
	"cmp"
	"flag"
	"fmt"
	"os"
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
	ddl    string // what is done to the tables beforehand, by their owner
	before string // what is done to the rows of both tenants beforehand
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

// matrixOutcome is what comes out of a path with the plugin alone, and behind all
// three walls.
type matrixOutcome struct{ alone, walled string }

func TestMatrix(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	outcomes := map[string]matrixOutcome{}
	pool := newMatrixPool(t)
	ok := t.Run("Paths", func(t *testing.T) {
		for _, group := range matrixGroups {
			for _, tc := range group.cases {
				t.Run(group.title+"/"+tc.path, func(t *testing.T) {
					t.Parallel()
					outcome, result := decide(t, tc, pool)
					got := matrixOutcome{outcome, decideWalled(t, tc, pool, result)}
					if got.alone != tc.want {
						t.Errorf("outcome %q, want %q", got.alone, tc.want)
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
// and beside acme without it, and says what came out, and what hal alone gets
// where that was compared.
func decide(t *testing.T, tc matrixCase, pool *matrixPool) (outcome string, alone *observed) {
	t.Helper()
	m, release := pool.plain(t, tc)
	defer release()
	o := m.observe(t, tc, bothTenants, pluginAlone)
	if name, inTime := o.refusal(t); name != "" {
		if !inTime || !o.unchanged("") || o.leaks() || strings.Contains(o.err.Error(), "acme") {
			return "refused too late: " + name, nil
		}
		if control := m.observe(t, tc, bothTenants, noWall); control.err != nil {
			t.Errorf("without the plugin it fails as well: %v", control.err)
		}
		return "refused: " + name, nil
	}
	if o.leaks() {
		return decideWall(t, tc), nil
	}
	hal := m.observe(t, tc, halAlone, pluginAlone)
	if o.result != hal.result || fmt.Sprint(o.err) != fmt.Sprint(hal.err) {
		return fmt.Sprintf("differs from hal alone: %s, %v; %s, %v", o.result, o.err, hal.result, hal.err), nil
	}
	outcome = confinement(t, o)
	control := m.observe(t, tc, bothTenants, noWall)
	if outcome != nothing && !control.leaks() && control.result == o.result {
		if _, own := control.created(); own {
			t.Errorf("it does the same without the plugin, so it shows nothing: %s, %v", o.result, o.err)
		}
	}
	return outcome, &hal
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
