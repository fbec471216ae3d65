// Package replay tests that the trail tells all that happened: generated programs
// of writes run behind the audit plugin, and afterwards the trail is compared,
// entry by entry, with what a trigger of the test's own saw, and is replayed from
// the first entry to the last, which has to give the tables as they are.
//
// It sees the library as an app does, and knows nothing of how it captures a
// change: what it holds against the trail is read with plain SQL.
package replay

import (
	"flag"
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

var (
	programs = flag.Int("programs", defaultPrograms, "how many programs to run in the form of the audit plugin alone; the other runs a part of them")
	editFile = flag.String("edits", "", "a file of Wikipedia edits, as examples/quickstart reads it, to replay in the place of its sample")
	gitFile  = flag.String("git-events", "", "a file of git events, as testdata/README.md describes it, to replay in the place of the sample there")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
