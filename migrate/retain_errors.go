package migrate

import (
	"errors"
	"fmt"
)

var (
	// ErrRetention means that a [Retention] is not one: it needs a time that is in
	// the past by the database's clock, and a reason.
	ErrRetention = errors.New("Retention needs a Before that is past, and a Reason; a TenantID is not blank")

	// ErrNotAppendOnly means that the function that removes entries, a trigger or a
	// policy that goes with it, is missing, of another release, or was altered: run
	// AppendOnly first.
	ErrNotAppendOnly = errors.New("audit_logs is not, or no more, as AppendOnly makes it: run AppendOnly first")
)

// RetainError says what stopped a Retain, and what it did until then.
type RetainError struct {
	// Done is what was removed and recorded. Where the answer to a batch was lost, by
	// the end of a connection or of the context, one batch more may be.
	Done Retained
	// Err is why: [ErrRetention], [ErrNotAppendOnly], the context's, or the server's.
	Err error
}

func (e *RetainError) Error() string {
	return fmt.Sprintf("migrate: removing entries of audit_logs, after %d of them: %v", e.Done.Rows, e.Err)
}

func (e *RetainError) Unwrap() error { return e.Err }
