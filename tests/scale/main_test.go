// Package scale tests that reading the trail stays fast when it is long: the plans
// of what [audit.List] sends, on a million entries. Under the race detector, which
// finds nothing in the server's plans, it has no test.
package scale

import (
	"testing"

	"github.com/courtroll/courtroll/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }
