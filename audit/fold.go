package audit

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
)

// fold is a state in the making, from the entries of a resource in their order.
type fold struct {
	State
	at    time.Time
	auto  []string // columns that may change without an entry
	first *models.AuditLog
	whole bool // no later entry tells more
	marks bool // an entry has told whether the row was soft-deleted
}

func (f *fold) add(entry models.AuditLog) error {
	if f.first == nil {
		f.first = &entry
	}
	if text(f.first.TenantID) != text(entry.TenantID) {
		return fmt.Errorf("audit: reading a state: %w: the resource has entries of several tenants: set Resource.TenantID", ErrFilter)
	}
	if !slices.Contains(changing, entry.Action) {
		return nil
	}
	metadata, err := ReadMetadata(entry)
	switch changes := metadata.Changes; {
	case err != nil:
		return err
	case !f.at.IsZero() && entry.CreatedAt.After(f.at):
		f.learn(entry, changes)
	default:
		f.check(entry, changes)
		f.apply(entry, changes)
		f.Last = &entry
	}
	return nil
}

// changing are the actions of the changes of a row.
var changing = []string{"create", "update", "delete", "soft_delete", "restore"}

// apply takes an entry of the time before.
func (f *fold) apply(entry models.AuditLog, changes map[string]Change) {
	switch entry.Action {
	case "delete":
		f.Exists, f.SoftDeleted, f.Partial, f.Fields = false, false, false, nil
		return
	case "create":
		f.Exists, f.SoftDeleted, f.Partial, f.Fields = true, false, false, map[string]json.RawMessage{}
	}
	f.begin()
	if entry.Action != "update" {
		f.SoftDeleted, f.marks = entry.Action == "soft_delete", true
	}
	for name, change := range changes {
		f.Fields[name] = orNull(change.New)
	}
}

// begin makes a row be there whose creation is not in the trail.
func (f *fold) begin() {
	if !f.Exists {
		f.Exists, f.Partial, f.Fields = true, true, map[string]json.RawMessage{}
	}
}

// learn takes an entry of the time after: the old values of what nothing had
// changed before are those of the time.
func (f *fold) learn(entry models.AuditLog, changes map[string]Change) {
	if entry.Action != "create" && f.Last == nil {
		f.begin()
	}
	if f.whole = entry.Action == "create" || !f.Partial; f.whole {
		return
	}
	for name, change := range changes {
		if _, known := f.Fields[name]; !known {
			f.Fields[name] = orNull(change.Old)
		}
	}
	switch entry.Action {
	case "delete": // which has every column
		f.whole, f.Partial = true, false
	case "soft_delete", "restore":
		f.SoftDeleted, f.marks = f.SoftDeleted || !f.marks && entry.Action == "restore", true
	}
}

// check looks whether an entry goes on from the one before.
func (f *fold) check(entry models.AuditLog, changes map[string]Change) {
	if f.Last == nil {
		return
	}
	if f.Exists == (entry.Action == "create") {
		f.Gaps = append(f.Gaps, Gap{Entry: entry.ID})
		return
	}
	for name, change := range changes {
		before, known := f.Fields[name]
		if (known || !f.Partial) && f.Exists && !slices.Contains(f.auto, name) && !continues(orNull(before), orNull(change.Old)) {
			f.Gaps = append(f.Gaps, Gap{Entry: entry.ID, Field: name})
		}
	}
}

// continues reports whether an old value may be what was new before, in the form
// of another type of the column, or of another treatment.
func continues(before, old json.RawMessage) bool {
	return sameJSON(before, old) || unquoted(before) == unquoted(old) || isTreated(before) != isTreated(old)
}

// isTreated reports whether the trail does not have the value itself.
func isTreated(value json.RawMessage) bool {
	s := unquoted(value)
	return s == trail.Redacted || strings.HasPrefix(s, "hmac-sha256:") || strings.HasSuffix(s, "]") && strings.Contains(s, "...[cut from ")
}

// unquoted is the text of a string, and of a number or truth value; null is none.
func unquoted(value json.RawMessage) string {
	var s string
	switch {
	case string(value) == "null":
		return "\x00"
	case json.Unmarshal(value, &s) != nil:
		return string(value)
	}
	return s
}

func orNull(value json.RawMessage) json.RawMessage {
	if value == nil {
		return json.RawMessage("null")
	}
	return value
}

// maxRational is the length of numbers above which they are compared as texts: one
// such as 1e100000 takes long to write out.
const maxRational = 100

// sameJSON compares values as jsonb gives them, whose members are in one order.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) > maxRational || len(b) > maxRational || bytes.ContainsAny(a, `eE"`) || bytes.ContainsAny(b, `eE"`) {
		return false
	}
	x, isX := new(big.Rat).SetString(string(a))
	y, isY := new(big.Rat).SetString(string(b))
	return isX && isY && x.Cmp(y) == 0
}
