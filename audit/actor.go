package audit

import (
	"context"
	"net/netip"
	"strings"

	"github.com/courtroll/courtroll/internal/identity"
)

// ActorKind is the kind of an [Actor]. An app may have kinds of its own beside
// those of this package: they enter the trail as they are, for a misspelt kind
// is no reason to refuse a change.
type ActorKind string

// The kinds of actors.
const (
	User    ActorKind = "user"
	Service ActorKind = "service"
	System  ActorKind = "system"
	// Anonymous is somebody who did not say who he is. An ID that he has all the
	// same, a visitor's cookie for one, names nobody: [Config.RequireActor] refuses him.
	Anonymous ActorKind = "anonymous"
)

// Actor is who acts. Every field may be left empty. Texts enter the trail as
// PostgreSQL can hold them: NUL and invalid UTF-8 are replaced by U+FFFD, and what
// goes into the metadata (all but ID and IP) is cut at 1 KiB.
type Actor struct {
	// ID identifies the actor in the app. Empty: nobody is named.
	ID string
	// Kind defaults to [User] where there is an ID.
	Kind ActorKind
	// Name is the actor's name at this time: people are renamed and deleted.
	Name string
	// OnBehalfOf is as whom the actor acts, where that is somebody else: a member
	// of the support staff who looks at the app as a customer is the actor, the
	// customer is the one on whose behalf. The metadata holds the latter's ID, Kind
	// and Name under "on_behalf_of"; his other fields are not recorded. Default: nobody.
	OnBehalfOf *Actor
	// IP is where the request came from. The zero value is unknown.
	IP netip.Addr
	// RequestID correlates what one request did.
	RequestID string
	// UserAgent is what the client calls itself.
	UserAgent string
}

type actorKey struct{}

// WithActor returns a context whose changes are those of actor. It replaces an
// actor that ctx carries. What OnBehalfOf points to is copied: changing it later
// changes nothing.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(identity.With(ctx, actor.ID, actor.RequestID), actorKey{}, actor.clone())
}

// ActorFromContext returns the actor of ctx, false if it carries none. It is a
// copy of the caller's own.
func ActorFromContext(ctx context.Context) (Actor, bool) {
	actor, ok := ctx.Value(actorKey{}).(Actor)
	return actor.clone(), ok
}

// clone copies one level: of the other only three fields are ever read.
func (a Actor) clone() Actor {
	if a.OnBehalfOf != nil {
		a.OnBehalfOf = &Actor{ID: a.OnBehalfOf.ID, Kind: a.OnBehalfOf.Kind, Name: a.OnBehalfOf.Name}
	}
	return a
}

func (a Actor) named() bool { return a.Kind != Anonymous && strings.TrimSpace(a.ID) != "" }

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
	return orNil(a.IP.Unmap().String())
}

// orNil returns a text as PostgreSQL can hold it, nil for a blank one, which the
// trail holds as NULL.
func orNil(text string) *string {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	text = identity.Text(text)
	return &text
}
