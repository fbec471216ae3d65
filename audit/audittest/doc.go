// Package audittest checks in an app's own tests that no table was forgotten in
// its audit trail:
//
//	func TestAudit(t *testing.T) {
//		audittest.AllModelsCovered(t, db, &Project{}, &Task{}) // db has the audit plugin
//	}
//
// It fails with a list of what can change and leave no entry, each line with what
// to do: tables without a model, cascades of foreign keys, triggers and rules. What
// is left out on purpose stands with its reason in [audit.Config.Exclude], and is
// written to the test's log.
//
// Run it on the app's real schema, as the app's role: which tables this may write
// is a part of the question.
package audittest
