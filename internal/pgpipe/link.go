package pgpipe

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/jackc/pgx/v5/pgproto3"
)

// link is a connection to the server. It puts messages before those that pgx
// writes, and takes the answers to them out of what pgx reads.
type link struct {
	net.Conn

	// pgx may read in the background while it writes, and takes its leave from a
	// connection that it gives up in the background, too.
	mu sync.Mutex
	cargo
	added    int      // characters put before the text of a simple query
	executes bool     // the last write runs a statement
	sent     bool     // one that does was written, since [link.arm]
	out      []byte   // what goes before pgx's messages
	expected []answer // what is taken out, in order
	named    bool     // the statement that binds is kept on the connection under a name
	prepared string   // the text of it that the server has, empty if it has none
	parsing  string   // the text of it that was sent last
	readOnly bool     // the tenant is suspended, and its transaction can only read
	unsynced bool     // a BEGIN that fails has nothing after it that makes the server go on
	frame    frame
}

// cargo is what goes before the messages of a statement.
type cargo struct {
	binding Binding // before what executes
	begin   string  // before whatever the server reads first, empty if there is none
	// utility binds by statements that take no snapshot. The extended protocol
	// takes several of them.
	utility bool
}

// answer is the type of a server's message.
type answer byte

const (
	parseComplete   answer = '1'
	bindComplete    answer = '2'
	closeComplete   answer = '3'
	dataRow         answer = 'D'
	commandComplete answer = 'C'
	errorResponse   answer = 'E'
	noticeResponse  answer = 'N'
	parameterStatus answer = 'S'
	rowDescription  answer = 'T'
	notification    answer = 'A'

	// What is expected of messages with a meaning of their own.
	begun       answer = 'b' // commandComplete of BEGIN
	namedClosed answer = 'c' // closeComplete, parseComplete and bindComplete of the statement that binds
	namedParsed answer = 'p'
	namedBound  answer = 'n'
)

// arm sets what goes before the messages that follow.
func (l *link) arm(c cargo) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cargo, l.added, l.sent, l.readOnly = c, 0, false, false
}

// isReadOnly reports whether the statement's tenant was found to be suspended, and let
// through to read.
func (l *link) isReadOnly() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.readOnly
}

// hasSent reports whether the server may have run a statement since [link.arm].
func (l *link) hasSent() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

// unsent returns what is left of [link.arm]'s BEGIN, and how many characters were
// put before the text of a simple query.
func (l *link) unsent() (begin string, added int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.begin, l.added
}

// maxKept is the size above which a buffer is not kept with the connection, and
// messages are not copied behind ours.
const maxKept = 16 << 10

// Write implements [net.Conn]. pgx writes whole messages, and all of a statement at once.
func (l *link) Write(b []byte) (n int, err error) {
	ours, theirs, err := l.carrying(b)
	if err != nil {
		return 0, err
	}
	for _, part := range [][]byte{ours, theirs} {
		if err == nil && len(part) > 0 {
			var written int
			written, err = l.Conn.Write(part)
			n += written
		}
	}
	if err == nil {
		n = len(b)
	} else {
		n = max(0, n-(len(ours)+len(theirs)-len(b)))
	}
	l.wrote(n)
	return n, err
}

func (l *link) wrote(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent = l.sent || l.executes && n > 0
	if cap(l.out) > maxKept {
		l.out = nil
	}
}

// Read implements [net.Conn].
func (l *link) Read(b []byte) (int, error) {
	for {
		n, err := l.Conn.Read(b)
		kept, mixed := l.take(b[:n])
		if mixed != nil {
			return 0, mixed
		}
		if kept > 0 || n == 0 || err != nil {
			return kept, err
		}
	}
}

// frame is where in the server's messages the last read ended.
type frame struct {
	head [5]byte // type and length of the message
	read int     // bytes of the head that were read
	rest int     // bytes of the body still to come
	drop bool    // the message is taken out
	tag  []byte  // the start of a commandComplete's body
}

// take moves what pgx is to see to the front of b and returns its length.
func (l *link) take(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := 0
	for i := 0; i < len(b); {
		n, err := l.next(b[i:])
		if err != nil {
			return 0, err
		}
		if !l.frame.drop {
			kept += copy(b[kept:], b[i:i+n])
		}
		i += n
	}
	return kept, nil
}

// next goes over one message's head or body, or what is there of it.
func (l *link) next(b []byte) (n int, err error) {
	f := &l.frame
	if f.rest > 0 {
		n = min(f.rest, len(b))
		f.rest -= n
		l.heed(b[:n])
		return n, nil
	}
	if f.read == 0 {
		if f.drop, err = l.isExpected(answer(b[0])); err != nil {
			return 0, err
		}
	}
	n = copy(f.head[f.read:], b)
	if f.read += n; f.read == len(f.head) {
		f.read, f.rest, f.tag = 0, int(binary.BigEndian.Uint32(f.head[1:]))-4, f.tag[:0]
	}
	return n, nil
}

// heed learns from the answer to a DEALLOCATE or DISCARD that the statement
// which binds is gone, and from that to our own whether the tenant is suspended: a
// boolean at the end of the row.
func (l *link) heed(body []byte) {
	f := &l.frame
	if f.drop && answer(f.head[0]) == dataRow && l.binding.admit != nil {
		l.readOnly = body[len(body)-1] == 't'
		return
	}
	const enough = len("DISCARD")
	if answer(f.head[0]) != commandComplete || f.drop || len(f.tag) >= enough {
		return
	}
	f.tag = append(f.tag, body[:min(len(body), enough-len(f.tag))]...)
	if tag := string(f.tag); tag == "DISCARD" || tag == "DEALLOC" {
		l.prepared = ""
	}
}

// isExpected reports whether a message answers one of ours.
func (l *link) isExpected(got answer) (bool, error) {
	switch {
	case len(l.expected) == 0, got == noticeResponse, got == parameterStatus, got == notification:
		return false, nil
	case got == errorResponse: // which becomes the statement's: the server skips pgx's messages
		return false, l.fail()
	}
	want := l.expected[0]
	l.expected = l.expected[1:]
	switch want {
	case begun:
		l.unsynced, want = false, commandComplete
	case namedClosed:
		want = closeComplete
	case namedParsed:
		l.prepared, want = l.parsing, parseComplete
	case namedBound:
		want = bindComplete
	}
	if got != want {
		return false, fmt.Errorf("pgpipe: the server answered with a message %q instead of %q", got, want)
	}
	return true, nil
}

// fail gives up on what is still expected. A simple query is skipped with the
// BEGIN before it, and has no Sync that would end the skipping.
func (l *link) fail() error {
	if slices.ContainsFunc(l.expected, func(a answer) bool { return a == namedClosed || a == namedParsed || a == namedBound }) {
		l.prepared = ""
	}
	l.expected = nil
	if !l.unsynced {
		return nil
	}
	l.unsynced = false
	sync, err := (&pgproto3.Sync{}).Encode(nil)
	if err == nil {
		_, err = l.Conn.Write(sync)
	}
	return err
}
