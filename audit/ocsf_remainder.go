package audit

import (
	"bytes"
	"encoding/json"

	"gorm.io/datatypes"
)

// remainder is what of an entry is in no attribute yet. Values are JSON as they were
// written, for a float64 holds no large number.
type remainder struct {
	columns map[string]any             // by name
	members map[string]json.RawMessage // of the metadata, by name
}

// remainderOf goes by the members alone, not by [Metadata]: one that has another form
// does not keep the others from their attributes.
func remainderOf(metadata *datatypes.JSON) remainder {
	r := remainder{columns: map[string]any{}}
	switch {
	case metadata == nil:
	case json.Unmarshal(*metadata, &r.members) == nil && r.members != nil:
	case json.Valid(*metadata):
		r.columns["metadata"] = json.RawMessage(*metadata)
	default: // no jsonb column holds this
		r.columns["metadata"] = string(*metadata)
	}
	return r
}

// text takes the member that is a text, and returns "" if it is none or says nothing.
func (r remainder) text(name string) (text string) {
	if json.Unmarshal(r.members[name], &text) != nil || text == "" {
		return ""
	}
	delete(r.members, name)
	return text
}

// changes takes the changes of a row, and returns nil if there are none of the
// form that this package writes.
func (r remainder) changes() (changes map[string]map[string]json.RawMessage) {
	if json.Unmarshal(r.members["changes"], &changes) != nil || len(changes) == 0 {
		return nil
	}
	for _, change := range changes {
		if len(change) != 2 || change["old"] == nil || change["new"] == nil {
			return nil
		}
	}
	delete(r.members, "changes")
	return changes
}

func (r remainder) unmapped() map[string]any {
	if len(r.members) > 0 {
		r.columns["metadata"] = r.members
	}
	return r.columns
}

// side returns the old or the new values of the changed columns.
func side(changes map[string]map[string]json.RawMessage, name string) map[string]json.RawMessage {
	values := make(map[string]json.RawMessage, len(changes))
	for column, change := range changes {
		values[column] = change[name]
	}
	return values
}

func allNull(values map[string]json.RawMessage) bool {
	for _, value := range values {
		if !bytes.Equal(value, []byte("null")) {
			return false
		}
	}
	return true
}
