package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/courtroll/courtroll/internal/plan"
)

const (
	redacted = "[redacted]"

	maxDataText  = 16 << 10
	maxDataName  = 1 << 10
	maxDataDepth = 64 // PostgreSQL's reader of JSON recurses

	// A number of PostgreSQL's has at most 131,072 digits before the point and
	// 16,383 behind it, and is stored with all of them: 1e100000 is 50 KB.
	maxDigits   = 400
	maxExponent = 400
)

// safeValue returns a part of an event's data as the trail may show and hold it.
// It is of the marshalled form, for there maps, structs, texts that are JSON
// already and what types make of themselves all look the same.
func safeValue(value any, depth int) any {
	switch value := value.(type) {
	case map[string]any:
		if depth == maxDataDepth {
			return tooDeep
		}
		return safeObject(value, depth+1)
	case []any:
		if depth == maxDataDepth {
			return tooDeep
		}
		for i := range value {
			value[i] = safeValue(value[i], depth+1)
		}
		return value
	case string:
		return safeText(value, maxDataText)
	case json.Number:
		return safeNumber(value)
	}
	return value
}

var tooDeep = fmt.Sprintf("...[cut at depth %d]", maxDataDepth)

// safeObject redacts by name. That there was no secret, null, is not one. Names
// that differ only in what cannot be held are told apart by a number.
func safeObject(object map[string]any, depth int) map[string]any {
	safe := make(map[string]any, len(object))
	number := 1 // goes on from name to name: to begin anew would take long for a hostile object
	for _, name := range slices.Sorted(maps.Keys(object)) {
		value := object[name]
		if value != nil && speaksOfSecret(name) {
			value = redacted
		} else {
			value = safeValue(value, depth)
		}
		name = safeText(name, maxDataName)
		free := name
		for _, taken := safe[free]; taken; _, taken = safe[free] {
			number++
			free = name + "#" + strconv.Itoa(number)
		}
		safe[free] = value
	}
	return safe
}

// speaksOfSecret judges a name as that of a column is judged, however it joins
// its words: "X-Api-Key", "card.pin", "API_TOKEN".
func speaksOfSecret(name string) bool {
	joined := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return '_'
	}, name)
	return plan.IsSecret(joined) || plan.IsSecret(strings.ToLower(joined))
}

// safeNumber returns a number that PostgreSQL would refuse, or store at length, as text.
func safeNumber(number json.Number) any {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(string(number)), "e")
	power := 0
	if exponent != "" {
		var err error
		if power, err = strconv.Atoi(exponent); err != nil {
			power = math.MaxInt
		}
	}
	if len(mantissa) > maxDigits || power > maxExponent || power < -maxExponent {
		return safeText(string(number), maxDataText)
	}
	return number
}
