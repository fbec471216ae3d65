package audittest

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// minSecret is the least length of a secret in bytes: a shorter one is found
// everywhere by chance.
const minSecret = 4

// NoSecrets demands that none of the secrets occurs in the part of the trail
// that db's context may see: in a column, or in a text, a number or a name
// within the metadata. It knows them in upper and lower case; escaped as JSON (a
// document in a column of text), as a URL or a form and as HTML, whichever
// characters the writer escaped; in hex (so does the trail show bytea) and in
// base64, also in the middle of what was encoded, and broken into lines; and one of
// these within another, four deep, though what is in hex or base64 twice must not
// be escaped within. Of 8 bytes or more, it may have other white space. It does not
// know a secret of which the trail holds a part alone, nor one that was compressed,
// hashed, encrypted, or encoded in another way. Let the test write secrets that
// occur nowhere else, "canary-1" and the like, in all ways that the app has, and
// then look for them.
//
// The failure names each place, by entry and column or path, and says which of
// the secrets it is by its position from 1. It holds none of them.
//
// A check that has nothing to look at, or for, could not fail. So it is a failure
// if the context sees no entry but the records of system scopes, if no secret is
// given, and if one is blank or shorter than 4 bytes.
func NoSecrets(t testing.TB, db *gorm.DB, secrets ...string) {
	t.Helper()
	h, err := newHunt(secrets)
	if err == nil {
		db, err = reader(db)
	}
	if err == nil {
		err = eachPage(db.Statement.Context, db, audit.Filter{}, h.page)
	}
	switch {
	case err != nil:
		t.Fatalf("audittest: %v", err)
	case h.entries == 0:
		t.Fatal("audittest: the trail that the context sees is empty, and so no secret was looked for: write some first, in this context's tenant")
	case len(h.found) > 0:
		t.Errorf("audittest: secrets in the trail, by their position in the call:\n\t%s", strings.Join(h.found, "\n\t"))
	}
}

// hunt is a search for secrets.
type hunt struct {
	secrets [][]trace
	known   map[string][]string // what of short texts was found: most are names
	entries int
	found   []string // what was found where, without a secret
	entry   string   // which is searched
}

func newHunt(secrets []string) (*hunt, error) {
	h := &hunt{known: map[string][]string{}}
	if len(secrets) == 0 {
		return nil, errors.New("NoSecrets was given no secret to look for")
	}
	for i, secret := range secrets {
		if secret = strings.TrimSpace(secret); len(secret) < minSecret {
			return nil, fmt.Errorf("secret %d has less than %d bytes: it would be found by chance", i+1, minSecret)
		}
		h.secrets = append(h.secrets, tracesOf(secret))
	}
	return h, nil
}

func (h *hunt) page(entries []models.AuditLog) {
	for _, entry := range entries {
		if !isScope(entry) {
			h.entries++
		}
		h.search(entry)
	}
}

func (h *hunt) search(entry models.AuditLog) {
	h.entry = fmt.Sprintf("entry %s (%s %s)", entry.ID, h.veil(entry.Action), h.veil(entry.ResourceType))
	for _, column := range []struct {
		name string
		text *string
	}{
		{"actor_id", entry.ActorID},
		{"tenant_id", entry.TenantID},
		{"action", &entry.Action},
		{"resource_type", &entry.ResourceType},
		{"resource_id", entry.ResourceID},
		{"ip_address", entry.IPAddress},
	} {
		if column.text != nil {
			h.look(*column.text, column.name)
		}
	}
	if entry.Metadata == nil {
		return
	}
	value, err := decode(*entry.Metadata)
	if err != nil {
		value = string(*entry.Metadata)
	}
	h.walk(value, "metadata")
}

// walk looks at each text, number and name of a JSON value.
func (h *hunt) walk(value any, path string) {
	switch value := value.(type) {
	case string:
		h.look(value, path)
	case json.Number:
		h.look(string(value), path)
	case []any:
		for i, element := range value {
			h.walk(element, fmt.Sprintf("%s[%d]", path, i))
		}
	case map[string]any:
		for _, name := range slices.Sorted(maps.Keys(value)) {
			h.look(name, path+", as a name")
			h.walk(value[name], path+"."+h.veil(name))
		}
	}
}

func (h *hunt) look(text, place string) {
	for i, how := range h.ways(text) {
		if how != "" {
			h.found = append(h.found, fmt.Sprintf("secret %d in %s, %s, %s", i+1, h.entry, place, how))
		}
	}
}

// veil returns a text of the trail for the message, unless it holds a secret.
func (h *hunt) veil(text string) string {
	if slices.ContainsFunc(h.ways(text), func(how string) bool { return how != "" }) {
		return "[a secret]"
	}
	return text
}

// What is kept of texts that were searched.
const (
	maxKnown     = 10_000
	maxKnownText = 64 // bytes
)

// ways returns how a text holds each secret, empty where it does not.
func (h *hunt) ways(text string) []string {
	if ways, ok := h.known[text]; ok {
		return ways
	}
	views := viewsOf(text)
	ways := make([]string, len(h.secrets))
	for i, traces := range h.secrets {
		ways[i] = firstOf(traces, views)
	}
	if len(text) <= maxKnownText && len(h.known) < maxKnown {
		h.known[text] = ways
	}
	return ways
}
