// Package tenancytest checks in an app's own tests that its models keep tenants
// apart:
//
//	func TestIsolation(t *testing.T) {
//		tenancytest.Run(t, db, &Project{}, &Task{}) // db has the tenancy plugin
//	}
//
// For each model it seeds rows of two tenants, tries as one of them to reach the
// other's, and demands that these stay as they were, byte for byte. Each attempt
// is a sub-test named model/scenario: finds, counts, plucks, rows, an Or, a
// tenant id written by the caller, Table, sub-queries, updates, saves, upserts,
// creates, deletes, statements without a tenant, and along each association whose
// other end is tenant-owned preloads, joins and association mode. An attempt that
// the database or the plugin stops for a reason that has nothing to do with tenants
// proves nothing, and fails; one for which the model or the schema leaves no
// way says so in the test's log.
//
// # What happens to the database
//
// Each model is tested in a transaction of its own, which is rolled back:
// deleting what was created could not undo the changes that a hole lets through.
// Each scenario starts from a savepoint and ends by rolling back to it, so that
// neither a statement that fails nor a hole disturbs the next. Only sequences
// advance. No system scope is used, for the audit plugin would record it outside
// of the transaction. The handle must not be in a transaction itself.
//
// # What it does not see
//
// A many2many whose join table is shared, SQL that the app writes by hand, and
// conditions under which a hole opens that no scenario here makes. Run it as the app's role on the app's real schema.
package tenancytest
