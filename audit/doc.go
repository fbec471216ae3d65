// Package audit records who changed what, from what to what, in the
// transaction of the change.
//
//	err = db.Use(audit.New(audit.Config{}))
//	ctx = audit.WithActor(ctx, audit.Actor{ID: "u_1", IP: ip})
//	db.WithContext(ctx).Model(&project).Update("name", "attic") // leaves one entry
//	page, err := audit.List(ctx, db, audit.Filter{ResourceType: "projects"}, "")
//
// # What is guaranteed
//
// Every row that is created, updated or deleted through GORM with its model
// leaves one entry in audit_logs, with the values that the database held before
// and after, whether one row or many are changed at once. Entry and change are
// one statement: both are committed, or neither. If the entry cannot be
// written, the change fails with [ErrAudit]. An update that changes nothing, or
// only the time of the update, leaves no entry.
//
// A write that cannot be captured is refused with [ErrUnaudited]: SQL written
// by hand, and a table of which no model is known. The trail itself is
// append-only, and takes its time from the database.
//
// # What is recorded
//
// The action is create, update, delete, soft_delete or restore; the resource
// is the table's name and the primary key as text, a composite key as a JSON
// array of texts. The metadata holds the changed columns with old and new
// values, which [Changes] reads, the transaction's id, and what the context
// says: of the actor, as whom he acts ([Actor.OnBehalfOf]) and why ([WithReason]).
// Times are in UTC. [Middleware] gives each HTTP request its actor.
//
// [Record] writes an event that is no change of a row. What its data holds under
// the name of a secret is redacted at any depth.
//
// The struct tag audit:"-" leaves a column out, and audit:"redact" records that
// it changed but not what. Columns whose names speak of secrets (password,
// token, api_key and the like) are redacted unless tagged audit:"keep".
//
// # What is not
//
// Statements that go to the *sql.DB behind GORM, cascades of foreign keys and
// writes by triggers leave no entry: [Verify] finds the latter two at the start,
// and [Coverage] says table by table what is captured. An UPDATE with a FROM of its own, an update
// of a model without primary key, and an upsert by the name of a constraint are
// refused. An upsert onto a row that another transaction inserted at the same
// moment fails with [ErrAudit], for its old values would be a guess, and so does
// an update of a row whose key another transaction changed: run it again. The
// columns of an entry are those of the models of the table that are known, and
// those that the statement writes: list the models in Config.Models.
package audit
