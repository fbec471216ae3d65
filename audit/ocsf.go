package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"net/netip"
	"strings"
	"time"

	"github.com/courtroll/courtroll/models"
)

// ocsfVersion is the version of the schema of the Open Cybersecurity Schema
// Framework that the lines keep to. 1.9 deprecates entity_result, so a newer one
// is a change of the lines.
const ocsfVersion = "1.7.0"

// OCSFProduct names the program whose trail is exported, as metadata.product of
// every event. The zero value names this library.
type OCSFProduct struct {
	// Name is the app's name, which is also the service of a log-in. Default: courtroll.
	Name string
	// VendorName is who makes the app. Default: Name.
	VendorName string
	// Version is the app's version. Default: none is said.
	Version string
}

// ocsfLine returns an entry as one event of OCSF: JSON on one line, without its
// end. Entries whose verb is a log-in's or a log-out's are of the class
// Authentication, all others of Entity Management. What neither class has a place
// for is kept under "unmapped", by the names of the entry's own JSON, and so is
// metadata of another form, which another program wrote.
func ocsfLine(entry models.AuditLog, product OCSFProduct) ([]byte, error) {
	product.Name = cmp.Or(product.Name, "courtroll")
	product.VendorName = cmp.Or(product.VendorName, product.Name)
	rest := remainderOf(entry.Metadata)
	event := ocsfEvent{
		Time:       entry.CreatedAt.UnixMilli(),
		SeverityID: 1, Severity: "Informational", // the trail records, it does not judge
		Metadata: ocsfMetadata{
			Version: ocsfVersion,
			Product: ocsfProduct(product),
			UID:     entry.ID.String(), EventCode: entry.Action,
			TenantUID: ocsfText(entry.TenantID), CorrelationUID: rest.text("request_id"),
			OriginalTime: entry.CreatedAt.UTC().Format(time.RFC3339Nano), // finer than Time
		},
		Actor:       ocsfActorOf(entry, rest),
		SrcEndpoint: ocsfEndpointOf(entry, rest),
	}
	event.StatusID, event.Status = ocsfStatusOf(entry.Action, rest.text("outcome"))
	if agent := rest.text("user_agent"); agent != "" {
		event.HTTPRequest = &ocsfRequest{UserAgent: agent}
	}
	if activity, ok := ocsfAuthentication.activities[ocsfVerb(entry.Action)]; ok {
		event.classify(ocsfAuthentication, activity)
		event.authenticate(entry, rest)
	} else {
		event.classify(ocsfEntityManagement, ocsfEntityManagement.activities[ocsfVerb(entry.Action)])
		event.manage(entry, rest)
	}
	event.Unmapped = rest.unmapped()
	return event.line()
}

func (e *ocsfEvent) line() ([]byte, error) {
	var line bytes.Buffer
	encoder := json.NewEncoder(&line)
	encoder.SetEscapeHTML(false) // the category's name has an ampersand
	if err := encoder.Encode(e); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line.Bytes(), []byte{'\n'}), nil
}

// ocsfClass is a class of events, with its activities by the verbs that mean them.
type ocsfClass struct {
	uid        int
	name       string
	activities map[string]ocsfActivity
}

type ocsfActivity struct {
	id   int
	name string
}

// What an activity and a kind are that the schema has no word for.
const ocsfOther = 99

var ocsfAuthentication = ocsfClass{3002, "Authentication", map[string]ocsfActivity{
	"login": {1, "Logon"}, "logon": {1, "Logon"}, "signin": {1, "Logon"},
	"logout": {2, "Logoff"}, "logoff": {2, "Logoff"}, "signout": {2, "Logoff"},
	"authenticate": {}, // the kind of thing, but not which: other
}}

// The verbs are the schema's own words, but for a soft delete: to the app the
// thing is gone. That it is back has no word, and is other.
var ocsfEntityManagement = ocsfClass{3004, "Entity Management", map[string]ocsfActivity{
	"create": {1, "Create"}, "read": {2, "Read"}, "update": {3, "Update"},
	"delete": {4, "Delete"}, "softdelete": {4, "Delete"}, "move": {5, "Move"},
	"enroll": {6, "Enroll"}, "unenroll": {7, "Unenroll"},
	"enable": {8, "Enable"}, "disable": {9, "Disable"},
	"activate": {10, "Activate"}, "deactivate": {11, "Deactivate"},
	"suspend": {12, "Suspend"}, "resume": {13, "Resume"},
}}

// ocsfVerb returns what follows the last dot of an action, in lower case and
// without what joins words: sign_in, sign-in and SignIn are one verb.
func ocsfVerb(action string) string {
	verb := strings.ToLower(action[strings.LastIndexByte(action, '.')+1:])
	return strings.ReplaceAll(strings.ReplaceAll(verb, "_", ""), "-", "")
}

// classify says what the event is. An activity that the class has no word for is
// named by the action.
func (e *ocsfEvent) classify(class ocsfClass, activity ocsfActivity) {
	e.CategoryUID, e.CategoryName = 3, "Identity & Access Management"
	e.ClassUID, e.ClassName = class.uid, class.name
	e.ActivityID, e.ActivityName = cmp.Or(activity.id, ocsfOther), cmp.Or(activity.name, e.Metadata.EventCode)
	e.TypeUID = class.uid*100 + e.ActivityID
	e.TypeName = class.name + ": " + cmp.Or(activity.name, "Other")
}

// authenticate fills what the class Authentication has of its own. It has no
// entity, so the resource is also kept as it is.
func (e *ocsfEvent) authenticate(entry models.AuditLog, rest remainder) {
	rest.columns["resource_type"] = entry.ResourceType
	if entry.ResourceID != nil {
		rest.columns["resource_id"] = *entry.ResourceID
	}
	e.Service = &ocsfService{Name: e.Metadata.Product.Name, Version: e.Metadata.Product.Version}
	id := ocsfText(entry.ResourceID)
	kind := strings.TrimSuffix(strings.ToLower(entry.ResourceType), "s")
	if kind == "session" && id != "" {
		e.Session, id = &ocsfSession{UID: id}, ""
	}
	e.User = e.subject(id, kind == "user" || kind == "account")
}

// subject returns who logs in or out: the user who was acted on, who need not be
// known yet as the actor, or else the actor, or else what was acted on.
func (e *ocsfEvent) subject(id string, isUser bool) *ocsfUser {
	switch {
	case e.Actor != nil && (id == "" || !isUser || e.Actor.User.UID == id):
		return &e.Actor.User
	case id != "":
		return &ocsfUser{UID: id}
	}
	return &ocsfUser{Name: "unknown"} // the class is not to be had without
}

// manage fills what the class Entity Management has of its own.
func (e *ocsfEvent) manage(entry models.AuditLog, rest remainder) {
	e.Comment = rest.text("reason")
	e.Entity = ocsfEntity{TypeID: ocsfOther, Type: entry.ResourceType, UID: entry.ResourceID}
	if entry.ResourceID == nil {
		e.Entity.Name = &entry.ResourceType // one of the two there must be
	}
	changes := rest.changes()
	if changes == nil {
		return
	}
	result := e.Entity
	e.Entity.Data, result.Data = side(changes, "old"), side(changes, "new")
	if entry.Action == "create" && allNull(e.Entity.Data) {
		e.Entity.Data = nil // there was no row
	}
	if entry.Action != "delete" || !allNull(result.Data) {
		e.EntityResult = &result
	}
}

// ocsfStatusOf returns how it ended. What is in the trail without an outcome is a
// change, which is committed with its entry, or another program's.
func ocsfStatusOf(action, outcome string) (id int, name string) {
	switch Outcome(outcome) {
	case Success:
		return 1, "Success"
	case Failure:
		return 2, "Failure"
	case "":
		switch action {
		case "create", "update", "delete", "soft_delete", "restore":
			return 1, "Success"
		}
		return 0, "Unknown"
	}
	return ocsfOther, outcome
}

// ocsfActorOf returns nil where nobody is named: the kind alone makes no user, and
// stays unmapped.
func ocsfActorOf(entry models.AuditLog, rest remainder) *ocsfActor {
	user := ocsfUser{UID: ocsfText(entry.ActorID), Name: rest.text("actor_name")}
	if user.UID == "" && user.Name == "" {
		return nil
	}
	if kind := rest.text("actor_kind"); kind != "" {
		user.setKind(ActorKind(kind))
	}
	return &ocsfActor{User: user}
}

func (u *ocsfUser) setKind(kind ActorKind) {
	id := ocsfOther
	switch kind {
	case User:
		id, u.Type = 1, "User"
	case System:
		id, u.Type = 3, "System"
	case Service:
		id, u.Type = 4, "Service"
	default:
		u.Type = string(kind)
	}
	u.TypeID = &id
}

// ocsfEndpointOf returns where the actor was. A text that is no address, or another
// spelling of one, is kept as it is.
func ocsfEndpointOf(entry models.AuditLog, rest remainder) *ocsfEndpoint {
	if entry.IPAddress == nil {
		return nil
	}
	addr, err := netip.ParseAddr(*entry.IPAddress)
	ip := addr.WithZone("").Unmap().String()
	if err != nil || ip != *entry.IPAddress {
		rest.columns["ip_address"] = *entry.IPAddress
	}
	if err != nil {
		return nil
	}
	return &ocsfEndpoint{IP: ip}
}

func ocsfText(column *string) string {
	if column == nil {
		return ""
	}
	return *column
}
