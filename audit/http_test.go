package audit_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/courtroll/courtroll/audit"
)

// proxies are the trusted ones of these tests; the mapped prefix is 192.168.0.0/16.
var proxies = []netip.Prefix{
	netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:a::/48"), netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("::ffff:192.168.0.0/112"), netip.MustParsePrefix("127.0.0.1/32"),
}

// through returns the actor that a request's handler finds.
func through(t interface {
	Helper()
	Fatal(...any)
}, config audit.HTTPConfig, r *http.Request) (actor audit.Actor) {
	t.Helper()
	wrap, err := audit.Middleware(config)
	if err != nil {
		t.Fatal(err)
	}
	called := false
	wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		actor, called = audit.ActorFromContext(r.Context())
	})).ServeHTTP(httptest.NewRecorder(), r)
	if !called {
		t.Fatal("the handler found no actor")
	}
	return actor
}

func request(peer string, forwarded ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = peer
	for _, line := range forwarded {
		r.Header.Add("X-Forwarded-For", line)
	}
	return r
}

func TestMiddleware_ClientAddress(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer      string
		forwarded []string
		want      string
	}{
		"Direct":                    {"203.0.113.9:4711", nil, "203.0.113.9"},
		"DirectForges":              {"203.0.113.9:4711", []string{"198.51.100.1"}, "203.0.113.9"},
		"DirectForgesAProxy":        {"203.0.113.9:4711", []string{"198.51.100.1, 10.0.0.1"}, "203.0.113.9"},
		"DirectIPv6":                {"[2001:db8:f::1]:4711", nil, "2001:db8:f::1"},
		"NoPort":                    {"203.0.113.9", nil, "203.0.113.9"},
		"Proxy":                     {"10.0.0.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		"ProxySaysNothing":          {"10.0.0.1:1", nil, "10.0.0.1"},
		"ProxySaysAnEmptyLine":      {"10.0.0.1:1", []string{""}, "10.0.0.1"},
		"ForgedBehindProxy":         {"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"ForgedProxyBehindProxy":    {"10.0.0.1:1", []string{"198.51.100.1, 10.0.0.7, 203.0.113.9"}, "203.0.113.9"},
		"TwoProxies":                {"10.0.0.1:1", []string{"198.51.100.1, 203.0.113.9, 10.0.0.2"}, "203.0.113.9"},
		"Lines":                     {"10.0.0.1:1", []string{"198.51.100.1", "203.0.113.9", "10.0.0.2"}, "203.0.113.9"},
		"EmptyLineFirst":            {"10.0.0.1:1", []string{"", "203.0.113.9"}, "203.0.113.9"},
		"AllTrusted":                {"10.0.0.1:1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"},
		"Garbage":                   {"10.0.0.1:1", []string{"203.0.113.9, unknown"}, "10.0.0.1"},
		"GarbageBehindTwo":          {"10.0.0.1:1", []string{"203.0.113.9, _hidden, 10.0.0.2"}, "10.0.0.2"},
		"GarbageOfTheClient":        {"10.0.0.1:1", []string{"'; DROP TABLE x, 203.0.113.9"}, "203.0.113.9"},
		"EmptyEntryIsGarbage":       {"10.0.0.1:1", []string{"198.51.100.1, , 10.0.0.2"}, "10.0.0.2"},
		"TrailingComma":             {"10.0.0.1:1", []string{"198.51.100.1,"}, "10.0.0.1"},
		"Port":                      {"10.0.0.1:1", []string{"203.0.113.9:1234"}, "203.0.113.9"},
		"WrongPort":                 {"10.0.0.1:1", []string{"203.0.113.9:123456"}, "10.0.0.1"},
		"PortOfAProxy":              {"10.0.0.1:1", []string{"203.0.113.9, 10.0.0.2:80"}, "203.0.113.9"},
		"Tabs":                      {"10.0.0.1:1", []string{"198.51.100.1\t,\t203.0.113.9 "}, "203.0.113.9"},
		"IPv6":                      {"10.0.0.1:1", []string{"2001:db8:f::1"}, "2001:db8:f::1"},
		"IPv6Brackets":              {"10.0.0.1:1", []string{"[2001:db8:f::1]"}, "2001:db8:f::1"},
		"IPv6Port":                  {"10.0.0.1:1", []string{"[2001:db8:f::1]:443"}, "2001:db8:f::1"},
		"IPv6Proxy":                 {"[2001:db8:a::1]:1", []string{"203.0.113.9, [2001:db8:a::2]:443"}, "203.0.113.9"},
		"IPv4InBracketsIsGarbage":   {"10.0.0.1:1", []string{"[203.0.113.9]"}, "10.0.0.1"},
		"Mapped":                    {"10.0.0.1:1", []string{"::ffff:203.0.113.9"}, "203.0.113.9"},
		"MappedPeer":                {"[::ffff:10.0.0.1]:1", []string{"198.51.100.1, ::ffff:10.0.0.2, 10.0.0.3"}, "198.51.100.1"},
		"MappedPrefix":              {"192.168.1.1:1", []string{"203.0.113.9"}, "203.0.113.9"},
		"Zone":                      {"10.0.0.1:1", []string{"2001:db8:f::1%eth0"}, "2001:db8:f::1"},
		"ZoneOfAProxy":              {"[fe80::1%eth0]:1", []string{"203.0.113.9"}, "203.0.113.9"},
		"LeadingZerosAreGarbage":    {"10.0.0.1:1", []string{"203.0.113.009"}, "10.0.0.1"},
		"UnixSocket":                {"@", []string{"198.51.100.1, 203.0.113.9"}, "203.0.113.9"},
		"UnixSocketSaysNothing":     {"@", nil, "127.0.0.1"},
		"NoPeer":                    {"", []string{"203.0.113.9"}, "203.0.113.9"},
		"PeerIsGarbage":             {"somebody", []string{"203.0.113.9"}, "invalid IP"},
		"NameOfTheLoopbackIsNoPeer": {"localhost:80", []string{"203.0.113.9"}, "invalid IP"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			actor := through(t, audit.HTTPConfig{TrustedProxies: proxies}, request(tc.peer, tc.forwarded...))
			if got := actor.IP.String(); got != tc.want {
				t.Errorf("%s, want %s", got, tc.want)
			}
		})
	}
	t.Run("NobodyIsTrusted", func(t *testing.T) {
		t.Parallel()
		for _, peer := range []string{"10.0.0.1:1", "@", "127.0.0.1:1"} {
			got := through(t, audit.HTTPConfig{}, request(peer, "203.0.113.9")).IP
			if got == netip.MustParseAddr("203.0.113.9") {
				t.Errorf("%s named another", peer)
			}
		}
	})
	t.Run("UnixSocketWithAPath", func(t *testing.T) {
		t.Parallel()
		r := request("203.0.113.1:1") // the path that a client bound, which looks like an address
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, &net.UnixAddr{Name: "/run/app", Net: "unix"}))
		if got := through(t, audit.HTTPConfig{}, r).IP.String(); got != "127.0.0.1" {
			t.Errorf("%s, want the loopback address", got)
		}
	})
}

// TestMiddleware_ClientCannotChoose: whatever a client sends, its proxies' word counts.
func TestMiddleware_ClientCannotChoose(t *testing.T) {
	t.Parallel()
	entry := rapid.SampledFrom([]string{
		"198.51.100.1", "10.0.0.9", "2001:db8:a::9", "::ffff:10.0.0.9", "192.168.0.9", "127.0.0.1", "[fe80::1%eth0]:80", "10.0.0.9:80",
		"", " ", ",", ",,", "unknown", "[", "]", "\"10.0.0.9\"", "203.0.113.9:x", "10.0.0.9%0", "\t10.0.0.9", "for=10.0.0.9", "é", "\xff",
	})
	client := rapid.SampledFrom([]string{"203.0.113.9", "203.0.113.9:1234", "::ffff:203.0.113.9", "[::ffff:203.0.113.9]:1"})
	behind := rapid.SampledFrom([]string{"10.0.0.2", "10.1.2.3:80", "[2001:db8:a::2]:443", "2001:db8:a::3", "::ffff:192.168.0.2", "fe80::2%eth1"})
	comma := rapid.SampledFrom([]string{",", ", ", " ,\t"})
	rapid.Check(t, func(rt *rapid.T) {
		lines := rapid.SliceOfN(entry, 0, 6).Draw(rt, "forged lines")
		// The first proxy appends to the client's last line, or adds one of its own.
		appended := append([]string{client.Draw(rt, "client")}, rapid.SliceOfN(behind, 0, 4).Draw(rt, "proxies")...)
		for _, own := range appended {
			if at := len(lines) - 1; at >= 0 && rapid.Bool().Draw(rt, "append") {
				lines[at] += comma.Draw(rt, "comma") + own
			} else {
				lines = append(lines, own)
			}
		}
		got := through(rt, audit.HTTPConfig{TrustedProxies: proxies}, request("10.0.0.1:1", lines...)).IP
		if got != netip.MustParseAddr("203.0.113.9") {
			rt.Fatalf("%q: %s", lines, got)
		}
	})
}

func FuzzMiddleware(f *testing.F) {
	f.Add("198.51.100.1, 10.0.0.1", "r_1", "curl")
	f.Add(",]%::ffff:10.0.0.1", strings.Repeat("x", 200), "\x00\xff")
	f.Fuzz(func(t *testing.T, forwarded, id, agent string) {
		r := request("10.0.0.1:1", forwarded+", 203.0.113.9")
		r.Header["X-Request-Id"] = []string{id}
		r.Header["User-Agent"] = []string{agent}
		actor := through(t, audit.HTTPConfig{TrustedProxies: proxies}, r)
		if actor.IP != netip.MustParseAddr("203.0.113.9") {
			t.Errorf("%q chose %s", forwarded, actor.IP)
		}
		if actor.RequestID != id && uuid.Validate(actor.RequestID) != nil || len(actor.RequestID) > 128 {
			t.Errorf("request id %q", actor.RequestID)
		}
	})
}

func TestMiddleware_RequestID(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		peer string
		ids  []string
		kept bool
	}{
		"OfAProxy":       {"10.0.0.1:1", []string{"Az09-._~:/+=@"}, true},
		"OfAClient":      {"203.0.113.9:1", []string{"r_1"}, false},
		"None":           {"10.0.0.1:1", nil, false},
		"Empty":          {"10.0.0.1:1", []string{""}, false},
		"Longest":        {"10.0.0.1:1", []string{strings.Repeat("r", 128)}, true},
		"TooLong":        {"10.0.0.1:1", []string{strings.Repeat("r", 129)}, false},
		"Two":            {"10.0.0.1:1", []string{"r_1", "r_2"}, false},
		"TwoInOne":       {"10.0.0.1:1", []string{"r_1, r_2"}, false},
		"NoWord":         {"10.0.0.1:1", []string{"r\x01"}, false},
		"NoASCII":        {"10.0.0.1:1", []string{"ré"}, false},
		"OfAnUnixSocket": {"@", []string{"r_1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request(tc.peer)
			r.Header["X-Request-Id"] = tc.ids
			got := through(t, audit.HTTPConfig{TrustedProxies: proxies}, r).RequestID
			if tc.kept && got != tc.ids[0] {
				t.Errorf("%q, want %q", got, tc.ids)
			}
			if id, err := uuid.Parse(got); !tc.kept && (err != nil || id.Version() != 7) {
				t.Errorf("%q is no UUIDv7", got)
			}
		})
	}
}

func TestMiddleware_Actor(t *testing.T) {
	t.Parallel()
	ann := audit.Actor{ID: "ann", Name: "Ann", OnBehalfOf: &audit.Actor{ID: "bob"}}
	given := audit.Actor{ID: "ann", IP: netip.MustParseAddr("198.51.100.7"), RequestID: "r", UserAgent: "mine"}
	with := func(a audit.Actor) func(*http.Request) audit.Actor {
		return func(*http.Request) audit.Actor { return a }
	}
	sees := audit.Actor{IP: netip.MustParseAddr("203.0.113.9"), UserAgent: "curl"}
	for name, tc := range map[string]struct {
		context *audit.Actor
		actor   func(*http.Request) audit.Actor
		want    audit.Actor
	}{
		"Nobody":            {nil, nil, audit.Actor{Kind: audit.Anonymous, IP: sees.IP, UserAgent: sees.UserAgent}},
		"NobodyFound":       {nil, with(audit.Actor{}), audit.Actor{Kind: audit.Anonymous, IP: sees.IP, UserAgent: sees.UserAgent}},
		"BlankID":           {nil, with(audit.Actor{ID: " "}), audit.Actor{ID: " ", Kind: audit.Anonymous, IP: sees.IP, UserAgent: sees.UserAgent}},
		"Found":             {nil, with(ann), audit.Actor{ID: "ann", Name: "Ann", OnBehalfOf: ann.OnBehalfOf, IP: sees.IP, UserAgent: sees.UserAgent}},
		"Kind":              {nil, with(audit.Actor{Kind: audit.Service}), audit.Actor{Kind: audit.Service, IP: sees.IP, UserAgent: sees.UserAgent}},
		"OfTheContext":      {&ann, nil, audit.Actor{ID: "ann", Name: "Ann", OnBehalfOf: ann.OnBehalfOf, IP: sees.IP, UserAgent: sees.UserAgent}},
		"FoundBeatsContext": {&audit.Actor{ID: "bob"}, with(ann), audit.Actor{ID: "ann", Name: "Ann", OnBehalfOf: ann.OnBehalfOf, IP: sees.IP, UserAgent: sees.UserAgent}},
		"WhatIsSetIsKept":   {nil, with(given), given},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := request("203.0.113.9:1")
			r.Header.Set("User-Agent", "curl")
			if tc.context != nil {
				r = r.WithContext(audit.WithActor(r.Context(), *tc.context))
			}
			got := through(t, audit.HTTPConfig{Actor: tc.actor}, r)
			if got.RequestID == "" {
				t.Error("no request id")
			}
			if tc.want.RequestID == "" {
				got.RequestID = ""
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateComparable(netip.Addr{})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestMiddleware_RefusesPrefixes(t *testing.T) {
	t.Parallel()
	for name, prefix := range map[string]netip.Prefix{
		"Invalid":      {},
		"EveryIPv4":    netip.MustParsePrefix("0.0.0.0/0"),
		"EveryIPv6":    netip.MustParsePrefix("::/0"),
		"EveryMapped":  netip.MustParsePrefix("::ffff:0.0.0.0/96"),
		"MoreThanIPv4": netip.MustParsePrefix("::ffff:0.0.0.0/90"),
	} {
		if _, err := audit.Middleware(audit.HTTPConfig{TrustedProxies: []netip.Prefix{proxies[0], prefix}}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
