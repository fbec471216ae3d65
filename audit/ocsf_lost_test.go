package audit_test

import (
	"encoding/json"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/models"
)

// lost returns what an entry says and its line does not.
func lost(t interface{ Fatal(args ...any) }, e models.AuditLog, line []byte) (losses []string) {
	event := decoded(t, line)
	at := func(path ...string) any { return valueAt(event, path...) }
	check := func(what string, want any, places ...any) {
		for _, place := range places {
			if cmp.Equal(place, want) {
				return
			}
		}
		losses = append(losses, what)
	}
	check("id", e.ID.String(), at("metadata", "uid"))
	check("action", e.Action, at("metadata", "event_code"))
	check("created_at", e.CreatedAt.UTC().Format(time.RFC3339Nano), at("metadata", "original_time"))
	check("resource_type", e.ResourceType, at("entity", "type"), at("unmapped", "resource_type"))
	for what, column := range map[string]struct {
		value  *string
		places []any
	}{
		"actor_id":    {e.ActorID, []any{at("actor", "user", "uid")}},
		"tenant_id":   {e.TenantID, []any{at("metadata", "tenant_uid")}},
		"resource_id": {e.ResourceID, []any{at("entity", "uid"), at("unmapped", "resource_id")}},
		"ip_address":  {e.IPAddress, []any{at("src_endpoint", "ip"), at("unmapped", "ip_address")}},
	} {
		if column.value != nil && *column.value != "" {
			check(what, *column.value, column.places...)
		}
	}
	if e.Metadata == nil {
		return losses
	}
	if !json.Valid(*e.Metadata) {
		check("metadata", string(*e.Metadata), at("unmapped", "metadata"))
		return losses
	}
	metadata := decoded(t, []byte(`{"": `+string(*e.Metadata)+`}`))[""]
	members, ok := metadata.(map[string]any)
	if !ok {
		check("metadata", metadata, at("unmapped", "metadata"))
	}
	for name, value := range members {
		if kept, ok := at("unmapped", "metadata").(map[string]any); ok {
			if same, ok := kept[name]; ok {
				check("metadata."+name, value, same)
				continue
			}
		}
		check("metadata."+name, value, mapped(event, name))
	}
	return losses
}

// mapped returns the value of a member of the metadata that has an attribute.
func mapped(event map[string]any, name string) any {
	words := map[any]any{"Success": "success", "Failure": "failure", "User": "user", "System": "system", "Service": "service"}
	attributes := map[string][]string{
		"request_id": {"metadata", "correlation_uid"}, "user_agent": {"http_request", "user_agent"}, "reason": {"comment"},
		"actor_name": {"actor", "user", "name"}, "actor_kind": {"actor", "user", "type"}, "outcome": {"status"},
	}
	if name == "changes" {
		return mappedChanges(event)
	}
	path, ok := attributes[name]
	if !ok {
		return "nowhere"
	}
	value := valueAt(event, path...)
	if isWord := name == "actor_kind" || name == "outcome"; isWord && words[value] != nil {
		return words[value]
	}
	return value
}

func mappedChanges(event map[string]any) any {
	before, _ := valueAt(event, "entity", "data").(map[string]any)
	after, _ := valueAt(event, "entity_result", "data").(map[string]any)
	changes := map[string]any{}
	for _, values := range []map[string]any{before, after} {
		for column := range values {
			changes[column] = map[string]any{"old": before[column], "new": after[column]}
		}
	}
	return changes
}

func valueAt(object any, path ...string) any {
	for _, name := range path {
		members, ok := object.(map[string]any)
		if !ok {
			return nil
		}
		object = members[name]
	}
	return object
}
