package main

import (
	"flag"
	"fmt"
	"io"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/examples/internal/demo"
)

// readInput returns the edits that the arguments ask for, and whether the
// database is to be kept.
func readInput(args []string, out io.Writer) (edits []edit, keep bool, err error) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(out)
	file := flags.String("edits", "", "replay the edits of this `file` (JSON lines, plain or gzip) instead of the sample")
	flags.BoolVar(&keep, "keep", false, "keep database and roles on the server of DATABASE_URL")
	if err := flags.Parse(args); err != nil {
		return nil, false, err
	}
	if flags.NArg() > 0 {
		return nil, false, fmt.Errorf("unexpected argument %q: a file of edits is given by -edits", flags.Arg(0))
	}
	edits, err = readEdits(*file)
	return edits, keep, err
}

// handles are the two ways to the database: as the app, and as the login that sees
// every tenant.
type handles struct{ app, system *gorm.DB }

// close ends all connections, so that the database can be dropped. A handle may
// be missing where it could not be opened.
func (h *handles) close() {
	demo.ClosePool(h.app)
	demo.ClosePool(h.system)
}
