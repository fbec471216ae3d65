package server

import (
	"fmt"
	"strings"
)

// StartError reports that no backend gave a server.
type StartError struct {
	// Attempts has one entry per backend tried, in order.
	Attempts []Attempt

	dsnVariable, image string
}

// Attempt is a backend that was tried, and why it gave no server.
type Attempt struct {
	Backend Backend
	Err     error
}

// Error names each attempt with its reason, and the ways to come by a server.
func (e *StartError) Error() string {
	var b strings.Builder
	b.WriteString("server: no PostgreSQL server available")
	for _, a := range e.Attempts {
		fmt.Fprintf(&b, "\n\t%s: %v", a.Backend, a.Err)
	}
	fmt.Fprintf(&b, "\ndo one of these:\n\tapt-get install postgresql-%d\n\tstart Docker with a %s image\n\tset %s to the URL of a server",
		minMajor, e.image, e.dsnVariable)
	return b.String()
}

// Unwrap returns the reason of each attempt.
func (e *StartError) Unwrap() []error {
	errs := make([]error, len(e.Attempts))
	for i, a := range e.Attempts {
		errs[i] = a.Err
	}
	return errs
}
