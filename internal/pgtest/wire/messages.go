package wire

import (
	"bytes"
	"encoding/binary"
)

// maxText is how much of a message is kept.
const maxText = 1 << 20

// The messages that are looked at.
const (
	kindQuery        = 'Q'
	kindParse        = 'P'
	kindBind         = 'B'
	kindClose        = 'C'
	kindSync         = 'S'
	kindFlush        = 'H'
	kindFunctionCall = 'F'

	kindReadyForQuery   = 'Z'
	kindNotice          = 'N'
	kindNotification    = 'A'
	kindParameterStatus = 'S'
)

// wait is what a client waits for.
type wait int

const (
	forNothing wait = iota
	forAnswer       // to a Flush
	forReady
)

// asked sees each message of the client's, when it was read.
func (l *link) asked(kind byte, body []byte) {
	trips := 0
	switch kind {
	case kindQuery, kindSync, kindFunctionCall:
		trips = l.begin(forReady)
	case kindFlush:
		trips = l.begin(forAnswer)
	}
	if message := l.statement(kind, body); trips > 0 || message != nil {
		l.proxy.note(l.conn, trips, message)
	}
}

// begin returns 1 where a round trip begins.
func (l *link) begin(w wait) (trips int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait == forNothing {
		trips = 1
	}
	l.wait = max(l.wait, w)
	return trips
}

// answered sees each message of the server's, before the client gets it: the
// client's reply cannot come first.
func (l *link) answered(kind byte, _ []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch kind {
	case kindReadyForQuery:
		l.wait = forNothing
	case kindNotice, kindNotification, kindParameterStatus: // come unasked
	default:
		if l.wait == forAnswer {
			l.wait = forNothing
		}
	}
}

// statement reads a message that holds or names one.
func (l *link) statement(kind byte, body []byte) *Message {
	m := &Message{Conn: l.conn, Kind: kind}
	switch kind {
	case kindQuery:
		m.SQL, _ = text(body)
	case kindParse:
		var rest []byte
		m.Name, rest = text(body)
		m.SQL, _ = text(rest)
		l.prepared[m.Name] = m.SQL
	case kindBind:
		_, rest := text(body) // the portal's name
		m.Name, _ = text(rest)
		m.SQL = l.prepared[m.Name]
	default:
		l.unprepare(kind, body)
		return nil
	}
	return m
}

// unprepare forgets a text whose statement is closed.
func (l *link) unprepare(kind byte, body []byte) {
	if statement, ok := bytes.CutPrefix(body, []byte{'S'}); ok && kind == kindClose {
		name, _ := text(statement)
		delete(l.prepared, name)
	}
}

// text is the string that a body begins with, and what follows.
func text(body []byte) (string, []byte) {
	s, rest, _ := bytes.Cut(body, []byte{0})
	return string(s), rest
}

// scanner finds the messages in a stream that is cut anywhere.
type scanner struct {
	keep    int // how much of a message's body is kept
	message func(kind byte, body []byte)

	header []byte
	left   int // bytes of the body that are still to come
	body   []byte
}

const headerSize = 5 // a letter, and a length that includes itself

func (s *scanner) scan(data []byte) {
	for len(data) > 0 {
		if len(s.header) < headerSize {
			n := min(headerSize-len(s.header), len(data))
			s.header, data = append(s.header, data[:n]...), data[n:]
			if len(s.header) < headerSize {
				return
			}
			s.left = max(0, int(binary.BigEndian.Uint32(s.header[1:]))-4)
		}
		n := min(s.left, len(data))
		s.body = append(s.body, data[:min(n, s.keep-len(s.body))]...)
		s.left, data = s.left-n, data[n:]
		if s.left == 0 {
			s.message(s.header[0], s.body)
			s.header, s.body = s.header[:0], s.body[:0]
		}
	}
}
