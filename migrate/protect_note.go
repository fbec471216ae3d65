package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// notePrefix starts the comment of everything that Protect makes or replaces. It
// is what tells ours from another's.
const notePrefix = "courtroll "

// note is what such a comment holds.
type note struct {
	// Original is the definition that Unprotect restores, empty if there was nothing.
	Original string `json:"original,omitempty"`
	// Comment is the comment that was there before.
	Comment string `json:"comment,omitempty"`
	// Made and State are hashes, of the SQL that a policy was made from and of what
	// the catalogue made of it: a State that differs means that it was altered since.
	Made  string `json:"made,omitempty"`
	State string `json:"state,omitempty"`
	// Before is on policies what row-level security was before us: "enabled", "forced", or nothing.
	Before string `json:"before,omitempty"`
}

// readNote reads a comment, and reports whether it is one of ours.
func readNote(comment string) (n note, ours bool) {
	rest, ours := strings.CutPrefix(comment, notePrefix)
	if !ours || json.Unmarshal([]byte(rest), &n) != nil {
		return note{}, false
	}
	return n, true
}

func (n note) String() string {
	text, err := json.Marshal(n)
	if err != nil {
		panic(fmt.Sprintf("migrate: a note of texts cannot be written: %v", err)) // cannot be
	}
	return notePrefix + string(text)
}

// comment writes a note on an object, given as COMMENT ON has it.
func (r *protectRun) comment(ctx context.Context, object string, n note) error {
	return r.exec(ctx, `COMMENT ON %s IS %s`, object, literal(n.String()))
}

// restoreComment gives an object the comment that it had before a note.
func (r *protectRun) restoreComment(ctx context.Context, object, text string) error {
	if text == "" {
		return nil
	}
	return r.exec(ctx, `COMMENT ON %s IS %s`, object, literal(text))
}
