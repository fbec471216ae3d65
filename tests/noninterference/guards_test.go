//go:build courtroll_unguarded

package noninterference

import (
	"os"
	"os/exec"
	"regexp"
	"testing"

	"github.com/courtroll/courtroll/tenancy"
)

var found = regexp.MustCompile(`failed after (\d+) tests`)

// TestGuards removes one guard after the other from a run of the generated
// programs in a process of its own: each time they have to find the hole.
func TestGuards(t *testing.T) {
	for _, guard := range tenancy.Guards {
		t.Run(guard, func(t *testing.T) {
			run := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestNonInterference$/^plugin$", "-programs=500", "-rapid.shrinktime=1s")
			run.Env = append(os.Environ(), "COURTROLL_REMOVED="+guard)
			out, err := run.CombinedOutput()
			after := found.FindSubmatch(out)
			if err == nil || after == nil {
				t.Fatalf("500 programs did not find the hole: %v\n%s", err, out)
			}
			t.Logf("found after %s programs", after[1])
		})
	}
}
