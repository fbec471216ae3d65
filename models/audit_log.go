package models

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/datatypes"
)

// AuditLog is a row of the audit_logs table. The table is append-only: rows
// are written by package audit and are neither changed nor deleted by the app.
type AuditLog struct {
	// ID is a UUID; those that this library writes are of version 7.
	ID uuid.UUID `gorm:"column:id;type:uuid;primaryKey;default:gen_random_uuid()" json:"id"`
	// ActorID says who acted, nil when nobody was named.
	ActorID *string `gorm:"column:actor_id;type:text" json:"actor_id"`
	// TenantID is the tenant concerned, nil for system and cross-tenant events.
	TenantID *string `gorm:"column:tenant_id;type:text" json:"tenant_id"`
	// Action is what was done: create, update, delete, soft_delete, restore, or noun.verb for an event.
	Action string `gorm:"column:action;type:text;not null" json:"action"`
	// ResourceType is the kind of thing acted on, a table's name for a change of a row.
	ResourceType string `gorm:"column:resource_type;type:text;not null" json:"resource_type"`
	// ResourceID is the key of the thing acted on as text, nil when it has none.
	ResourceID *string `gorm:"column:resource_id;type:text" json:"resource_id"`
	// IPAddress is where the actor was, nil when that is unknown.
	IPAddress *string `gorm:"column:ip_address;type:text" json:"ip_address"`
	// Metadata is a JSON object with the changes and their context, nil when there is
	// none. Of a change: changes, by column, and transaction_id. Of an event: outcome,
	// data, and version, a number from 1 on, where the event's definition has one. Of
	// both, where they are known: actor_kind, actor_name, on_behalf_of, reason,
	// request_id, user_agent, system_reason. Of a change that triggers recorded and of
	// which no actor is known: database_user.
	Metadata *datatypes.JSON `gorm:"column:metadata;type:jsonb" json:"metadata"`
	// CreatedAt is the database's clock at the moment of the change.
	CreatedAt time.Time `gorm:"column:created_at;type:timestamptz;not null;default:clock_timestamp();autoCreateTime:false" json:"created_at"`
}

// TableName returns [AuditLogsTable].
func (AuditLog) TableName() string { return AuditLogsTable }

// NewAuditLog is what a caller inserts into the audit_logs table: Action and
// ResourceType are required, and a nil field takes the column's default.
type NewAuditLog struct {
	// ID is best a UUID of version 7. Default: a random one, made by the database.
	ID *uuid.UUID `gorm:"column:id;type:uuid;primaryKey;default:gen_random_uuid()"`
	// ActorID says who acted. Default: nobody.
	ActorID *string `gorm:"column:actor_id;type:text"`
	// TenantID is the tenant concerned. Default: none.
	TenantID *string `gorm:"column:tenant_id;type:text"`
	// Action is what was done.
	Action string `gorm:"column:action;type:text;not null"`
	// ResourceType is the kind of thing acted on.
	ResourceType string `gorm:"column:resource_type;type:text;not null"`
	// ResourceID is the key of the thing acted on as text. Default: none.
	ResourceID *string `gorm:"column:resource_id;type:text"`
	// IPAddress is where the actor was. Default: unknown.
	IPAddress *string `gorm:"column:ip_address;type:text"`
	// Metadata is a JSON object. Default: none.
	Metadata *datatypes.JSON `gorm:"column:metadata;type:jsonb"`
	// CreatedAt is for imports that keep history. Default: the database's clock.
	CreatedAt *time.Time `gorm:"column:created_at;type:timestamptz;not null;default:clock_timestamp();autoCreateTime:false"`
}

// TableName returns [AuditLogsTable].
func (NewAuditLog) TableName() string { return AuditLogsTable }
