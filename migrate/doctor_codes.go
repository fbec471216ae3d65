package migrate

// Code names a kind of finding.
type Code string

// The codes of [Doctor]'s findings. Each says what is wrong with the object that it
// comes with; docs/guarantees.md says which promise it breaks.
const (
	// Tables and columns.
	CodeNotUp         Code = "not-up"              // tenants or audit_logs is missing
	CodeNoTable       Code = "model-table-missing" // a model has no table
	CodeUnclassified  Code = "model-unclassified"  // a model is neither tenant-owned nor shared
	CodeSharedTenant  Code = "shared-with-tenant"  // a shared table has the tenant column
	CodeNoModel       Code = "table-without-model"
	CodeTenantMissing Code = "tenant-column-missing"
	CodeTenantNull    Code = "tenant-column-nullable"
	CodeTenantType    Code = "tenant-column-type"
	CodeTableKind     Code = "table-kind" // partitions, children, views, foreign tables

	// Row-level security and policies.
	CodeRLSOff        Code = "rls-disabled"
	CodeRLSNotForced  Code = "rls-not-forced"
	CodePolicyMissing Code = "policy-missing"
	CodePolicyAltered Code = "policy-altered"
	CodePolicyNoCheck Code = "policy-without-check"
	CodePolicyPerRow  Code = "policy-per-row" // the setting is not read in a sub-select
	CodePolicyForeign Code = "policy-foreign" // somebody else's, which opens rows
)
