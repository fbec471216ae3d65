package audit

import "encoding/json"

// ocsfEvent is an event with the attributes that an entry can fill, of both classes.
type ocsfEvent struct {
	ActivityID   int           `json:"activity_id"`
	ActivityName string        `json:"activity_name"`
	CategoryUID  int           `json:"category_uid"`
	CategoryName string        `json:"category_name"`
	ClassUID     int           `json:"class_uid"`
	ClassName    string        `json:"class_name"`
	TypeUID      int           `json:"type_uid"`
	TypeName     string        `json:"type_name"`
	Time         int64         `json:"time"`
	SeverityID   int           `json:"severity_id"`
	Severity     string        `json:"severity"`
	StatusID     int           `json:"status_id"`
	Status       string        `json:"status"`
	Metadata     ocsfMetadata  `json:"metadata"`
	Actor        *ocsfActor    `json:"actor,omitempty"`
	SrcEndpoint  *ocsfEndpoint `json:"src_endpoint,omitempty"`
	HTTPRequest  *ocsfRequest  `json:"http_request,omitempty"`

	// Authentication.
	User    *ocsfUser    `json:"user,omitempty"`
	Service *ocsfService `json:"service,omitempty"`
	Session *ocsfSession `json:"session,omitempty"`

	// Entity Management.
	Entity       ocsfEntity  `json:"entity,omitzero"`
	EntityResult *ocsfEntity `json:"entity_result,omitempty"`
	Comment      string      `json:"comment,omitempty"`

	Unmapped map[string]any `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version        string      `json:"version"`
	Product        ocsfProduct `json:"product"`
	UID            string      `json:"uid"`
	EventCode      string      `json:"event_code"`
	OriginalTime   string      `json:"original_time"`
	TenantUID      string      `json:"tenant_uid,omitempty"`
	CorrelationUID string      `json:"correlation_uid,omitempty"`
}

type ocsfProduct struct {
	Name       string `json:"name"`
	VendorName string `json:"vendor_name"`
	Version    string `json:"version,omitempty"`
}

type ocsfActor struct {
	User ocsfUser `json:"user"`
}

type ocsfUser struct {
	UID    string `json:"uid,omitempty"`
	Name   string `json:"name,omitempty"`
	Type   string `json:"type,omitempty"`
	TypeID *int   `json:"type_id,omitempty"`
}

type ocsfEndpoint struct {
	IP string `json:"ip"`
}

type ocsfRequest struct {
	UserAgent string `json:"user_agent"`
}

type ocsfService struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type ocsfSession struct {
	UID string `json:"uid"`
}

type ocsfEntity struct {
	TypeID int                        `json:"type_id"`
	Type   string                     `json:"type"`
	UID    *string                    `json:"uid,omitempty"`
	Name   *string                    `json:"name,omitempty"`
	Data   map[string]json.RawMessage `json:"data,omitempty"`
}
