// Package lifecycle takes a tenant from its first day to its last: [Create],
// [Suspend] and [Resume], [Export], and [Delete], which leaves nothing of it but its
// audit trail.
//
// All take the app's handle, with the plugin of package tenancy and, where the app
// has it, that of package audit: each row that they change is audited as any other.
// They work across tenants, so their context is of system scope
// ([tenancy.AsSystem]); rows of a tenant-owned table are read and deleted in the scope
// of that tenant alone, so that plugin and row-level security hold.
//
// Which tables are a tenant's they take from the models: those of the plugin's
// Config.Models, those given, and the models and join tables that they refer to. They
// compare them with the catalogue before anything is read or changed: a table with
// the tenant column and no model is [ErrForgotten]. [Verify] does that alone, for a
// test of the app's.
package lifecycle
