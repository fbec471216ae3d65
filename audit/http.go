package audit

import (
	"cmp"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// HTTPConfig configures [Middleware]. The zero value trusts nobody's headers.
type HTTPConfig struct {
	// TrustedProxies are the addresses of the app's own proxies and load balancers,
	// which append the address that called them to X-Forwarded-For and set
	// X-Request-ID, or take away what a client sent of it. Anybody at such an address
	// can name any other. 127.0.0.1/32 also stands for what calls through a Unix
	// socket. Default: none, so that a client's address is the connection's.
	TrustedProxies []netip.Prefix

	// Actor says who makes a request, usually from what the authentication before
	// this middleware left in the request's context. An IP, RequestID or UserAgent
	// that it sets is kept. Default: the actor that the context carries already.
	Actor func(*http.Request) Actor
}

// Middleware returns what gives each request's context an [Actor]: who makes the
// request, or [Anonymous] where nobody is named, with the client's address, the
// request's id and the user agent. It goes inside the authentication. An error
// is a prefix of [HTTPConfig.TrustedProxies] that is not valid, or one of length
// 0, with which each client could name its own address.
//
// The client's address is the last in X-Forwarded-For that is not a trusted
// proxy's, counted from the connection backwards, so that what a client puts
// there itself is not reached; an entry that is no address ends the way at the
// proxy that passed it on. Addresses are without zone and port, IPv4 ones mapped
// to IPv6 are IPv4's. Other headers, as Forwarded, are not read.
//
// The request's id is the X-Request-ID of a trusted proxy if there is one, of at
// most 128 letters, digits and "-._~:/+=@"; otherwise it is a new UUIDv7.
func Middleware(config HTTPConfig) (func(http.Handler) http.Handler, error) {
	m := &middleware{actor: config.Actor}
	for _, prefix := range config.TrustedProxies {
		switch {
		case !prefix.IsValid():
			return nil, fmt.Errorf("audit: a prefix of TrustedProxies is not valid: %v", prefix)
		case prefix.Addr().Is4In6() && prefix.Bits() > mappedBits:
			prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-mappedBits)
		case prefix.Bits() == 0 || prefix.Addr().Is4In6():
			return nil, fmt.Errorf("audit: the prefix %v of TrustedProxies trusts everybody", prefix)
		}
		m.trusted = append(m.trusted, prefix)
	}
	return m.wrap, nil
}

// mappedBits is how many bits come before an IPv4 address that is mapped to IPv6.
const mappedBits = 96

type middleware struct {
	trusted []netip.Prefix
	actor   func(*http.Request) Actor
}

func (m *middleware) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r.WithContext(WithActor(r.Context(), m.actorOf(r))))
	})
}

func (m *middleware) actorOf(r *http.Request) Actor {
	actor, _ := ActorFromContext(r.Context())
	if m.actor != nil {
		actor = m.actor(r)
	}
	if actor.Kind == "" && !actor.named() {
		actor.Kind = Anonymous
	}
	peer := peerOf(r)
	actor.IP = cmp.Or(actor.IP, m.client(peer, r.Header.Values("X-Forwarded-For")))
	if actor.RequestID == "" {
		actor.RequestID = m.requestID(peer, r.Header.Values("X-Request-ID"))
	}
	actor.UserAgent = cmp.Or(actor.UserAgent, r.UserAgent())
	return actor
}

func (m *middleware) trusts(addr netip.Addr) bool {
	return slices.ContainsFunc(m.trusted, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// client returns who is behind the peer. Each trusted proxy vouches for the one
// entry that it appended, so they are read from the last to the first.
func (m *middleware) client(peer netip.Addr, forwarded []string) netip.Addr {
	client := peer
	for rest := strings.Join(forwarded, ","); rest != "" && m.trusts(client); {
		entry := rest
		if at := strings.LastIndexByte(rest, ','); at < 0 {
			rest = ""
		} else {
			rest, entry = rest[:at], rest[at+1:]
		}
		addr := parseAddr(strings.Trim(entry, " \t"))
		if !addr.IsValid() {
			break
		}
		client = addr
	}
	return client
}

// peerOf returns the address at the other end of the connection; a Unix socket,
// which has none, is this machine. It is not valid where a server says nothing
// that can be read.
func peerOf(r *http.Request) netip.Addr {
	local, _ := r.Context().Value(http.LocalAddrContextKey).(interface{ Network() string })
	if local != nil && strings.HasPrefix(local.Network(), "unix") || r.RemoteAddr == "" || r.RemoteAddr[0] == '@' {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return parseAddr(r.RemoteAddr)
}

// parseAddr reads an address with or without port, an IPv6 one also in brackets.
func parseAddr(text string) netip.Addr {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		if strings.HasSuffix(text, "]") {
			text += ":0"
		}
		withPort, _ := netip.ParseAddrPort(text)
		addr = withPort.Addr()
	}
	return addr.Unmap().WithZone("") // no prefix contains an address with a zone
}

const maxRequestID = 128

func (m *middleware) requestID(peer netip.Addr, given []string) string {
	if len(given) == 1 && m.trusts(peer) && isRequestID(given[0]) {
		return given[0]
	}
	id, err := uuid.NewV7()
	if err != nil { // the machine has no randomness: better no id than no answer
		return ""
	}
	return id.String()
}

func isRequestID(text string) bool {
	return text != "" && len(text) <= maxRequestID && strings.IndexFunc(text, func(r rune) bool {
		isWord := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !isWord && !strings.ContainsRune("-._~:/+=@", r)
	}) < 0
}
