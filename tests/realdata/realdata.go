// Package realdata opens the files of real events that tests load.
package realdata

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"io"
	"os"
)

// Parts of the files, as a package of tests sees them from its folder.
const (
	SampleEdits = "../../examples/quickstart/sample/edits.json.gz"
	SampleGit   = "../replay/testdata/git-events.csv.gz"
)

// Open unpacks the file of that name, or the sample if the name is empty.
func Open(name, sample string) (io.Reader, error) {
	packed, err := os.ReadFile(cmp.Or(name, sample))
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(bytes.NewReader(packed))
}
