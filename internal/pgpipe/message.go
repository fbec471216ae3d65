package pgpipe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/courtroll/courtroll/models"
)

const bindSQL = "SELECT set_config('" + models.TenantSetting + "', $1, true), set_config('" +
	models.ActorSetting + "', $2, true), set_config('" + models.RequestSetting + "', $3, true)"

// carrying returns what is sent for pgx's messages, with ours before them.
func (l *link) carrying(b []byte) ([]byte, error) {
	simple, parses, executes := kindOf(b)
	l.out, l.added = l.out[:0], 0
	var err error
	switch {
	case simple && l.begin != "":
		return nil, errors.New("pgpipe: a simple query before its transaction has begun")
	case simple && len(b) > len("Q0000\x00"): // pgx asks for the answer to an empty one
		l.out = l.simple(l.out, string(b[5:len(b)-1]))
		return l.out, nil
	}
	if l.begin != "" && (parses || executes) {
		if l.out, err = l.execute(l.out, "", l.begin, nil); err != nil {
			return nil, err
		}
		l.expected = append(l.expected, parseComplete, bindComplete, commandComplete)
		l.begin = ""
	}
	if executes && !l.binding.isZero() {
		if l.out, err = l.bind(l.out); err != nil {
			return nil, err
		}
	}
	return append(l.out, b...), nil
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

// bind adds the statement that binds. Where it may have a name it is parsed
// once for the connection. Behind a pooler that gives each transaction another
// connection it has none, which is free then: in the modes that are for poolers
// pgx parses its own before it runs them, too.
func (l *link) bind(out []byte) (_ []byte, err error) {
	name := ""
	if l.named {
		name = "courtroll_bind_" + strconv.Itoa(l.serial)
	}
	text := bindSQL
	if l.prepared {
		text = ""
	}
	binding := [][]byte{[]byte(l.binding.Tenant), []byte(l.binding.Actor), []byte(l.binding.Request)}
	if out, err = l.execute(out, name, text, binding); err != nil {
		return nil, err
	}
	switch {
	case l.prepared:
	case l.named:
		l.expected = append(l.expected, bindParsed)
	default:
		l.expected = append(l.expected, parseComplete)
	}
	l.expected = append(l.expected, bindComplete, dataRow, commandComplete)
	return out, nil
}

// execute adds the messages that run a statement, parsed before if there is a text.
func (l *link) execute(out []byte, name, text string, params [][]byte) ([]byte, error) {
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

// simple adds a simple query with the binding before its text. SET takes no
// snapshot, so that a transaction may still be told its isolation level or lock
// a table before it has one.
func (l *link) simple(out []byte, query string) []byte {
	var prefix strings.Builder
	for _, setting := range []struct{ name, value string }{
		{models.TenantSetting, l.binding.Tenant}, {models.ActorSetting, l.binding.Actor}, {models.RequestSetting, l.binding.Request},
	} {
		prefix.WriteString("SET LOCAL " + setting.name + "=" + literal(setting.value) + ";")
		l.expected = append(l.expected, commandComplete)
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
