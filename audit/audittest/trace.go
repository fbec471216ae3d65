package audittest

import (
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strings"
)

// trace is a text by which a secret is known.
type trace struct {
	how    string
	text   string
	folded bool // the text is in lower case, and so is what it is looked for in
}

// firstOf returns how a text holds a secret, empty if it does not.
func firstOf(traces []trace, text, folded string) string {
	for _, t := range traces {
		if t.folded && strings.Contains(folded, t.text) || !t.folded && strings.Contains(text, t.text) {
			return t.how
		}
	}
	return ""
}

// tracesOf returns the forms of a secret, the plainest first.
func tracesOf(secret string) []trace {
	escaped := unquoted(secret)
	traces := []trace{
		{"as it is", secret, false},
		{"in another case", strings.ToLower(secret), true},
		{"escaped as JSON", strings.ToLower(escaped), true},
		{"escaped as JSON", strings.ToLower(htmlEscaper.Replace(escaped)), true},
		{"escaped as JSON twice", strings.ToLower(unquoted(escaped)), true},
		{"escaped as a URL", strings.ToLower(url.QueryEscape(secret)), true},
		{"escaped as a URL", strings.ToLower(url.PathEscape(secret)), true},
	}
	for _, s := range []string{secret, strings.ToLower(secret), strings.ToUpper(secret)} {
		traces = append(traces, trace{"in hex", hex.EncodeToString([]byte(s)), true})
		for offset := range 3 {
			traces = append(traces,
				trace{"in base64", base64At(base64.RawStdEncoding, s, offset), false},
				trace{"in base64 for URLs", base64At(base64.RawURLEncoding, s, offset), false})
		}
	}
	return traces
}

// unquoted is a text as it stands between the quotes of JSON.
func unquoted(text string) string {
	quoted := jsonText(text)
	return quoted[1 : len(quoted)-1]
}

// htmlEscaper makes the escapes that package json adds by default.
var htmlEscaper = strings.NewReplacer("<", `\u003c`, ">", `\u003e`, "&", `\u0026`)

// base64At is what stands for a text in the base64 of a longer one, in which
// there are so many bytes before it, modulo three. Left out are the characters
// that stand for a part of its neighbours as well.
func base64At(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString(append(make([]byte, offset), text...))
	const bits = 6 // of a character
	return encoded[(offset*8+bits-1)/bits : (offset+len(text))*8/bits]
}
