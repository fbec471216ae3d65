package pgpipe

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/courtroll/courtroll/models"
)

// BindSQL binds a transaction to a tenant, an actor and a request.
const BindSQL = "SELECT set_config('" + models.TenantSetting + "', $1, true), set_config('" +
	models.ActorSetting + "', $2, true), set_config('" + models.RequestSetting + "', $3, true)"

// text returns the statement that binds.
func (b Binding) text() string {
	if b.admit == nil {
		return BindSQL
	}
	return b.admit.text
}

// params returns its arguments.
func (b Binding) params() [][]byte {
	params := [][]byte{[]byte(b.Tenant), []byte(b.Actor), []byte(b.Request)}
	if b.admit != nil {
		params = append(params, []byte(b.admit.mode))
	}
	return params
}

// carrying returns what is sent for pgx's messages: ours, and theirs where they
// are not in it.
func (l *link) carrying(b []byte) (ours, theirs []byte, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	simple, parses, executes := kindOf(b)
	l.executes = simple || executes
	out := l.out[:0]
	if l.begin != "" && (simple || parses || executes) {
		if out, err = execute(out, "", l.begin, nil); err != nil {
			return nil, nil, err
		}
		l.expected = append(l.expected, parseComplete, bindComplete, begun)
		l.begin, l.unsynced = "", simple
	}
	bound := !l.binding.isZero()
	switch {
	case bound && simple && len(b) > len("Q0000\x00"): // pgx asks for the answer to an empty one
		l.out = l.simple(out, string(b[5:len(b)-1]))
		return l.out, nil, nil
	case bound && executes && l.utility:
		out, err = l.bindByUtility(out)
	case bound && executes:
		out, err = l.bind(out)
	}
	if l.out = out; len(out) > 0 && len(b) <= maxKept {
		l.out = append(l.out, b...)
		return l.out, nil, err
	}
	return out, b, err
}

// kindOf says what the messages do.
func kindOf(b []byte) (simple, parses, executes bool) {
	for len(b) >= 5 {
		switch b[0] {
		case 'Q':
			simple = true
		case 'P':
			parses = true
		case 'E':
			executes = true
		}
		b = b[min(len(b), 1+int(binary.BigEndian.Uint32(b[1:]))):]
	}
	return simple, parses, executes
}

// bindName is the name of the statement that binds.
const bindName = "courtroll_bind"

// bind adds the statement that binds. Where it may have a name it is parsed
// once for the connection. Behind a pooler that gives each transaction another
// connection it has none, which costs little then: in the modes that are for
// poolers pgx parses its own before it runs them, too.
func (l *link) bind(out []byte) (_ []byte, err error) {
	name, text := "", l.binding.text()
	if l.named {
		name = bindName
	}
	switch {
	case l.named && l.prepared == text:
		text = ""
	case l.named: // there may be one, of which an error was told, or of another text
		if out, err = (&pgproto3.Close{ObjectType: 'S', Name: bindName}).Encode(out); err != nil {
			return nil, err
		}
		l.parsing = text
		l.expected = append(l.expected, namedClosed, namedParsed)
	default:
		l.expected = append(l.expected, parseComplete)
	}
	if l.named {
		l.expected = append(l.expected, namedBound, dataRow, commandComplete)
	} else {
		l.expected = append(l.expected, bindComplete, dataRow, commandComplete)
	}
	return execute(out, name, text, l.binding.params())
}

// bindByUtility adds statements that bind and take no snapshot.
func (l *link) bindByUtility(out []byte) (_ []byte, err error) {
	for _, text := range l.binding.utility() {
		if out, err = execute(out, "", text, nil); err != nil {
			return nil, err
		}
		l.expected = append(l.expected, parseComplete, bindComplete, commandComplete)
	}
	return out, nil
}

// utility returns the statements that bind by SET. It takes no snapshot, so that
// a transaction may still be told its isolation level or lock a table before it has one.
func (b Binding) utility() []string {
	return []string{
		"SET LOCAL " + models.TenantSetting + "=" + literal(b.Tenant),
		"SET LOCAL " + models.ActorSetting + "=" + literal(b.Actor),
		"SET LOCAL " + models.RequestSetting + "=" + literal(b.Request),
	}
}

// execute adds the messages that run a statement, parsed before if there is a text.
func execute(out []byte, name, text string, params [][]byte) ([]byte, error) {
	messages := []pgproto3.FrontendMessage{
		&pgproto3.Parse{Name: name, Query: text},
		&pgproto3.Bind{PreparedStatement: name, Parameters: params},
		&pgproto3.Execute{},
	}
	if text == "" {
		messages = messages[1:]
	}
	for _, message := range messages {
		var err error
		if out, err = message.Encode(out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// simple adds a simple query with the binding before its text.
func (l *link) simple(out []byte, query string) []byte {
	var prefix strings.Builder
	for _, text := range l.binding.utility() {
		prefix.WriteString(text + ";")
		l.expected = append(l.expected, commandComplete)
	}
	if q := l.binding.admit; q != nil {
		fmt.Fprintf(&prefix, "SELECT %s(%s,%s);", q.function, literal(l.binding.Tenant), literal(string(q.mode)))
		l.expected = append(l.expected, rowDescription, dataRow, commandComplete)
	}
	l.added = prefix.Len()
	out, _ = (&pgproto3.Query{String: prefix.String() + query}).Encode(out)
	return out
}

// literal returns a string constant of ASCII characters alone, which means the
// same whatever client_encoding and standard_conforming_strings are.
func literal(s string) string {
	var b strings.Builder
	b.WriteString("E'")
	for _, r := range s {
		if r < 0x20 || r > 0x7e || r == '\'' || r == '\\' {
			fmt.Fprintf(&b, `\U%08x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
