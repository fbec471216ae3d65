package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// ErrBaseline is a text that [ReadBaseline] cannot take for a baseline.
var ErrBaseline = errors.New("migrate: this is no baseline")

// Accepted is a finding that somebody looked at and lives with.
type Accepted struct {
	Code   Code   `json:"code"`
	Object string `json:"object"`
	// Reason is why, for whoever reads the file next.
	Reason string `json:"reason"`
}

// String is one line for people.
func (a Accepted) String() string { return fmt.Sprintf("%s: %s", a.Code, a.Object) }

// Baseline is what is accepted: a JSON array of objects with code, object and reason,
// which lies beside the code. The nil Baseline accepts nothing.
type Baseline []Accepted

// ReadBaseline reads one. An entry with another member, without a reason or an object,
// of a code that [Doctor] does not have, or that is there twice is an [ErrBaseline]
// which names it: an entry that accepts nothing should not look as if it did.
func ReadBaseline(r io.Reader) (Baseline, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("reading the baseline: %w", err)
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(text, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBaseline, err)
	}
	var b Baseline
	for i, entry := range entries {
		a, err := b.read(entry)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d (%s): %w", ErrBaseline, i+1, a, err)
		}
		b = append(b, a)
	}
	return b, nil
}

func (b Baseline) read(entry []byte) (a Accepted, err error) {
	decoder := json.NewDecoder(bytes.NewReader(entry))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&a); err != nil {
		return a, err
	}
	switch {
	case !slices.Contains(codes(), a.Code):
		return a, errors.New("Doctor has no such code")
	case strings.TrimSpace(a.Object) == "":
		return a, errors.New("it names no object")
	case strings.TrimSpace(a.Reason) == "":
		return a, errors.New("it has no reason")
	case b.find(a.Code, a.Object) >= 0:
		return a, errors.New("it is there twice")
	}
	return a, nil
}

func (b Baseline) find(code Code, object string) int {
	return slices.IndexFunc(b, func(a Accepted) bool { return a.Code == code && a.Object == object })
}

// Reason returns why a finding is accepted, or empty if it is not.
func (b Baseline) Reason(f Finding) string {
	if i := b.find(f.Code, f.Object); i >= 0 {
		return b[i].Reason
	}
	return ""
}

// Apply divides what was found into what is left and what is accepted. Stale are the
// entries of which nothing is found any more, and which should leave the file: the next
// time it would be found it would be accepted unseen.
func (b Baseline) Apply(found Findings) (left, accepted Findings, stale Baseline) {
	for _, f := range found {
		if b.Reason(f) != "" {
			accepted = append(accepted, f)
		} else {
			left = append(left, f)
		}
	}
	for _, a := range b {
		if !slices.ContainsFunc(accepted, func(f Finding) bool { return f.Code == a.Code && f.Object == a.Object }) {
			stale = append(stale, a)
		}
	}
	return left, accepted, stale
}
