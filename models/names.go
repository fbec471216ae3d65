package models

// Table names, as both the Go code and the SQL migrations write them.
const (
	TenantsTable   = "tenants"
	AuditLogsTable = "audit_logs"
)

// DefaultTenantColumn is the column that makes a table tenant-owned unless an app names another.
const DefaultTenantColumn = "tenant_id"
