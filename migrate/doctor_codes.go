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

	// Roles and logins.
	CodeLoginUnconfined  Code = "login-unconfined" // the handle's login is no role that policies confine
	CodeLoginNoPolicy    Code = "login-without-policy"
	CodeRoleSuperuser    Code = "role-superuser"
	CodeRoleBypassRLS    Code = "role-bypassrls"
	CodeRoleCreateRole   Code = "role-createrole"
	CodeRoleReplication  Code = "role-replication"
	CodeRoleOwner        Code = "role-owner" // owns a table, its schema or the database
	CodeMemberOwner      Code = "member-of-owner"
	CodeMemberSystem     Code = "member-of-system-role"
	CodeMemberTrusted    Code = "member-of-trusted-role"
	CodeMemberRetention  Code = "member-of-retention-role"
	CodeMemberPrivileged Code = "member-of-privileged-role" // a superuser or the like
	CodeMemberPredefined Code = "member-of-predefined-role" // pg_read_all_data and the like
	CodeMemberApp        Code = "member-of-app-role"        // the system or retention role is
	CodeTableOwner       Code = "table-owner"               // owned by somebody else than its neighbours

	// What sessions begin with.
	CodeSettingPreset      Code = "setting-preset" // courtroll.…
	CodeSettingRole        Code = "setting-role"
	CodeSettingReplica     Code = "setting-session-replication-role"
	CodeSettingRowSecurity Code = "setting-row-security"
	CodeSettingStrings     Code = "setting-standard-conforming-strings"
	CodeSettingAsync       Code = "setting-synchronous-commit"
	CodeSearchPath         Code = "search-path"
	CodeTableShadowed      Code = "table-shadowed" // another one is found in its place

	// Privileges.
	CodeGrantExcess    Code = "grant-excess"    // more than a login needs: TRUNCATE and others
	CodeGrantTrail     Code = "grant-on-trail"  // UPDATE, DELETE or TRUNCATE on audit_logs
	CodeGrantUntrusted Code = "grant-untrusted" // to a role that nobody spoke of
	CodeGrantMissing   Code = "grant-missing"   // a login cannot do what it is for
	CodeGrantSequence  Code = "grant-on-sequence"
	CodeGrantFunction  Code = "grant-on-function" // of ours
	CodeGrantRecords   Code = "grant-on-versions" // courtroll_migrations
	CodeGrantDefault   Code = "grant-by-default"  // ALTER DEFAULT PRIVILEGES
	CodeGrantParameter Code = "grant-on-parameter"
	CodeGrantCatalogue Code = "grant-on-catalogue"
	CodeSchemaCreate   Code = "schema-create"
	CodeDatabaseCreate Code = "database-create"

	// What runs or reads with another's rights.
	CodeViewDefiner       Code = "view-not-security-invoker"
	CodeViewMaterialized  Code = "materialized-view"
	CodeFunctionDefiner   Code = "function-security-definer"
	CodeFunctionLeakproof Code = "function-leakproof"
	CodeFunctionSetting   Code = "function-sets-tenant"
	CodeRule              Code = "rewrite-rule"
	CodeForeignTable      Code = "foreign-table" // that leads back into this database
)

// codes are all constants of type [Code].
func codes() []Code {
	return []Code{
		CodeNotUp, CodeNoTable, CodeUnclassified, CodeSharedTenant, CodeNoModel, CodeTenantMissing, CodeTenantNull, CodeTenantType, CodeTableKind,
		CodeRLSOff, CodeRLSNotForced, CodePolicyMissing, CodePolicyAltered, CodePolicyNoCheck, CodePolicyPerRow, CodePolicyForeign, CodeLoginUnconfined,
		CodeLoginNoPolicy, CodeRoleSuperuser, CodeRoleBypassRLS, CodeRoleCreateRole, CodeRoleReplication, CodeRoleOwner, CodeMemberOwner, CodeMemberSystem,
		CodeMemberTrusted, CodeMemberRetention, CodeMemberPrivileged, CodeMemberPredefined, CodeMemberApp, CodeTableOwner, CodeSettingPreset,
		CodeSettingRole, CodeSettingReplica, CodeSettingRowSecurity, CodeSettingStrings, CodeSettingAsync, CodeSearchPath, CodeTableShadowed,
		CodeGrantExcess, CodeGrantTrail, CodeGrantUntrusted, CodeGrantMissing, CodeGrantSequence, CodeGrantFunction, CodeGrantRecords, CodeGrantDefault,
		CodeGrantParameter, CodeGrantCatalogue, CodeSchemaCreate, CodeDatabaseCreate, CodeViewDefiner, CodeViewMaterialized, CodeFunctionDefiner,
		CodeFunctionLeakproof, CodeFunctionSetting, CodeRule, CodeForeignTable,
		CodeCaptureOutdated, CodeTriggerExtra, CodeTableMoved,
		CodeCascadeUncaptured, CodeCascadeAcross,
		CodeColumnMissing, CodeColumnType, CodeColumnNull, CodeColumnNotNull, CodeColumnDefault, CodeNoPrimaryKey, CodeSlugNotUnique,
		CodeFunctionMissing, CodeFunctionAltered, CodeFunctionOwner, CodeFunctionShadowed,
		CodeUniqueNoTenant, CodeExclusionNoTenant, CodeTenantIndexMissing, CodeTenantDefault,
		CodeForeignKeyNoTenant, CodeForeignKeyMissing, CodeForeignKeyAltered, CodeForeignKeyCrossed, CodeForeignKeyNotEnforced, CodeForeignKeyNotValid,
		CodeForeignKeyUnproven, CodeForeignKeySetsTenant, CodeForeignKeyUnprotected, CodeConstraintTriggersOff, CodeCompositeKeyMissing,
		CodePoolerStatements,
		CodeNotAppendOnly, CodeTriggerMissing, CodeTriggerDisabled, CodeTriggerAltered, CodeTrailTrigger, CodeTrailKey, CodeTrailReferenced, CodeTrailUnique,
		CodeTriggerBinds, CodeTriggerDefiner, CodeOwnerChanged, CodeUnlogged,
		CodeNoVersions, CodeVersionPending, CodeVersionChecksum, CodeVersionUnknown, CodeIndexMissing, CodeIndexInvalid,
	}
}
