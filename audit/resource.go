package audit

import (
	"fmt"
	"strings"
)

// ResourceID returns the id under which the trail has a row with the given primary
// key: the key's text or, of a composite key, a JSON array of the texts, in the order
// of the model's fields.
func ResourceID(keys ...string) string {
	if len(keys) == 1 {
		return keys[0]
	}
	quoted := make([]string, len(keys))
	for i, key := range keys {
		quoted[i] = quoteJSON(key)
	}
	return "[" + strings.Join(quoted, ",") + "]"
}

// quoteJSON quotes as PostgreSQL does, whose text has to be met: package
// encoding/json escapes more.
func quoteJSON(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch escape := strings.IndexRune("\b\f\n\r\t\"\\", r); {
		case escape >= 0:
			b.WriteByte('\\')
			b.WriteByte(`bfnrt"\`[escape])
		case r < ' ':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
