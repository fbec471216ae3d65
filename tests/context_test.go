package tests

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// bothEntries makes a change and an event, and returns their two entries.
func (b *bundle) bothEntries(t *testing.T, ctx context.Context) []models.AuditLog {
	t.Helper()
	must(t, b.as(ctx).Create(&Author{ID: 1, Email: "e"}).Error)
	must(t, audit.Record(ctx, b.app, audit.Event{Action: "a.b", ResourceType: "c"}))
	entries := b.trail(t)
	if len(entries) != 2 {
		t.Fatalf("%d entries, want 2", len(entries))
	}
	return entries
}

// said is what metadata says of the context alone.
func said(t *testing.T, e models.AuditLog) map[string]any {
	t.Helper()
	m := metadata(t, e)
	for _, other := range []string{"changes", "transaction_id", "outcome", "data"} {
		delete(m, other)
	}
	return m
}

func TestContext_Metadata(t *testing.T) {
	t.Parallel()
	hal := tenancy.WithTenant(context.Background(), "hal")
	bob := audit.Actor{ID: "bob", Name: "Bob", UserAgent: "not recorded", OnBehalfOf: &audit.Actor{ID: "carl"}}
	for name, tc := range map[string]struct {
		ctx   context.Context
		actor string
		want  map[string]any
	}{
		"nobody":         {hal, "nil", map[string]any{}},
		"anonymous":      {audit.WithActor(hal, audit.Actor{Kind: audit.Anonymous}), "nil", map[string]any{"actor_kind": "anonymous"}},
		"kind of an app": {audit.WithActor(hal, audit.Actor{ID: "k", Kind: "api_key"}), "k", map[string]any{"actor_kind": "api_key"}},
		"on behalf of": {audit.WithActor(hal, audit.Actor{ID: "ann", OnBehalfOf: &bob}), "ann", map[string]any{
			"actor_kind": "user", "on_behalf_of": map[string]any{"id": "bob", "kind": "user", "name": "Bob"},
		}},
		"service for user": {audit.WithActor(hal, audit.Actor{ID: "job", Kind: audit.Service, OnBehalfOf: &audit.Actor{ID: "bob"}}), "job", map[string]any{
			"actor_kind": "service", "on_behalf_of": map[string]any{"id": "bob", "kind": "user"},
		}},
		"on nobody's behalf": {audit.WithActor(hal, audit.Actor{ID: "ann", OnBehalfOf: &audit.Actor{}}), "ann", map[string]any{"actor_kind": "user"}},
		"reason":             {audit.WithReason(hal, "ticket 7"), "nil", map[string]any{"reason": "ticket 7"}},
		"last reason":        {audit.WithReason(audit.WithReason(hal, "ticket 7"), "ticket 8"), "nil", map[string]any{"reason": "ticket 8"}},
		"reason taken away":  {audit.WithReason(audit.WithReason(hal, "ticket 7"), " "), "nil", map[string]any{}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			for _, e := range b.bothEntries(t, tc.ctx) {
				if deref(e.ActorID) != tc.actor {
					t.Errorf("%s: actor %s, want %s", e.Action, deref(e.ActorID), tc.actor)
				}
				if diff := cmp.Diff(tc.want, said(t, e)); diff != "" {
					t.Errorf("%s: %s", e.Action, diff)
				}
			}
		})
	}
}

// TestContext_UnsafeTexts: what a client sends keeps no change from being made.
func TestContext_UnsafeTexts(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"nul": "a\x00b", "invalid": "a\xffb", "surrogate": "a\xed\xa0\x80b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			ctx := audit.WithActor(tenancy.WithTenant(t.Context(), "hal"), audit.Actor{
				ID: text, Kind: audit.ActorKind(text), Name: text, RequestID: text, UserAgent: text,
				OnBehalfOf: &audit.Actor{ID: text, Kind: audit.ActorKind(text), Name: text},
				IP:         netip.MustParseAddr("fe80::1%" + text),
			})
			const safe = "a\uFFFDb"
			want := map[string]any{
				"actor_kind": safe, "actor_name": safe, "request_id": safe, "user_agent": safe, "reason": safe,
				"on_behalf_of": map[string]any{"id": safe, "kind": safe, "name": safe},
			}
			for _, e := range b.bothEntries(t, audit.WithReason(ctx, text)) {
				if diff := cmp.Diff(want, said(t, e)); diff != "" {
					t.Errorf("%s: %s", e.Action, diff)
				}
				if deref(e.ActorID) != safe || deref(e.IPAddress) != "fe80::1%"+safe {
					t.Errorf("%s: actor %q, address %q", e.Action, deref(e.ActorID), deref(e.IPAddress))
				}
			}
			must(t, b.as(tenancy.AsSystem(t.Context(), "clean-up "+text)).Where("1=1").Delete(&Author{}).Error)
			entries := b.trail(t)
			if got := said(t, entries[len(entries)-1])["system_reason"]; got != "clean-up "+safe {
				t.Errorf("system reason %q", got)
			}
		})
	}
	t.Run("long", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		long := strings.Repeat("x", 1023) + strings.Repeat("é", 5000)
		ctx := audit.WithActor(tenancy.WithTenant(t.Context(), "hal"), audit.Actor{UserAgent: long, Name: strings.Repeat("n", 1024)})
		for _, e := range b.bothEntries(t, audit.WithReason(ctx, long)) {
			m := said(t, e)
			if want := strings.Repeat("x", 1023) + "...[cut from 11023 bytes]"; m["user_agent"] != want {
				t.Errorf("user agent %q", m["user_agent"])
			}
			if m["actor_name"] != strings.Repeat("n", 1024) {
				t.Error("a name within the limit was changed")
			}
			if reason, _ := m["reason"].(string); !strings.HasSuffix(reason, "é...[cut from 11023 bytes]") || !utf8.ValidString(reason) || len(reason) > 4200 {
				t.Errorf("reason of %d bytes: …%s", len(reason), reason[len(reason)-40:])
			}
		}
	})
}

func TestContext_ActorIsCopied(t *testing.T) {
	t.Parallel()
	bob := &audit.Actor{ID: "bob"}
	ctx := audit.WithActor(t.Context(), audit.Actor{ID: "ann", OnBehalfOf: bob})
	bob.ID = "mallory"
	read, _ := audit.ActorFromContext(ctx)
	if read.OnBehalfOf.ID != "bob" {
		t.Errorf("changed from outside to %s", read.OnBehalfOf.ID)
	}
	read.OnBehalfOf.ID = "mallory"
	if again, _ := audit.ActorFromContext(ctx); again.OnBehalfOf.ID != "bob" {
		t.Errorf("changed by a reader to %s", again.OnBehalfOf.ID)
	}
}

func TestContext_AnonymousIsNoActor(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, RequireActor: true})
	visitor := audit.WithActor(b.hal, audit.Actor{ID: "cookie", Kind: audit.Anonymous})
	for name, err := range map[string]error{
		"create": b.as(visitor).Create(&Author{ID: 1}).Error,
		"record": audit.Record(visitor, b.app, audit.Event{Action: "a.b", ResourceType: "c"}),
	} {
		if !errors.Is(err, audit.ErrNoActor) {
			t.Errorf("%s: %v, want ErrNoActor", name, err)
		}
	}
	b.wantTrail(t)
}
