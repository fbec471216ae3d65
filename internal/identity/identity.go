// Package identity is how the audit plugin's actor reaches the connection, which
// binds it for triggers: the packages that know each do not know the other.
package identity

import (
	"context"
	"strings"
)

type contextKey struct{}

type identity struct{ actor, request string }

// With returns a context that carries the ids of an actor and of a request, as
// PostgreSQL can hold them.
func With(ctx context.Context, actor, request string) context.Context {
	return context.WithValue(ctx, contextKey{}, identity{Text(actor), Text(request)})
}

// From returns them, empty where there are none.
func From(ctx context.Context) (actor, request string) {
	i, _ := ctx.Value(contextKey{}).(identity)
	return i.actor, i.request
}

// Text returns s as PostgreSQL can hold it. What it cannot is replaced, not left
// out: an actor "ann\x00" must not become the actor "ann".
func Text(s string) string {
	return strings.ToValidUTF8(strings.ReplaceAll(s, "\x00", "\uFFFD"), "\uFFFD")
}
