// Package sample holds real edits of Wikipedia, for examples: README.md says whence.
package sample

import _ "embed"

// Edits are JSON objects, one on each line, packed by gzip.
//
//go:embed edits.json.gz
var Edits []byte
