package audittest

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
)

// trace is a text by which a secret is known.
type trace struct {
	how  string
	text string
	of   func(view) string // in which of a view's texts it is looked for
}

// minTight is the least length of a secret in bytes that is looked for in a text
// without its white space, where words become one.
const minTight = 8

// tracesOf returns the forms of a secret, the plainest first. All others are those
// of the text in which it is looked for.
func tracesOf(secret string) []trace {
	plain := func(v view) string { return v.text }
	folded := func(v view) string { return v.folded }
	tight := func(v view) string { return v.tight }
	tightFolded := func(v view) string { return v.tightFolded }

	traces := []trace{{"as it is", secret, plain}, {"in another case", strings.ToLower(secret), folded}}
	if solid := tighten(strings.ToLower(secret)); len(solid) >= minTight {
		traces = append(traces, trace{"with other white space", solid, tightFolded})
	}
	for _, s := range []string{secret, strings.ToLower(secret), strings.ToUpper(secret)} {
		traces = append(traces, trace{"in hex", hex.EncodeToString([]byte(s)), tightFolded})
		for offset := range 3 {
			traces = append(traces,
				trace{"in base64", base64At(base64.RawStdEncoding, s, offset), tight},
				trace{"in base64 for URLs", base64At(base64.RawURLEncoding, s, offset), tight})
		}
	}
	return traces
}

// firstOf returns how one of the views holds a secret, empty if none does.
func firstOf(traces []trace, views []view) string {
	for _, v := range views {
		i := slices.IndexFunc(traces, func(t trace) bool { return strings.Contains(t.of(v), t.text) })
		switch {
		case i < 0:
		case v.how == "":
			return traces[i].how
		case i == 0:
			return v.how
		default:
			return v.how + ", " + traces[i].how
		}
	}
	return ""
}

// base64At is what stands for a text in the base64 of a longer one, in which
// there are so many bytes before it, modulo three. Left out are the characters
// that stand for a part of its neighbours as well.
func base64At(encoding *base64.Encoding, text string, offset int) string {
	encoded := encoding.EncodeToString(append(make([]byte, offset), text...))
	const bits = 6 // of a character
	return encoded[(offset*8+bits-1)/bits : (offset+len(text))*8/bits]
}

// tighten takes the white space out of a text.
func tighten(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return -1
		}
		return r
	}, text)
}
