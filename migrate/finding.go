package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Severity says how much a finding undermines.
type Severity string

const (
	// SeverityError is a guarantee that does not hold: rows of other tenants can be
	// reached, or entries of the trail lost or changed.
	SeverityError Severity = "error"
	// SeverityWarning is a wall that stands and has lost a support: one more mistake,
	// or one more grant, and it falls.
	SeverityWarning Severity = "warning"
)

// Finding is something that undermines what this package promises.
type Finding struct {
	// Code is one of the constants of this package. It stays the same from release to
	// release, and so does Object while the object has its name: a baseline goes by both.
	Code Code `json:"code"`
	// Severity is the code's, or less where the object cannot be reached.
	Severity Severity `json:"severity"`
	// Object is its kind and its name with the schema: "table public.pages", "policy
	// public.pages.courtroll_floor", "role shop_app".
	Object string `json:"object"`
	// Why is a sentence: what is there, and what it leads to. It has no row's values.
	Why string `json:"why"`
	// Fix is SQL that ends the finding, for the object's owner to run, or for a
	// superuser where it is about roles, settings or the server's own triggers. It is
	// one text of one or more statements, to be run as one transaction unless one is
	// CONCURRENTLY. Where SQL cannot do it, it is an SQL comment that says what does.
	Fix string `json:"fix"`
}

// String is one line for people.
func (f Finding) String() string {
	return fmt.Sprintf("%s %s: %s: %s", f.Severity, f.Code, f.Object, f.Why)
}

// Findings are those of one [Doctor], errors first, then by code and object.
type Findings []Finding

// ErrUndermined is what the error of [Findings.Err] wraps.
var ErrUndermined = errors.New("migrate: guarantees are undermined: the Fix of each finding is the SQL that ends it")

// Err is nil if no finding has [SeverityError], and else an [ErrUndermined] with a
// line for each that has: what a start-up gate or a test needs.
func (f Findings) Err() error {
	errs := []error{ErrUndermined}
	for _, finding := range f {
		if finding.Severity == SeverityError {
			errs = append(errs, errors.New(finding.String()))
		}
	}
	if len(errs) == 1 {
		return nil
	}
	return errors.Join(errs...)
}

// sorted puts them in order and leaves out what was found twice.
func (f Findings) sorted() Findings {
	slices.SortStableFunc(f, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Object, b.Object))
	})
	return slices.CompactFunc(f, func(a, b Finding) bool { return a.Code == b.Code && a.Object == b.Object })
}
