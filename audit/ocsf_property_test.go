package audit_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gorm.io/datatypes"
	"pgregory.net/rapid"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// TestOCSF_Property makes entries of any texts and values, in the forms that this
// package writes and in others.
func TestOCSF_Property(t *testing.T) {
	t.Parallel()
	schema := ocsfSchema(t)
	rapid.Check(t, func(t *rapid.T) {
		e := drawEntry(t)
		line, err := audit.OCSFLine(e, ocsfShop)
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(decoded(t, line)); err != nil {
			t.Fatalf("%s\n%v", line, err)
		}
		if losses := lost(t, e, line); losses != nil || bytes.ContainsAny(line, "\r\n") {
			t.Fatalf("%s\n%s\nis without %q", line, *cmp.Or(e.Metadata, &datatypes.JSON{}), losses)
		}
	})
}

func drawEntry(t *rapid.T) models.AuditLog {
	e := models.AuditLog{
		Action: rapid.OneOf(rapid.SampledFrom([]string{
			"create", "update", "delete", "soft_delete", "restore", "user.login", "user.sign_out", "x.authenticate", "report.read", "a.b.c",
		}), rapid.String()).Draw(t, "action"),
		ResourceType: rapid.OneOf(rapid.SampledFrom([]string{"user", "accounts", "session", "notes"}), rapid.String()).Draw(t, "type"),
		ResourceID:   rapid.Ptr(rapid.String(), true).Draw(t, "resource"),
		ActorID:      rapid.Ptr(rapid.String(), true).Draw(t, "actor"),
		TenantID:     rapid.Ptr(rapid.String(), true).Draw(t, "tenant"),
		IPAddress:    rapid.Ptr(rapid.OneOf(rapid.SampledFrom([]string{"::", "::ffff:1.2.3.4", "fe80::1%0", "1.2.3.4/8"}), rapid.StringMatching(`[0-9a-f:.]{2,40}`)), true).Draw(t, "ip"),
		CreatedAt:    time.UnixMicro(rapid.Int64Range(-1e17, 1e17).Draw(t, "time")),
	}
	copy(e.ID[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "id"))
	switch rapid.IntRange(0, 5).Draw(t, "metadata") {
	case 0:
	case 1:
		e.Metadata = pointer(datatypes.JSON(drawJSON(t, 3)))
	default:
		e.Metadata = pointer(datatypes.JSON(drawMetadata(t)))
	}
	return e
}

// drawMetadata returns an object in which most members have the names and many the
// forms that this package writes.
func drawMetadata(t *rapid.T) string {
	names := []string{"changes", "transaction_id", "outcome", "version", "data", "actor_kind", "actor_name", "request_id", "user_agent", "on_behalf_of", "reason", "system_reason", "database_user"}
	members := map[string]json.RawMessage{}
	for _, name := range rapid.SliceOfDistinct(rapid.OneOf(rapid.SampledFrom(names), rapid.String()), rapid.ID).Draw(t, "names") {
		value := drawJSON(t, 2)
		switch isOurs := rapid.IntRange(0, 3).Draw(t, "ours") > 0; {
		case isOurs && name == "changes":
			value = drawChanges(t)
		case isOurs && name == "outcome":
			value = rapid.SampledFrom([]string{`"success"`, `"failure"`}).Draw(t, name)
		case isOurs && name == "actor_kind":
			value = rapid.SampledFrom([]string{`"user"`, `"service"`, `"system"`, `"anonymous"`}).Draw(t, name)
		case isOurs && name != "data":
			value = inQuotes(rapid.String().Draw(t, name))
		}
		members[name] = json.RawMessage(value)
	}
	text, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func drawChanges(t *rapid.T) string {
	var changes []string
	for _, column := range rapid.SliceOfNDistinct(rapid.String(), 1, 4, rapid.ID).Draw(t, "columns") {
		changes = append(changes, inQuotes(column)+`:{"old":`+drawJSON(t, 1)+`,"new":`+drawJSON(t, 1)+`}`)
	}
	return `{` + strings.Join(changes, ",") + `}`
}

func drawJSON(t *rapid.T, depth int) string {
	kinds := 4
	if depth > 0 {
		kinds = 6
	}
	var parts []string
	switch rapid.IntRange(0, kinds-1).Draw(t, "kind") {
	case 0:
		return "null"
	case 1:
		return rapid.SampledFrom([]string{"true", "false"}).Draw(t, "bool")
	case 2:
		return rapid.StringMatching(`-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,20})?(e[+-]?[0-9]{1,5})?`).Draw(t, "number")
	case 3:
		return inQuotes(rapid.String().Draw(t, "text"))
	case 4:
		for range rapid.IntRange(0, 3).Draw(t, "length") {
			parts = append(parts, drawJSON(t, depth-1))
		}
		return `[ ` + strings.Join(parts, ",\n") + `]`
	}
	for _, name := range rapid.SliceOfNDistinct(rapid.String(), 0, 3, rapid.ID).Draw(t, "members") {
		parts = append(parts, inQuotes(name)+`: `+drawJSON(t, depth-1))
	}
	return `{` + strings.Join(parts, ",\n") + `}`
}

func inQuotes(text string) string {
	literal, _ := json.Marshal(text)
	return string(literal)
}
