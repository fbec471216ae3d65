package pgpipe

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync"
)

// link is a connection to the server. It puts messages before those that pgx
// writes, and takes the answers to them out of what pgx reads.
type link struct {
	net.Conn
	named bool // the statement that binds may be kept on the connection under a name

	binding Binding // goes before what executes a statement
	begin   string  // goes before whatever is sent next
	added   int     // characters put before the text of a simple query
	out     []byte

	mu       sync.Mutex // pgx may read in the background while it writes
	expected []answer   // what is taken out, in order
	prepared bool       // the server has the statement that binds
	serial   int        // part of its name, which changes after a failure
	frame    frame
}

// answer is the type of a server's message.
type answer byte

const (
	parseComplete   answer = '1'
	bindComplete    answer = '2'
	dataRow         answer = 'D'
	commandComplete answer = 'C'
	errorResponse   answer = 'E'
	noticeResponse  answer = 'N'
	parameterStatus answer = 'S'
	notification    answer = 'A'

	bindParsed answer = 'p' // parseComplete, for the statement that binds
)

// Write implements [net.Conn]. pgx writes whole messages, and all of a statement at once.
func (l *link) Write(b []byte) (int, error) {
	if l.begin == "" && l.binding.isZero() {
		return l.Conn.Write(b)
	}
	l.mu.Lock()
	out, err := l.carrying(b)
	l.mu.Unlock()
	if err != nil {
		return 0, err
	}
	n, err := l.Conn.Write(out)
	if err != nil {
		return max(0, n-(len(out)-len(b))), err
	}
	return len(b), nil
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
		return n, nil
	}
	if f.read == 0 {
		if f.drop, err = l.isExpected(answer(b[0])); err != nil {
			return 0, err
		}
	}
	n = copy(f.head[f.read:], b)
	if f.read += n; f.read == len(f.head) {
		f.read, f.rest = 0, int(binary.BigEndian.Uint32(f.head[1:]))-4
	}
	return n, nil
}

// isExpected reports whether a message answers one of ours.
func (l *link) isExpected(got answer) (bool, error) {
	switch {
	case len(l.expected) == 0, got == noticeResponse, got == parameterStatus, got == notification:
		return false, nil
	case got == errorResponse:
		// The server skips pgx's messages, too, and the error becomes the statement's.
		l.expected, l.prepared = nil, false
		l.serial++
		return false, nil
	}
	want := l.expected[0]
	l.expected = l.expected[1:]
	if want == bindParsed {
		l.prepared, want = true, parseComplete
	}
	if got != want {
		return false, fmt.Errorf("pgpipe: the server answered with a message %q instead of %q", got, want)
	}
	return true, nil
}
