package tests

import (
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
)

// untyped is an event of [audit.Record] that is right in itself, and as userLogin defines it.
func untyped(change func(*audit.Event)) audit.Event {
	event := audit.Event{Action: "user.login", Version: 1, ResourceType: "users", Data: map[string]any{"method": "sso"}}
	change(&event)
	return event
}

// refusing makes no JSON of itself, and says so with its value.
type refusing struct{ Secret string }

func (r refusing) MarshalJSON() ([]byte, error) { return nil, errors.New("no JSON of " + r.Secret) }

// refusingKey is refusing as a map's key, of which package json has the error as it is.
type refusingKey struct{ Secret string }

func (r refusingKey) MarshalText() ([]byte, error) { return nil, errors.New("no text of " + r.Secret) }

// bottomless is JSON of more levels than package json reads.
func bottomless() any {
	var value any = "hunter2"
	for range 10_001 {
		value = []any{value}
	}
	return value
}

// TestRecord_Refuses: an event that is wrong in itself is no event, with a plugin
// or without, of best effort or not.
func TestRecord_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bare := b.Open(postgres.Open(b.AppDSN), &gorm.Config{})
	wrong := map[string]func(*audit.Event){
		"no action":       func(e *audit.Event) { e.Action = "" },
		"one part":        func(e *audit.Event) { e.Action = "login" },
		"empty part":      func(e *audit.Event) { e.Action = "user." },
		"empty middle":    func(e *audit.Event) { e.Action = "user..login" },
		"space":           func(e *audit.Event) { e.Action = "user.log in" },
		"NUL":             func(e *audit.Event) { e.Action = "user.login\x00" },
		"invalid":         func(e *audit.Event) { e.Action = "user.login\xff" },
		"too long":        func(e *audit.Event) { e.Action = "user." + strings.Repeat("é", 98) },
		"ours":            func(e *audit.Event) { e.Action = "system_scope.open" },
		"no resource":     func(e *audit.Event) { e.ResourceType = " " },
		"outcome":         func(e *audit.Event) { e.Outcome = "unknown" },
		"version":         func(e *audit.Event) { e.Version = -1 },
		"no JSON":         func(e *audit.Event) { e.Data = map[string]any{"f": func() {}} },
		"refuses":         func(e *audit.Event) { e.Data = map[string]any{"f": refusing{"hunter2"}} },
		"no number":       func(e *audit.Event) { e.Data = map[string]any{"f": math.NaN()} },
		"what is no JSON": func(e *audit.Event) { e.Data = map[string]any{"f": json.RawMessage(`{hunter2`)} },
		"refuses as key":  func(e *audit.Event) { e.Data = map[string]any{"f": map[refusingKey]int{{"hunter2"}: 1}} },
		"number's text":   func(e *audit.Event) { e.Data = map[string]any{"f": []any{json.Number("hunter2")}} },
		"too deep":        func(e *audit.Event) { e.Data = map[string]any{"f": bottomless()} },
	}
	for _, change := range []string{"create", "update", "delete", "soft_delete", "restore"} {
		wrong[change] = func(e *audit.Event) { e.Action = change }
	}
	for name, change := range wrong {
		for _, db := range []*gorm.DB{b.app, bare} {
			for _, effort := range []bool{false, true} {
				err := audit.Record(b.hal, db, untyped(func(e *audit.Event) { change(e); e.BestEffort = effort }))
				if !errors.Is(err, audit.ErrEvent) || !errors.Is(err, audit.ErrAudit) || strings.Contains(err.Error(), "hunter2") {
					t.Errorf("%s: %v, want ErrEvent", name, err)
				}
			}
		}
	}
	for _, action := range []string{"a.b", "user.log-in.2nd", "größe.geändert", "user." + strings.Repeat("x", 195)} {
		must(t, audit.Record(b.hal, b.app, untyped(func(e *audit.Event) { e.Action = action })))
	}
	if entries := b.trail(t); len(entries) != 4 {
		t.Errorf("%d entries, want 4", len(entries))
	}
}
