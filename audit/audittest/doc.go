// Package audittest checks an app's audit trail in the app's own tests: that no
// table was forgotten in it, that an act leaves the entries that it should, and
// that no secret gets into it.
//
//	func TestAudit(t *testing.T) {
//		audittest.AllModelsCovered(t, db, &Project{}, &Invoice{}) // db has the audit plugin
//	}
//
//	func TestSend(t *testing.T) {
//		ctx := audit.WithActor(tenancy.WithTenant(t.Context(), "acme"), audit.Actor{ID: "ann"})
//		db := db.WithContext(ctx)
//		start := audittest.Now(t, db)
//		send(db, invoice)
//		trail := audittest.Expect(t, db).Since(start)
//		trail.Of(invoice.ID).One("invoices", "update").
//			Changed("status", "draft", "sent").
//			Redacted("api_token").
//			OnlyChanged("status", "api_token", "updated_at").
//			By("ann")
//		trail.One("users", "user.login").Failed().Data("attempt", 3)
//		trail.None("invoices", "delete") // nor a soft_delete
//		audittest.NoSecrets(t, db, "canary-1", "canary-2") // which the test wrote
//	}
//
// # Coverage
//
// [AllModelsCovered] fails with a list of what can change and leave no entry, each
// line with what to do: tables without a model, cascades of foreign keys, triggers
// and rules. What is left out on purpose stands with its reason in
// [audit.Config.Exclude], and is written to the test's log.
//
// Run it on the app's real schema, as the app's role: which tables this may write
// is a part of the question.
//
// # Entries
//
// [Expect] looks at the trail that the handle's context may see, and a failure
// lists what is there instead, or says which name was misspelt: a wrong name would
// make a check that nothing happened hold for ever. [Trail.None] says which of
// them it knows. Tests that share a database
// and a tenant narrow what they look at, by [Trail.Since], [Trail.Of], [Trail.By]
// and [Trail.InRequest].
//
// # Secrets
//
// [NoSecrets] looks for what the test wrote as secrets in all columns and texts,
// however they are encoded.
package audittest
