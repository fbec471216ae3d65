package audit_test

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/datatypes"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

var ocsfShop = audit.OCSFProduct{Name: "shop", VendorName: "Shop & Co", Version: "2.1"}

// ocsfEntry returns an entry with all columns, of which edit changes some.
func ocsfEntry(action, resourceType, metadata string, edit ...func(*models.AuditLog)) models.AuditLog {
	e := models.AuditLog{
		ID: uuid.MustParse("0198f000-0000-7000-8000-000000000001"), Action: action, ResourceType: resourceType,
		ActorID: pointer("u1"), TenantID: pointer("acme"), ResourceID: pointer("42"), IPAddress: pointer("192.0.2.7"),
		CreatedAt: time.Date(2026, 3, 4, 5, 6, 7, 890_123_000, time.FixedZone("", 3600)),
	}
	if metadata != "" {
		e.Metadata = pointer(datatypes.JSON(metadata))
	}
	for _, f := range edit {
		f(&e)
	}
	return e
}

func pointer[T any](v T) *T { return &v }

func noActor(e *models.AuditLog)    { e.ActorID = nil }
func noTenant(e *models.AuditLog)   { e.TenantID = nil }
func noResource(e *models.AuditLog) { e.ResourceID = nil }
func fromIP(ip string) func(*models.AuditLog) {
	return func(e *models.AuditLog) { e.IPAddress = &ip }
}
func onResource(id string) func(*models.AuditLog) {
	return func(e *models.AuditLog) { e.ResourceID = &id }
}

const (
	ocsfChanges = `"changes": {"note": {"old": null, "new": "<b>&"}, "total": {"old": 12345678901234567890.123456789, "new": 1E+400}}, "transaction_id": "771"`
	ocsfPerson  = `"actor_kind": "user", "actor_name": "Ann"`
	ocsfRequest = `"request_id": "r-1", "user_agent": "curl/8"`
)

var ocsfCases = map[string]models.AuditLog{
	"create":      ocsfEntry("create", "invoices", `{"changes": {"id": {"old": null, "new": 42}, "note": {"old": null, "new": null}}, `+ocsfPerson+`, `+ocsfRequest+`}`),
	"update":      ocsfEntry("update", "invoices", `{`+ocsfChanges+`, `+ocsfPerson+`, `+ocsfRequest+`, "reason": "a refund", "on_behalf_of": {"id": "u2", "kind": "user"}}`),
	"delete":      ocsfEntry("delete", "invoices", `{"changes": {"id": {"old": 42, "new": null}}, "transaction_id": "772", "database_user": "admin"}`, noActor),
	"soft_delete": ocsfEntry("soft_delete", "invoices", `{"changes": {"deleted_at": {"old": null, "new": "2026-03-04T05:06:07+00:00"}}}`),
	"restore":     ocsfEntry("restore", "invoices", `{"changes": {"deleted_at": {"old": "2026-03-04T05:06:07+00:00", "new": null}}}`),

	"event":              ocsfEntry("report.export", "reports", `{"outcome": "success", "version": 2, "data": {"rows": 10000000000000000000001}, `+ocsfRequest+`}`, noResource),
	"read":               ocsfEntry("report.read", "reports", `{"outcome": "failure", "data": {"why": "no right"}}`),
	"system scope":       ocsfEntry("system_scope.open", "system_scope", `{"outcome": "success", "system_reason": "a nightly job", "actor_kind": "system"}`, noActor, noTenant, noResource),
	"login":              ocsfEntry("user.login", "user", `{"outcome": "success", "reason": "again", `+ocsfPerson+`}`, onResource("u1")),
	"failed login":       ocsfEntry("user.login", "user", `{"outcome": "failure", "actor_kind": "anonymous", `+ocsfRequest+`}`, noActor, noTenant, onResource("ann@example.org")),
	"login of another":   ocsfEntry("user.sign_in", "users", `{"outcome": "success", `+ocsfPerson+`}`, onResource("u2")),
	"login by password":  ocsfEntry("password.login", "passwords", `{"outcome": "success"}`),
	"login of nobody":    ocsfEntry("user.login", "user", `{"outcome": "failure"}`, noActor, noTenant, noResource),
	"login of something": ocsfEntry("api.Sign-In", "key", `{"outcome": "failure"}`, noActor),
	"logon of a session": ocsfEntry("session.logon", "sessions", `{"outcome": "success", `+ocsfPerson+`}`, onResource("s-9")),
	"session of nobody":  ocsfEntry("session.logoff", "session", `{"outcome": "success"}`, noActor),
	"logout":             ocsfEntry("user.logout", "user", `{"outcome": "success"}`, onResource("u1")),
	"authenticate":       ocsfEntry("token.authenticate", "tokens", `{"outcome": "success", "actor_kind": "service"}`),

	"a system":       ocsfEntry("update", "invoices", `{`+ocsfChanges+`, "actor_kind": "system"}`),
	"a service":      ocsfEntry("update", "invoices", `{`+ocsfChanges+`, "actor_kind": "service", "actor_name": "mailer"}`),
	"a visitor":      ocsfEntry("update", "invoices", `{`+ocsfChanges+`, "actor_kind": "anonymous"}`),
	"a kind of ours": ocsfEntry("update", "invoices", `{`+ocsfChanges+`, "actor_kind": "robot"}`, noActor),
	"only a name":    ocsfEntry("update", "invoices", `{`+ocsfChanges+`, "actor_name": "Ann"}`, noActor),
	"nobody":         ocsfEntry("update", "invoices", `{`+ocsfChanges+`}`, noActor, noTenant, noResource, func(e *models.AuditLog) { e.IPAddress = nil }),
	"nothing":        {},
	"empty texts":    ocsfEntry("", "", `{"reason": "", "request_id": "", "actor_kind": ""}`, onResource(""), fromIP(""), func(e *models.AuditLog) { e.ActorID, e.TenantID = pointer(""), pointer("") }),

	"IPv6":         ocsfEntry("update", "invoices", ``, fromIP("2001:db8::1")),
	"mapped":       ocsfEntry("update", "invoices", ``, fromIP("::ffff:192.0.2.7")),
	"with a zone":  ocsfEntry("update", "invoices", ``, fromIP("fe80::1%eth0")),
	"no address":   ocsfEntry("update", "invoices", ``, fromIP("10.0.0.0/8")),
	"unicode":      ocsfEntry("übung.größe", "日本", `{"reason": "🤷 \u2028 \\u0041 \"", "data": {"\u202e": "\ud83d\ude00"}}`, onResource("\u00e9\u2029")),
	"its own verb": ocsfEntry("invoice.approve", "invoices", `{"outcome": "pending"}`),

	"null":             ocsfEntry("update", "invoices", `null`),
	"an empty object":  ocsfEntry("update", "invoices", `{}`),
	"an array":         ocsfEntry("update", "invoices", `[1, {"reason": "r"}]`),
	"a text":           ocsfEntry("user.login", "user", `"reason"`),
	"no JSON":          ocsfEntry("update", "invoices", `{"reason": `),
	"other types":      ocsfEntry("update", "invoices", `{"reason": 5, "request_id": ["r"], "actor_kind": {}, "actor_name": null, "user_agent": true, "outcome": 1, "version": "x", "changes": []}`),
	"other changes":    ocsfEntry("update", "invoices", `{"changes": {"a": {"old": 1, "new": 2}, "b": 3}}`),
	"halved changes":   ocsfEntry("update", "invoices", `{"changes": {"a": {"new": 2}}}`),
	"more in a change": ocsfEntry("update", "invoices", `{"changes": {"a": {"old": 1, "new": 2, "by": "x"}}}`),
	"null for changes": ocsfEntry("update", "invoices", `{"changes": {"a": null}}`),
	"no changes":       ocsfEntry("update", "invoices", `{"changes": {}, "reason": "r"}`),
	"unknown members":  ocsfEntry("update", "invoices", `{"Reason": "R", "reason": "r", "resource_type": "x", "metadata": 1, "unmapped": {"a": 1}, "huge": 1e400000}`),
	"odd create":       ocsfEntry("create", "invoices", `{"changes": {"a": {"old": 1, "new": null}}}`),
	"odd delete":       ocsfEntry("delete", "invoices", `{"changes": {"a": {"old": null, "new": 1}}}`),
	"a list of tables": ocsfEntry("truncate", "invoices", `{"tables": ["a", "b"]}`),
}
