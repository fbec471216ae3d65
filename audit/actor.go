package audit

import (
	"context"
	"net/netip"
	"strings"

	"github.com/courtroll/courtroll/internal/identity"
)

// ActorKind is the kind of an [Actor].
type ActorKind string

// The kinds of actors.
const (
	User    ActorKind = "user"
	Service ActorKind = "service"
	System  ActorKind = "system"
)

// Actor is who acts. Every field may be left empty.
type Actor struct {
	// ID identifies the actor in the app. Empty: nobody is named.
	ID string
	// Kind defaults to [User] where there is an ID.
	Kind ActorKind
	// Name is the actor's name at this time: people are renamed and deleted.
	Name string
	// IP is where the request came from. The zero value is unknown.
	IP netip.Addr
	// RequestID correlates what one request did.
	RequestID string
	// UserAgent is what the client calls itself.
	UserAgent string
}

type actorKey struct{}

// WithActor returns a context whose changes are those of actor. It replaces an
// actor that ctx carries.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(identity.With(ctx, actor.ID, actor.RequestID), actorKey{}, actor)
}

// ActorFromContext returns the actor of ctx, false if it carries none.
func ActorFromContext(ctx context.Context) (Actor, bool) {
	actor, ok := ctx.Value(actorKey{}).(Actor)
	return actor, ok
}

func (a Actor) named() bool { return strings.TrimSpace(a.ID) != "" }

func (a Actor) kind() ActorKind {
	if a.Kind == "" && a.named() {
		return User
	}
	return a.Kind
}

func (a Actor) ip() *string {
	if !a.IP.IsValid() {
		return nil
	}
	text := a.IP.Unmap().String()
	return &text
}

// orNil returns nil for a blank text, which the trail holds as NULL.
func orNil(text string) *string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	return &text
}
