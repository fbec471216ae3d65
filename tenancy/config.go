package tenancy

import "github.com/courtroll/courtroll/internal/plan"

// Rules say which tables are whose. The audit and migrate packages take the
// same type, so that an app writes its rules once.
type Rules = plan.Rules

// Config configures the plugin. The zero value is the strict choice: every
// table must be tenant-owned by a column "tenant_id".
type Config struct {
	Rules
}
