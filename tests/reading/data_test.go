package reading

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/tests/realdata"
)

// event is an entry as the data have it.
type event struct {
	id                                               uuid.UUID
	at                                               time.Time
	tenant, actor, action, kind, key, request, field string
}

func (e event) metadata() string {
	text, _ := json.Marshal(map[string]any{
		"request_id": e.request, "changes": map[string]any{e.field: map[string]any{"old": nil, "new": e.key}},
	})
	return string(text)
}

// newestFirst is the order of a list. Many events of the data are of one second.
func newestFirst(a, b event) int {
	return cmp.Or(b.at.Compare(a.at), bytes.Compare(b.id[:], a.id[:]))
}

// readEvents returns both files' events in the order of a list.
func readEvents(t *testing.T) []event {
	t.Helper()
	events := append(readGit(t), readEdits(t)...)
	for i := range events {
		var number [8]byte
		binary.BigEndian.PutUint64(number[:], uint64(i))
		events[i].id = uuid.NewSHA1(uuid.NameSpaceOID, number[:]) // in no order
	}
	slices.SortFunc(events, newestFirst)
	return events
}

func readGit(t *testing.T) (events []event) {
	t.Helper()
	text, err := realdata.Open(*gitFile, realdata.SampleGit)
	must(t, err)
	lines, err := csv.NewReader(text).ReadAll()
	must(t, err)
	for _, line := range lines[1:] {
		at, err := time.Parse(time.RFC3339, line[5])
		must(t, err)
		events = append(events, event{
			at: at.UTC(), tenant: line[0], actor: line[1], action: line[2], kind: line[3], key: line[4], request: line[6], field: "content",
		})
	}
	return events
}

func readEdits(t *testing.T) (events []event) {
	t.Helper()
	seen := map[string]bool{}
	text, err := realdata.Open(*editFile, realdata.SampleEdits)
	must(t, err)
	for decoder := json.NewDecoder(text); decoder.More(); {
		var edit struct {
			Time                           time.Time
			Channel, Namespace, Page, User string
			IsMinor                        bool
		}
		must(t, decoder.Decode(&edit))
		e := event{
			at: edit.Time.UTC(), tenant: strings.TrimPrefix(edit.Channel, "#"), actor: edit.User, action: "create",
			kind: edit.Namespace, key: edit.Page, request: fmt.Sprint("minute ", edit.Time.Unix()/60), field: "length",
		}
		if seen[edit.Channel+edit.Page] {
			e.action = "update"
		}
		if edit.IsMinor {
			e.field = "minor_length"
		}
		seen[edit.Channel+edit.Page] = true
		events = append(events, e)
	}
	return events
}

// load puts the events into the trail as they are.
func (l *lab) load(t *testing.T, events []event) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), l.SuperDSN)
	must(t, err)
	defer conn.Close(t.Context())
	columns := []string{"id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "metadata", "created_at"}
	n, err := conn.CopyFrom(t.Context(), pgx.Identifier{"audit_logs"}, columns, pgx.CopyFromSlice(len(events), func(i int) ([]any, error) {
		e := events[i]
		return []any{[16]byte(e.id), e.actor, e.tenant, e.action, e.kind, e.key, e.metadata(), e.at}, nil
	}))
	must(t, err)
	if int(n) != len(events) {
		t.Fatalf("%d events are loaded, want %d", n, len(events))
	}
	_, err = conn.Exec(t.Context(), "ANALYZE audit_logs")
	must(t, err)
}

// matches is what a filter means.
func (e event) matches(f audit.Filter) bool {
	for _, c := range [][2]string{
		{f.TenantID, e.tenant},
		{f.ActorID, e.actor},
		{f.Action, e.action},
		{f.ResourceType, e.kind},
		{f.ResourceID, e.key},
		{f.RequestID, e.request},
		{f.ChangedField, e.field},
	} {
		if c[0] != "" && c[0] != c[1] {
			return false
		}
	}
	return !f.WithoutTenant && (f.From.IsZero() || !e.at.Before(f.From)) && (f.To.IsZero() || e.at.Before(f.To))
}
