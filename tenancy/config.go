package tenancy

import "github.com/courtroll/courtroll/internal/plan"

// Rules say which tables are whose: TenantColumn names the column that makes a
// table tenant-owned ("tenant_id" if empty), Models are known by their tables'
// names from the start, and Shared lists, as models or as table names, those
// that belong to no tenant. Package audit takes the same type, so that an app
// writes its rules once.
type Rules = plan.Rules

// Config configures the plugin. The zero value is the strict choice: every
// table must be tenant-owned by a column "tenant_id".
type Config struct {
	Rules
}
