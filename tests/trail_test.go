package tests

import (
	"encoding/json"
	"sort"
	"strings"
	"testing"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// trail returns the trail of all tenants in order, without the records of
// system scopes, as a superuser sees it.
func (b *bundle) trail(t *testing.T) []models.AuditLog {
	t.Helper()
	var entries []models.AuditLog
	must(t, b.super.Where("resource_type <> 'system_scope'").Order("created_at, id").Find(&entries).Error)
	return entries
}

// forget empties the trail, so that a test sees only what follows.
func (b *bundle) forget(t *testing.T) {
	t.Helper()
	must(t, b.super.Exec("TRUNCATE audit_logs").Error)
}

// lines renders entries as "action type id: column old→new, …", times of update left out.
func lines(t *testing.T, entries []models.AuditLog) []string {
	t.Helper()
	var out []string
	for _, e := range entries {
		changes, err := audit.Changes(e)
		must(t, err)
		var parts []string
		for column, c := range changes {
			if column != "updated_at" && column != "deleted_at" {
				parts = append(parts, column+" "+string(c.Old)+"→"+string(c.New))
			}
		}
		sort.Strings(parts)
		out = append(out, strings.TrimSpace(e.Action+" "+e.ResourceType+" "+deref(e.ResourceID)+": "+strings.Join(parts, ", ")))
	}
	return out
}

func deref(s *string) string {
	if s == nil {
		return "nil"
	}
	return *s
}

func (b *bundle) wantTrail(t *testing.T, want ...string) {
	t.Helper()
	got := lines(t, b.trail(t))
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("trail:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func metadata(t *testing.T, e models.AuditLog) map[string]any {
	t.Helper()
	var m map[string]any
	must(t, json.Unmarshal(*e.Metadata, &m))
	return m
}
