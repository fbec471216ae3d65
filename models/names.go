package models

// Table names, as both the Go code and the SQL migrations write them.
const (
	TenantsTable   = "tenants"
	AuditLogsTable = "audit_logs"
	// MigrationsTable is where package migrate keeps which versions a database has.
	MigrationsTable = "courtroll_migrations"
)

// DefaultTenantColumn is the column that makes a table tenant-owned unless an app names another.
const DefaultTenantColumn = "tenant_id"

// Settings of a transaction, by which the database knows whose its statements
// are: row-level security reads the first, triggers may read the others.
const (
	TenantSetting  = "courtroll.tenant_id"
	ActorSetting   = "courtroll.actor_id"
	RequestSetting = "courtroll.request_id"
	// CapturedSetting is the table whose change has written its own trail, with how
	// many rows, for the triggers that would write it otherwise.
	CapturedSetting = "courtroll.captured"
)

// Functions that package migrate makes, which do with the owner's rights what a login
// may not: look a tenant up, record an event of nobody's, and ask whether a tenant is
// suspended.
const (
	ResolveFunction = "courtroll_resolve_tenant"
	RecordFunction  = "courtroll_record_event"
	AdmitFunction   = "courtroll_admit"
)

// The actions of the two entries that a tenant's deletion leaves. They are of no tenant,
// with the tenant as their resource: so no tenant can write one. Retention keeps them.
const (
	DeleteBegunAction = "tenant.delete_begun"
	DeleteAction      = "tenant.delete"
)

// SuspendedState is the SQLSTATE by which [AdmitFunction] refuses a tenant.
const SuspendedState = "CRT01"

// The triggers of a captured table. A table is captured if it has all four, each
// of them enabled ('O' or 'A' in pg_trigger.tgenabled).
const (
	CaptureInsertTrigger   = "courtroll_capture_insert"
	CaptureUpdateTrigger   = "courtroll_capture_update"
	CaptureDeleteTrigger   = "courtroll_capture_delete"
	CaptureTruncateTrigger = "courtroll_capture_truncate"
)
