package tests

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tenancy"
)

// logIn is the data of log-ins, with what must not enter the trail at two depths.
type logIn struct {
	Method  string            `json:"method"`
	Attempt uint8             `json:"attempt,omitempty"`
	Device  *device           `json:"device,omitempty"`
	Tried   []device          `json:"tried,omitempty"`
	ByName  map[string]device `json:"by_name,omitempty"`
	Email   string            `json:"email,omitempty" audit:"redact"`
	Trace   string            `json:"trace,omitempty" audit:"-"`
	PIN     int               `json:"pin,omitempty"`
	Free    any               `json:"free,omitempty"`
	Big     int64             `json:"big,omitempty"`
}

type device struct {
	Name   string  `json:"name"`
	Serial *string `json:"serial" audit:"redact"`
	Trace  string  `json:"trace" audit:"-"`
}

type logIn2 struct {
	Method string `json:"method"`
	Zone   string `json:"zone"`
}

var (
	userLogin  = audit.Define[logIn](audit.Definition{Action: "user.login", ResourceType: "users"})
	userLogin2 = audit.Define[logIn2](audit.Definition{Action: "user.login", ResourceType: "users", Version: 2})
	cacheFlush = audit.Define[struct{}](audit.Definition{Action: "cache.flush", ResourceType: "caches"})
	badEvent   = audit.Define[logIn](audit.Definition{Action: "login", ResourceType: "users"})
)

func TestEvents_Typed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	serial := "s3cret"
	must(t, userLogin.Record(b.hal, b.app, logIn{
		Method: "sso", Device: &device{Name: "d", Serial: &serial, Trace: serial}, Tried: []device{{Name: "e", Trace: serial}},
		ByName: map[string]device{"f": {Serial: &serial}}, Email: serial, Trace: serial, PIN: 1234, Free: map[string]any{"trace": "kept", "password": serial},
		Big: math.MaxInt64,
	}, audit.Occurrence{ResourceID: "u_1", Outcome: audit.Failure}))
	must(t, userLogin2.Record(b.system, b.app, logIn2{}, audit.Occurrence{TenantID: "acme"}))
	must(t, cacheFlush.Record(b.hal, b.app, struct{}{}, audit.Occurrence{BestEffort: true}))
	_ = b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		must(t, cacheFlush.Record(b.hal, tx, struct{}{}, audit.Occurrence{}))
		return errors.New("rolled back")
	})

	entries := b.trail(t)
	if len(entries) != 3 {
		t.Fatalf("%d entries, want 3", len(entries))
	}
	first := entries[0]
	if first.Action != "user.login" || first.ResourceType != "users" || deref(first.ResourceID) != "u_1" || deref(first.TenantID) != "hal" {
		t.Errorf("%+v", first)
	}
	m, err := audit.ReadMetadata(first)
	must(t, err)
	const want = `{"method":"sso","device":{"name":"d","serial":"[redacted]"},"tried":[{"name":"e","serial":null}],"by_name":{"f":{"name":"","serial":"[redacted]"}},
		"email":"[redacted]","pin":"[redacted]","free":{"trace":"kept","password":"[redacted]"},"big":9223372036854775807}`
	if got := canonical(t, string(m.Data)); got != canonical(t, want) || m.Version != 1 || m.Outcome != audit.Failure {
		t.Errorf("version %d, outcome %s, data %s", m.Version, m.Outcome, got)
	}
	if !strings.Contains(string(m.Data), "9223372036854775807") {
		t.Errorf("a number lost digits: %s", m.Data)
	}
	second, _ := audit.ReadMetadata(entries[1])
	third, _ := audit.ReadMetadata(entries[2])
	if deref(entries[1].TenantID) != "acme" || second.Version != 2 || second.Outcome != audit.Success || third.Data != nil || third.Version != 1 {
		t.Errorf("%+v and %+v", second, third)
	}
}

// allForms is written by package json otherwise than by its kinds.
type allForms struct {
	ID      uuid.UUID
	At      time.Time
	From    netip.Addr
	Maybe   *netip.Addr
	Total   big.Int
	Weight  json.Number
	Took    time.Duration
	Receipt []byte
	Raw     json.RawMessage
	Any     any
	Names   []string
	Labels  map[string]*int
	Points  [2]float64
	Count   uint64
	Label   label
}

// TestEvents_AllForms: what a type says, its own schema takes, zero or not.
func TestEvents_AllForms(t *testing.T) {
	t.Parallel()
	b := setup(t)
	measured := audit.Define[allForms](audit.Definition{Action: "all.forms", ResourceType: "c"})
	addr, one := netip.MustParseAddr("192.0.2.1"), 1
	for _, data := range []allForms{{Raw: json.RawMessage(`null`)}, {
		ID: uuid.New(), At: time.Now(), From: addr, Maybe: &addr, Total: *big.NewInt(7), Weight: "1.5", Took: time.Second, Receipt: []byte{0, 255}, Raw: json.RawMessage(`[1]`),
		Any: []any{nil}, Names: []string{""}, Labels: map[string]*int{"a": &one, "b": nil}, Points: [2]float64{1, -1e300}, Count: math.MaxUint64, Label: label{"l"},
	}} {
		must(t, measured.Record(b.hal, b.app, data, audit.Occurrence{}))
	}
}

func TestEvents_Catalog(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, Events: audit.Catalog{userLogin2, userLogin, cacheFlush}})
	data := func(json map[string]any) audit.Event { return untyped(func(e *audit.Event) { e.Data = json }) }
	with := func(name string, value any) audit.Event { return data(map[string]any{"method": "sso", name: value}) }
	const secret = "hunter2"
	for name, tc := range map[string]struct {
		event audit.Event
		want  string // what the error says, empty for none
	}{
		"OK":             {untyped(func(*audit.Event) {}), ""},
		"newest":         {untyped(func(e *audit.Event) { e.Version, e.Data["zone"] = 0, "z" }), ""},
		"not the newest": {untyped(func(e *audit.Event) { e.Version = 0 }), "data.zone is missing"},
		"no data":        {audit.Event{Action: "cache.flush", ResourceType: "caches"}, ""},
		"all data":       {data(map[string]any{"method": "sso", "attempt": 255, "device": map[string]any{"name": "n", "serial": nil}, "free": []int{1}, "pin": 1e3}), ""},
		"other action":   {untyped(func(e *audit.Event) { e.Action = "user.logout" }), "no event of its action is in Config.Events"},
		"other version":  {untyped(func(e *audit.Event) { e.Version = 3 }), "version 3 of its action is not in Config.Events, which has 1, 2"},
		"other resource": {untyped(func(e *audit.Event) { e.ResourceType = "user" }), `resource type is not "users"`},
		"no member":      {data(nil), "data.method is missing"},
		"wrong type":     {with("method", 12345), "data.method is not as its schema has it: string"},
		"number as text": {with("attempt", "hunter2"), "data.attempt is not as its schema has it: integer from 0 to 255"},
		"too large":      {with("attempt", 256), "data.attempt"},
		"huge":           {with("attempt", json.RawMessage(`1e400000`)), "data.attempt"},
		"fraction":       {with("attempt", 1.5), "data.attempt"},
		"unknown":        {with("hunter2", secret), `data has a member that is none of ["method"`},
		"unknown within": {with("device", map[string]any{"name": "n", "serial": nil, secret: 1}), `data.device has a member that is none of ["name"`},
		"in an array":    {with("tried", []any{map[string]any{"name": "n", "serial": nil}, map[string]any{"name": secret}}), "data.tried[1].serial is missing"},
		"in a map":       {with("by_name", map[string]any{secret: map[string]any{"name": 1, "serial": secret}}), "data.by_name.*.name is not as its schema has it: string"},
		"object as text": {with("device", secret), "data.device is not as its schema has it: object, or null"},
		"text as object": {with("method", map[string]any{secret: 1}), "data.method"},
	} {
		for _, effort := range []bool{false, true} {
			tc.event.BestEffort = effort
			err := audit.Record(b.hal, b.app, tc.event)
			var event *audit.EventError
			switch {
			case tc.want == "" && err == nil:
			case tc.want == "" || !errors.Is(err, audit.ErrUndefinedEvent) || !errors.Is(err, audit.ErrAudit) || !errors.As(err, &event) || !strings.Contains(err.Error(), tc.want):
				t.Errorf("%s: %v, want an EventError with %q", name, err, tc.want)
			case strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "12345"):
				t.Errorf("%s: the error holds a value: %v", name, err)
			}
		}
	}
	if entries := b.trail(t); len(entries) != 8 {
		t.Errorf("%d entries, want 8", len(entries))
	}
}

// TestEvents_CatalogRecords: an untyped event enters the trail as a typed one does.
func TestEvents_CatalogRecords(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, Events: audit.Catalog{userLogin, cacheFlush}})
	must(t, audit.Record(b.hal, b.app, untyped(func(e *audit.Event) {
		e.Version, e.Data = 0, map[string]any{"method": "sso", "email": "x", "trace": "x"}
	})))
	must(t, cacheFlush.Record(b.system, b.app, struct{}{}, audit.Occurrence{})) // opens the scope, which no catalogue names
	other := audit.Define[struct{}](audit.Definition{Action: "cache.flush", ResourceType: "caches"})
	none := audit.Define[struct{}](audit.Definition{Action: "cache.fill", ResourceType: "caches"})
	for want, err := range map[string]error{
		"version 2 of its action is not in Config.Events, which has 1": userLogin2.Record(b.hal, b.app, logIn2{}, audit.Occurrence{}),
		"another type of its action and version":                       other.Record(b.hal, b.app, struct{}{}, audit.Occurrence{}),
		"no event of its action":                                       none.Record(b.hal, b.app, struct{}{}, audit.Occurrence{}),
	} {
		if !errors.Is(err, audit.ErrUndefinedEvent) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ErrUndefinedEvent with %q", err, want)
		}
	}
	m, err := audit.ReadMetadata(b.trail(t)[0])
	must(t, err)
	if got := canonical(t, string(m.Data)); got != canonical(t, `{"method":"sso","email":"[redacted]"}`) || m.Version != 1 {
		t.Errorf("version %d, data %s", m.Version, got)
	}
	b.wantActions(t, "user.login", "system_scope.open", "cache.flush")
}

func (b *bundle) wantActions(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	must(t, b.super.Raw("SELECT action FROM audit_logs ORDER BY created_at, id").Scan(&got).Error)
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("actions %v, want %v", got, want)
	}
}

// TestEvents_EmptyCatalog allows no event, and a nil one any.
func TestEvents_EmptyCatalog(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, Events: audit.Catalog{}})
	if err := audit.Record(b.hal, b.app, view); !errors.Is(err, audit.ErrUndefinedEvent) {
		t.Errorf("%v, want ErrUndefinedEvent", err)
	}
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "1"}).Error) // no event
}

func TestEvents_Unversioned(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, audit.Record(b.hal, b.app, view))
	must(t, audit.Record(b.hal, b.app, untyped(func(e *audit.Event) { e.Version = 7 })))
	entries := b.trail(t)
	_, versioned := metadata(t, entries[0])["version"]
	if m, _ := audit.ReadMetadata(entries[1]); versioned || m.Version != 7 {
		t.Errorf("%s and %s", *entries[0].Metadata, *entries[1].Metadata)
	}
}

func TestEvents_Initialize(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, events := range map[string]audit.Catalog{"fault": {userLogin, badEvent}, "twice": {userLogin, userLogin}, "nil": {nil}} {
		app := b.Open(postgres.Open(b.AppDSN), &gorm.Config{})
		if err := app.Use(audit.New(audit.Config{Rules: rules, Events: events})); !errors.Is(err, audit.ErrDefinition) {
			t.Errorf("%s: %v, want ErrDefinition", name, err)
		}
	}
}

// TestEvents_TypedRefuses: a type's faults and those of its occurrences are errors.
func TestEvents_TypedRefuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	bare := b.Open(postgres.Open(b.AppDSN), &gorm.Config{})
	type free struct{ Any any }
	anyEvent := audit.Define[free](audit.Definition{Action: "a.b", ResourceType: "c"})
	for name, tc := range map[string]struct {
		record func(db *gorm.DB) error
		want   error
	}{
		"definition": {func(db *gorm.DB) error {
			return badEvent.Record(b.hal, db, logIn{}, audit.Occurrence{BestEffort: true})
		}, audit.ErrDefinition},
		"nil": {func(db *gorm.DB) error {
			return (*audit.EventType[logIn])(nil).Record(b.hal, db, logIn{}, audit.Occurrence{})
		}, audit.ErrDefinition},
		"data": {func(db *gorm.DB) error {
			return anyEvent.Record(b.hal, db, free{refusing{"hunter2"}}, audit.Occurrence{})
		}, audit.ErrEvent},
		"outcome": {func(db *gorm.DB) error {
			return cacheFlush.Record(b.hal, db, struct{}{}, audit.Occurrence{Outcome: "x"})
		}, audit.ErrEvent},
		"other tenant": {func(db *gorm.DB) error {
			return cacheFlush.Record(b.hal, db, struct{}{}, audit.Occurrence{TenantID: "acme"})
		}, tenancy.ErrCrossTenant},
	} {
		for _, db := range []*gorm.DB{b.app, bare} {
			var event *audit.EventError
			if err := tc.record(db); !errors.Is(err, tc.want) || !errors.As(err, &event) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %v, want an EventError of %v", name, err, tc.want)
			}
		}
	}
	b.wantTrail(t)
}

// label makes a text of itself by a method of its pointer.
type label struct{ text string }

func (l *label) MarshalText() ([]byte, error) { return []byte(l.text), nil }

// TestEvents_Lost: a typed event of best effort is lost as any other.
func TestEvents_Lost(t *testing.T) {
	t.Parallel()
	var lost audit.Event
	b := setupWith(t, audit.Config{Rules: rules, Events: audit.Catalog{userLogin}, OnLost: func(_ context.Context, event audit.Event, _ error) { lost = event }})
	must(t, b.Owner.Exec(forbidsEvents).Error)
	must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		must(t, userLogin.Record(b.hal, tx, logIn{Method: "sso"}, audit.Occurrence{ResourceID: "u_1", BestEffort: true}))
		return tx.Create(&Author{ID: 1, Email: "1"}).Error
	}))
	if lost.Action != "user.login" || lost.Version != 1 || lost.ResourceID != "u_1" || lost.Data["method"] != "sso" {
		t.Errorf("told of %+v", lost)
	}
}
