package audittest

import (
	"encoding/base64"
	"encoding/hex"
	"html"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// view is a text of the trail as it is, or with an encoding undone.
type view struct {
	how                              string // which encodings are undone, empty for none
	text, folded, tight, tightFolded string // folded is in lower case, tight without white space
	depth                            int
	bytes                            bool // it was decoded from hex or base64, and may be noise
}

// maxDepth bounds the encodings within encodings.
const maxDepth = 4

// viewsOf returns a text and what it may be the encoding of, the plainest first.
func viewsOf(text string) []view {
	views := []view{viewOf(text)}
	seen := map[string]bool{text: true}
	for i := 0; i < len(views); i++ { // they become more
		v := views[i]
		if v.depth >= maxDepth {
			continue
		}
		for _, d := range decoders {
			if d.bytes && v.bytes {
				continue // of noise comes only noise
			}
			decoded := d.decode(v)
			if decoded == "" || seen[decoded] {
				continue
			}
			seen[decoded] = true
			next := viewOf(decoded)
			next.how, next.depth, next.bytes = further(v.how, d.how), v.depth+1, v.bytes || d.bytes
			views = append(views, next)
		}
	}
	return views
}

func viewOf(text string) view {
	v := view{text: text, folded: strings.ToLower(text), tight: tighten(text)}
	v.tightFolded = strings.ToLower(v.tight)
	return v
}

func further(how, next string) string {
	switch how {
	case "":
		return next
	case next:
		return how + " twice"
	}
	return how + ", " + next
}

// decoders undo what the encodings did, wherever in a text that may be, and leave
// what is none of theirs. One that has nothing to do returns the text, or none.
var decoders = []struct {
	how    string
	decode func(view) string
	bytes  bool
}{
	{"escaped as JSON", func(v view) string { return unescapeJSON(v.text) }, false},
	{"escaped as a URL", func(v view) string { return unescapeURL(v.text) }, false},
	{"escaped as a URL", func(v view) string { return unescapeURL(strings.ReplaceAll(v.text, "+", " ")) }, false},
	{"escaped as HTML", func(v view) string { return html.UnescapeString(v.text) }, false},
	{"in hex", func(v view) string { return decodeRuns(v.tight, hexRun, 2, hex.DecodeString) }, true},
	{"in base64", func(v view) string {
		return decodeRuns(toStandard.Replace(v.tight), base64Run, 4, base64.RawStdEncoding.DecodeString)
	}, true},
}

var (
	jsonEscape = regexp.MustCompile(`(\\u[0-9a-fA-F]{4})+|\\x[0-9a-fA-F]{2}|\\["'\\/bfnrt]`)
	urlEscape  = regexp.MustCompile(`%[0-9a-fA-F]{2}`)
	hexRun     = regexp.MustCompile(`[0-9a-fA-F]{8,}`)
	base64Run  = regexp.MustCompile(`[0-9a-zA-Z+/]{6,}`)
	toStandard = strings.NewReplacer("-", "+", "_", "/")
)

func unescapeJSON(text string) string {
	return jsonEscape.ReplaceAllStringFunc(text, func(escape string) string {
		switch escape[1] {
		case 'u':
			var units []uint16
			for _, unit := range strings.Split(escape, `\u`)[1:] {
				units = append(units, uint16(number(unit)))
			}
			return string(utf16.Decode(units))
		case 'x':
			return string([]byte{byte(number(escape[2:]))})
		}
		if i := strings.IndexByte("bfnrt", escape[1]); i >= 0 {
			return "\b\f\n\r\t"[i : i+1]
		}
		return escape[1:]
	})
}

func unescapeURL(text string) string {
	return urlEscape.ReplaceAllStringFunc(text, func(escape string) string { return string([]byte{byte(number(escape[1:]))}) })
}

// number is what hexadecimal digits say, four at most.
func number(digits string) uint64 {
	n, _ := strconv.ParseUint(digits, 16, 16) // which a pattern has found
	return n
}

// decodeRuns decodes each run of an encoding's characters, from each of its first:
// a word that stands before the encoding's may have become one with it.
func decodeRuns(text string, runs *regexp.Regexp, group int, decode func(string) ([]byte, error)) string {
	var decoded strings.Builder
	for _, run := range runs.FindAllString(text, -1) {
		for offset := range group {
			part := run[offset:]
			if over := len(part) % group; over == 1 {
				part = part[:len(part)-over]
			}
			if plain, err := decode(part); err == nil {
				writeProse(&decoded, plain)
				decoded.WriteByte(0) // so that two make no third
			}
		}
	}
	return decoded.String()
}

// writeProse leaves out what can only be noise: what was no encoding, or was one of
// bytes that are no text, in which a secret is known by its own hex and base64.
func writeProse(to *strings.Builder, decoded []byte) {
	const size = 48 // enough to tell
	chunks := slices.Collect(slices.Chunk(decoded, size))
	prose := make([]bool, len(chunks)+2) // with one before and one after
	for i, chunk := range chunks {
		prose[i+1] = isProse(chunk)
	}
	for i, chunk := range chunks {
		if prose[i] || prose[i+1] || prose[i+2] { // one beside it may begin or end in noise
			to.Write(chunk)
		}
	}
}

// isProse reports whether of the runes three in five can be seen: of noise, two.
func isProse(text []byte) bool {
	seen, all := 0, 0
	for _, r := range string(text) {
		all++
		if unicode.IsPrint(r) && r != utf8.RuneError || unicode.IsSpace(r) {
			seen++
		}
	}
	return 5*seen >= 3*all
}
