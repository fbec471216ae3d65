package migrate

import (
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

// Pace says how fast a long operation goes through a table: how long a batch takes,
// and how long it rests after each. Its zero value leaves half of the time to others.
type Pace = pace.Pace

// Progress is how far a long operation is.
type Progress struct {
	// Step is what is being done, "backfill public.invoices" for one. It never holds
	// a value of a row.
	Step string
	// Done of Total are what the step counts: versions, rows, blocks. Total may be an
	// estimate; it is 0 where it is not known.
	Done, Total int64
	// Elapsed is the time since the step began.
	Elapsed time.Duration
}
