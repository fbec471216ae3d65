// Package suspension is what the packages that refuse a suspended tenant share: the
// driver and the plugin, which ask the database, and the package that deletes the
// tenant's rows in spite of it.
package suspension

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// ErrSuspended is a statement of a suspended tenant.
var ErrSuspended = errors.New("the tenant is not active: its row in tenants has is_active = false, or there is none; its statements are refused until it is resumed, or created")

// ErrCannotAsk is a database in which nobody can be asked.
var ErrCannotAsk = errors.New("the function " + models.AdmitFunction + ", which Config.Suspended needs, is not there or not this login's to call: run migrate's Up, and Protect, or GRANT EXECUTE on it")

// Mode is the second argument of [models.AdmitFunction]. Empty: nobody is asked.
type Mode string

// How a suspended tenant is met.
const (
	Refuse   Mode = "refuse"
	ReadOnly Mode = "read"
)

// FindSQL finds the function's name with its schema; there is no row where it is
// not there, or not the login's to call.
const FindSQL = `SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(p.proname) FROM pg_catalog.pg_proc p
	JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
	WHERE p.oid = to_regprocedure('` + models.AdmitFunction + `(text, text)') AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')`

// AskSQL asks for a tenant, with a mode, by the function of [FindSQL]. The answer is
// whether it is suspended.
func AskSQL(function string) string { return "SELECT " + function + "($1, $2)" }

type pastKey struct{}

// Past returns a context whose statements are not asked about. No app can make one.
func Past(ctx context.Context) context.Context { return context.WithValue(ctx, pastKey{}, true) }

// IsPast reports whether the context is one of [Past].
func IsPast(ctx context.Context) bool { return ctx.Value(pastKey{}) != nil }

// States of a function that is not there, and of one that the login may not call.
const (
	noFunctionState = "42883"
	deniedState     = "42501"
)

// readOnlyState is PostgreSQL's refusal to write in a transaction that can only read.
const readOnlyState = "25006"

// Explain makes [ErrCannotAsk] of an error of the question itself, and [ErrSuspended] of
// one by which the database refused a suspended tenant; readOnly says that its transaction can only read for that reason.
func Explain(err error, readOnly bool) error {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || errors.Is(err, ErrSuspended) {
		return err
	}
	code := state.SQLState()
	if (code == noFunctionState || code == deniedState) && strings.Contains(err.Error(), models.AdmitFunction) {
		return fmt.Errorf("%w: %w", ErrCannotAsk, err)
	}
	if code == models.SuspendedState || readOnly && code == readOnlyState {
		return fmt.Errorf("%w: %w", ErrSuspended, err)
	}
	return err
}
