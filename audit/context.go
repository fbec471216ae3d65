package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/courtroll/courtroll/internal/identity"
	"github.com/courtroll/courtroll/tenancy"
)

// What a context's texts are cut at: some of them are the client's own.
const (
	maxActorText  = 1 << 10
	maxReasonText = 4 << 10
)

type reasonKey struct{}

// WithReason returns a context whose changes and events say why they are made:
// their metadata holds reason under "reason", cut at 4 KiB. It replaces a reason
// that ctx carries; a blank one takes it away. It opens no system scope, which
// has a reason of its own beside this one: "system_reason".
func WithReason(ctx context.Context, reason string) context.Context {
	return context.WithValue(ctx, reasonKey{}, reason)
}

// contextMetadata returns what the metadata of every entry has in common: all
// that the context says, as the JSON of an object.
func contextMetadata(ctx context.Context) (string, error) {
	actor, _ := ctx.Value(actorKey{}).(Actor)
	reason, _ := ctx.Value(reasonKey{}).(string)
	m := actor.metadata()
	put(m, "reason", reason, maxReasonText)
	if scope, ok := tenancy.SystemFromContext(ctx); ok {
		put(m, "system_reason", scope.Reason(), maxReasonText)
	}
	text, err := json.Marshal(m)
	return string(text), err
}

// metadata returns what an audit row's metadata says of the actor.
func (a Actor) metadata() map[string]any {
	m := map[string]any{}
	put(m, "actor_kind", string(a.kind()), maxActorText)
	put(m, "actor_name", a.Name, maxActorText)
	put(m, "request_id", a.RequestID, maxActorText)
	put(m, "user_agent", a.UserAgent, maxActorText)
	if other := a.OnBehalfOf; other != nil {
		of := map[string]any{}
		put(of, "id", other.ID, maxActorText)
		put(of, "kind", string(other.kind()), maxActorText)
		put(of, "name", other.Name, maxActorText)
		if len(of) > 0 {
			m["on_behalf_of"] = of
		}
	}
	return m
}

func put(m map[string]any, key, text string, limit int) {
	if strings.TrimSpace(text) != "" {
		m[key] = safeText(text, limit)
	}
}

// safeText returns a text that jsonb takes, cut at limit bytes. The marker that a
// cut one ends in is not counted, and says how long it was.
func safeText(text string, limit int) string {
	if len(text) <= limit {
		return identity.Text(text)
	}
	kept := text[:limit]
	for len(kept) > limit-utf8.UTFMax && !utf8.RuneStart(text[len(kept)]) {
		kept = kept[:len(kept)-1] // not within a character
	}
	return identity.Text(kept) + fmt.Sprintf("...[cut from %d bytes]", len(text))
}
