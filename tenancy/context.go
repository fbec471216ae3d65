package tenancy

import (
	"cmp"
	"context"
	"strings"
	"sync"

	"github.com/courtroll/courtroll/internal/plan"
)

type contextKey struct{}

// scope is what a context says of the tenant: one tenant, all, or neither.
type scope struct {
	tenant    string
	text      any // bound{tenant}: made once, for most tenant columns are text
	system    *SystemScope
	inherited bool // a sub-query's: that of the statement around it
}

// own returns what a table's tenant column holds of the scope's tenant, as a
// statement's argument.
func (s scope) own(table plan.Table) (any, error) {
	if err := s.check(); err != nil || s.text == nil {
		return nil, cmp.Or(err, ErrNoTenant)
	}
	if table.IsText() {
		if strings.HasSuffix(s.tenant, " ") { // which varchar(n) cuts to another tenant's
			return nil, ErrTenantFormat
		}
		return s.text, nil
	}
	value, err := table.Value(s.tenant)
	return bound{value}, err
}

// WithTenant returns a context whose statements belong to the tenant id. It
// replaces the tenant or system scope that ctx carries. A blank id is no
// tenant: statements under it fail with [ErrNoTenant].
func WithTenant(ctx context.Context, id string) context.Context {
	return context.WithValue(ctx, contextKey{}, scope{tenant: id, text: bound{id}})
}

// FromContext returns the tenant of ctx. The error is [ErrNoTenant] if there is
// none, if it is blank, or if ctx is of system scope.
func FromContext(ctx context.Context) (string, error) {
	s := scopeOf(ctx)
	if s.system != nil || strings.TrimSpace(s.tenant) == "" {
		return "", ErrNoTenant
	}
	return s.tenant, nil
}

// AsSystem returns a context whose statements reach the rows of all tenants:
// the only way to do so. The reason, which must not be blank, is for whoever
// reads the audit trail. It replaces the tenant that ctx carries, ends with the
// context, and may be narrowed to one tenant again by [WithTenant].
func AsSystem(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, contextKey{}, scope{system: &SystemScope{reason: strings.TrimSpace(reason)}})
}

// SystemScope is one call of [AsSystem], shared by all contexts derived from
// its result. It is safe for concurrent use.
type SystemScope struct {
	reason string
	mu     sync.Mutex
	done   bool
}

// SystemFromContext returns the system scope of ctx, if it has one with a reason.
func SystemFromContext(ctx context.Context) (*SystemScope, bool) {
	s := scopeOf(ctx).system
	return s, s != nil && s.reason != ""
}

// Reason returns the reason given to [AsSystem].
func (s *SystemScope) Reason() string { return s.reason }

// Once runs f unless an earlier call ran one that returned nil. It is how the
// audit trail records a scope once, before its first statement.
func (s *SystemScope) Once(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return nil
	}
	err := f()
	s.done = err == nil
	return err
}

func scopeOf(ctx context.Context) scope {
	if ctx == nil {
		return scope{}
	}
	s, _ := ctx.Value(contextKey{}).(scope)
	return s
}

// check returns nil if the scope lets statements reach tenant-owned tables.
func (s scope) check() error {
	switch {
	case s.inherited:
		return nil
	case s.system != nil && s.system.reason == "":
		return ErrNoReason
	case s.system == nil && strings.TrimSpace(s.tenant) == "":
		return ErrNoTenant
	}
	return nil
}
