package audittest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// mismatch says what there is in the place of what was expected.
func (tr *Trail) mismatch(found []models.AuditLog, want, resourceType, action string) string {
	text := fmt.Sprintf("%s of action %q on %q%s, want %s", count(len(found)), action, resourceType, tr.narrowed, want)
	if len(found) > 0 {
		return text + ":" + list(found)
	}
	return text + tr.others()
}

// others lists what there is instead: of what the test looks at, or else of that
// without the last narrowing, which is what is wrong then.
func (tr *Trail) others() string {
	here, err := tr.read(tr.filter)
	switch {
	case err != nil:
		return fmt.Sprintf("; listing the others: %v", err)
	case len(here) > 0:
		return "; there are" + tr.narrowed + ":" + list(here)
	}
	if tr.outer != nil {
		if here, err = tr.read(tr.outer.filter); err == nil && len(here) > 0 {
			return "; there is nothing" + tr.narrowed + ", but without " + tr.last + ":" + list(here)
		}
		if tr.seesAny() {
			return "; there is nothing" + tr.narrowed + ", nor without " + tr.last
		}
	}
	return "; the trail that the context sees is empty: was it of another tenant, or is the handle without the audit plugin?"
}

func count(n int) string {
	switch n {
	case 0:
		return "no entry"
	case 1:
		return "1 entry"
	}
	return fmt.Sprintf("%d entries", n)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// maxListed bounds what a message lists: the newest are the test's own.
const maxListed = 20

func list(entries []models.AuditLog) string {
	var text strings.Builder
	if cut := len(entries) - maxListed; cut > 0 {
		fmt.Fprintf(&text, "\n\t… and %d before:", cut)
		entries = entries[cut:]
	}
	for _, entry := range entries {
		text.WriteString("\n\t" + line(entry))
	}
	return text.String()
}

// line is an entry without its values: action, resource, actor, and what changed.
func line(entry models.AuditLog) string {
	text := entry.Action + " " + entry.ResourceType
	if entry.ResourceID != nil {
		text += " " + *entry.ResourceID
	}
	if entry.ActorID != nil {
		text += " by " + *entry.ActorID
	}
	metadata, err := audit.ReadMetadata(entry)
	switch {
	case err != nil:
		return text + ": " + err.Error()
	case metadata.Changes == nil:
		return text + ": " + string(metadata.Outcome)
	}
	return text + ": " + strings.Join(fieldsOf(metadata), ", ")
}

func fieldsOf(metadata audit.Metadata) []string { return slices.Sorted(maps.Keys(metadata.Changes)) }

// The forms in which the trail shows less than a value.
const (
	redacted = `"[redacted]"`
	hashed   = `"hmac-sha256:`
	cutFrom  = `...[cut from `
)

// isHidden tells a value of which nothing is shown but whether it is there.
func isHidden(value json.RawMessage) bool {
	return string(value) == "null" || string(value) == redacted
}

// altered says why no value may be what the test wants.
func altered(change audit.Change) string {
	for _, value := range []string{string(change.Old), string(change.New)} {
		switch {
		case value == redacted:
			return " (it is redacted: see Redacted)"
		case strings.HasPrefix(value, hashed):
			return " (the trail has a hash of it)"
		case strings.Contains(value, cutFrom):
			return " (the trail has its start alone)"
		}
	}
	return ""
}

const maxShown = 300

// short cuts a value to what a message can hold.
func short(text string) string {
	if len(text) <= maxShown {
		return text
	}
	return strings.ToValidUTF8(text[:maxShown], "") + "…"
}

// instead names the likeliest of some names, or where none is like the given one,
// what there is.
func instead(name string, names []string) string {
	if nearest(name, names) == "" && len(names) > 0 {
		return ": there are " + strings.Join(names, ", ")
	}
	return didYouMean(name, names)
}

func didYouMean(name string, names []string) string {
	if near := nearest(name, names); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}
