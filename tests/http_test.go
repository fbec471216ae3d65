package tests

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// TestHTTP: a request, through a proxy, to a handler that writes with GORM.
func TestHTTP(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		trusted []netip.Prefix
		session string
		actor   string
		ip      string
		request string // empty: one that is generated
		want    map[string]any
	}{
		"behind a trusted proxy": {
			[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "ann", "ann", "203.0.113.9", "r_7",
			map[string]any{"actor_kind": "user", "actor_name": "Ann", "user_agent": "browser", "reason": "ticket 7"},
		},
		"behind a stranger": {
			nil, "ann", "ann", "127.0.0.1", "",
			map[string]any{"actor_kind": "user", "actor_name": "Ann", "user_agent": "browser", "reason": "ticket 7"},
		},
		"anonymous": {
			nil, "", "nil", "127.0.0.1", "",
			map[string]any{"actor_kind": "anonymous", "user_agent": "browser", "reason": "ticket 7"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			wrap, err := audit.Middleware(audit.HTTPConfig{TrustedProxies: tc.trusted, Actor: func(r *http.Request) audit.Actor {
				if r.Header.Get("X-Session") == "ann" {
					return audit.Actor{ID: "ann", Name: "Ann"}
				}
				return audit.Actor{}
			}})
			must(t, err)
			server := httptest.NewServer(wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				ctx := audit.WithReason(tenancy.WithTenant(r.Context(), "hal"), r.Header.Get("X-Ticket"))
				if err := b.as(ctx).Create(&Author{ID: 1, Email: "e"}).Error; err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
				}
			})))
			defer server.Close()
			get(t, server.URL, map[string]string{
				"X-Session": tc.session, "X-Ticket": "ticket 7", "User-Agent": "browser",
				"X-Request-ID": "r_7", "X-Forwarded-For": "198.51.100.1, 203.0.113.9",
			})

			entries := b.trail(t)
			if len(entries) != 1 {
				t.Fatalf("%d entries, want 1", len(entries))
			}
			if actor, ip := deref(entries[0].ActorID), deref(entries[0].IPAddress); actor != tc.actor || ip != tc.ip {
				t.Errorf("actor %s at %s, want %s at %s", actor, ip, tc.actor, tc.ip)
			}
			m := said(t, entries[0])
			id, _ := m["request_id"].(string)
			if tc.request == "" && uuid.Validate(id) != nil || tc.request != "" && id != tc.request {
				t.Errorf("request id %q, want %q", id, tc.request)
			}
			delete(m, "request_id")
			if diff := cmp.Diff(tc.want, m); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func get(t *testing.T, url string, headers map[string]string) {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, url, nil)
	must(t, err)
	for name, value := range headers {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", response.Status, body)
	}
}
