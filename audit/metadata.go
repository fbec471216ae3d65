package audit

import (
	"encoding/json"
	"fmt"

	"github.com/courtroll/courtroll/models"
)

// Metadata is what the metadata of an entry says. A field is its zero value where
// the entry does not say it.
type Metadata struct {
	// Changes are the changed columns by name, of a change.
	Changes map[string]Change `json:"changes"`
	// TransactionID is what the changes of one transaction have in common, on one server.
	TransactionID string `json:"transaction_id"`
	// Outcome, Version and Data are an event's: see [Event].
	Outcome Outcome         `json:"outcome"`
	Version int             `json:"version"`
	Data    json.RawMessage `json:"data"`
	// ActorKind, ActorName, RequestID and UserAgent are the [Actor]'s of the time.
	ActorKind ActorKind `json:"actor_kind"`
	ActorName string    `json:"actor_name"`
	RequestID string    `json:"request_id"`
	UserAgent string    `json:"user_agent"`
	// OnBehalfOf is as whom the actor acted, nil if as himself.
	OnBehalfOf *Person `json:"on_behalf_of"`
	// Reason is that of [WithReason], SystemReason that of the system scope.
	Reason       string `json:"reason"`
	SystemReason string `json:"system_reason"`
	// DatabaseUser is the login of a change that triggers recorded, where no actor is known.
	DatabaseUser string `json:"database_user"`
}

// Person is whom an entry names beside its actor.
type Person struct {
	ID   string    `json:"id"`
	Kind ActorKind `json:"kind"`
	Name string    `json:"name"`
}

// Change is the change of one column: its value before and after as JSON, null
// for SQL's NULL and where the row was not there.
type Change struct {
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
}

// ReadMetadata returns what the metadata of an entry says. Members that it does
// not know are left out. An error is metadata of another form, which another
// program wrote.
func ReadMetadata(entry models.AuditLog) (Metadata, error) {
	var metadata Metadata
	if entry.Metadata == nil {
		return metadata, nil
	}
	if err := json.Unmarshal(*entry.Metadata, &metadata); err != nil {
		return Metadata{}, fmt.Errorf("audit: the metadata of entry %s has another form: %w", entry.ID, shapeOf(err))
	}
	return metadata, nil
}

// shapeOf takes from an error of package json what it quotes of the text.
func shapeOf(err error) error {
	if typed, ok := err.(*json.UnmarshalTypeError); ok { //nolint:errorlint // as json.Unmarshal returns it
		return fmt.Errorf("a JSON %s in %s", kindOf(typed.Value), typed.Field)
	}
	return fmt.Errorf("not a JSON object")
}

// kindOf cuts the number off "number 1.5".
func kindOf(value string) string {
	for i := range value {
		if value[i] == ' ' {
			return value[:i]
		}
	}
	return value
}

// Changes returns the changed columns of an entry by name, empty if it is an event.
func Changes(entry models.AuditLog) (map[string]Change, error) {
	metadata, err := ReadMetadata(entry)
	return metadata.Changes, err
}

// text is a column's value, empty for NULL.
func text(value *string) string {
	if value == nil {
		return ""
	}
	return *value
}
