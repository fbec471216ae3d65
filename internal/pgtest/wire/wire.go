// Package wire puts a proxy between a test and its PostgreSQL server. It counts
// the round trips and keeps the statements that pass, and it can be slow, or
// gone.
//
//	proxy := wire.Listen(t, db.AppDSN)
//	app := db.Open(postgres.Open(proxy.DSN()), nil)
//	app.First(&project) // connects, too
//	proxy.Reset()
//	app.First(&project)
//	if n := proxy.RoundTrips(); n != 1 { … }
//
// # What a round trip is
//
// A round trip begins where the client sends something that it has to wait for
// while it waits for nothing else: a Query, a FunctionCall, a Sync or a Flush. It
// is over when the server's next ReadyForQuery is handed to the client; where it
// has no more than a Flush in it, when any answer is. What is sent before that
// belongs to it.
//
// So a batch, or a pipeline whose Syncs are sent without waiting for their
// answers, is one round trip, and so is a COPY, whatever it moves. Connecting,
// logging in and cancelling count for nothing.
//
// All of it is seen from the client's side of the proxy, delays included. What
// the client writes at once, up to 64 KB, is read at once. A client that
// pipelines in several writes may see the first answer before the last of them:
// then it did wait, and another round trip begins. With a [Proxy.Delay] it does not.
//
// The driver of database/sql sends a ping, a round trip, before it uses a
// connection that was idle for more than a second.
package wire

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	edit "github.com/courtroll/courtroll/internal/pgtest/dsn"
)

const dialTimeout = 10 * time.Second

// Proxy stands between clients and one server. Its methods may be called from
// any goroutine.
type Proxy struct {
	t                testing.TB
	dsn              string
	network, address string // the server's
	listener         net.Listener
	delay            atomic.Int64
	running          sync.WaitGroup

	mu       sync.Mutex
	refuses  bool
	links    map[*link]struct{}
	trips    []int // of each connection
	messages []Message
}

// Message is a message of a client's that holds or names a statement.
type Message struct {
	// Conn is the connection's number: they are counted from 0 as they log in.
	Conn int

	// Kind is the protocol's letter: 'Q' for a Query, which is a text to be
	// executed, 'P' for a Parse, which prepares one, 'B' for a Bind, which takes
	// a prepared one to be executed.
	Kind byte

	// Name is the prepared statement's; empty for a Query and for the unnamed one.
	Name string

	// SQL is the text, of a Bind that of the Parse which it refers to. It ends
	// after a megabyte.
	SQL string
}

// Listen starts a proxy to the server of a DSN, which is reached without TLS. It
// is closed when the test ends, with all that is connected through it.
func Listen(t testing.TB, dsn string) *Proxy {
	t.Helper()
	p, err := listen(t, dsn)
	if err != nil {
		t.Fatalf("wire: %v", err)
	}
	t.Cleanup(p.close)
	return p
}

func listen(t testing.TB, dsn string) (*Proxy, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	p := &Proxy{t: t, links: map[*link]struct{}{}}
	p.network, p.address = pgconn.NetworkAddress(cfg.Host, cfg.Port)
	p.listener, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	own := p.listener.Addr().(*net.TCPAddr)
	p.dsn, err = edit.WithAddress(dsn, own.IP.String(), own.Port)
	if err != nil {
		_ = p.listener.Close()
		return nil, err
	}
	p.running.Go(p.accept)
	return p, nil
}

// DSN is the server's, through the proxy: with the same login and settings, and
// without TLS.
func (p *Proxy) DSN() string { return p.dsn }

// RoundTrips is how many round trips began since the last [Proxy.Reset].
func (p *Proxy) RoundTrips() int {
	total := 0
	for _, n := range p.ByConnection() {
		total += n
	}
	return total
}

// ByConnection is RoundTrips for each connection, ended ones included, in the
// order in which they logged in: [Message.Conn] is the index.
func (p *Proxy) ByConnection() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.trips)
}

// Messages are those since the last [Proxy.Reset], in the order in which they came.
func (p *Proxy) Messages() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.messages)
}

// Statements are the texts that clients had executed since the last
// [Proxy.Reset]: those of queries and of binds.
func (p *Proxy) Statements() []string {
	var texts []string
	for _, m := range p.Messages() {
		if m.Kind != kindParse {
			texts = append(texts, m.SQL)
		}
	}
	return texts
}

// Reset begins to count and to collect anew. Connections keep their numbers.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.trips)
	p.messages = nil
}

// Delay makes bytes that arrive from now on take that long, in each direction: a
// round trip takes twice d. Any number of bytes are on the way at once.
func (p *Proxy) Delay(d time.Duration) { p.delay.Store(int64(d)) }

// Break makes the server vanish: every connection is reset, and new ones are
// closed as they come, until [Proxy.Mend].
func (p *Proxy) Break() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = true
	for l := range p.links {
		l.reset()
	}
}

// Mend lets clients connect again.
func (p *Proxy) Mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuses = false
}

// close returns when nothing of the proxy's runs any more.
func (p *Proxy) close() {
	_ = p.listener.Close()
	p.Break()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		p.running.Go(func() { p.serve(client) })
	}
}

func (p *Proxy) serve(client net.Conn) {
	l := &link{proxy: p, client: client, done: make(chan struct{}), prepared: map[string]string{}}
	defer p.forget(l)
	if !p.admit(l) {
		return
	}
	if err := l.run(); err != nil {
		p.t.Logf("wire: %v", err)
	}
}

// admit makes the link one that Break ends, unless it came too late.
func (p *Proxy) admit(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.links[l] = struct{}{}
	return !p.refuses
}

func (p *Proxy) forget(l *link) {
	l.close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

func (p *Proxy) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), dialTimeout)
	defer cancel()
	return new(net.Dialer).DialContext(ctx, p.network, p.address)
}

// number gives a connection that logs in its place among the counts.
func (p *Proxy) number() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips = append(p.trips, 0)
	return len(p.trips) - 1
}

// note counts a round trip that begins, and keeps a message, if there is one.
func (p *Proxy) note(conn, trips int, message *Message) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trips[conn] += trips
	if message != nil {
		p.messages = append(p.messages, *message)
	}
}
