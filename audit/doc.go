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
// by hand, and a table of which no model is known, unless triggers capture the
// table (CaptureByTrigger of package migrate). The trail itself is append-only,
// and takes its time from the database.
//
// # What is recorded
//
// The action is create, update, delete, soft_delete or restore; the resource
// is the table's name and the primary key as text, a composite key as a JSON
// array of texts. The metadata holds the changed columns with old and new
// values, which [Changes] and [ReadMetadata] read, the transaction's id, and what the context
// says: of the actor, as whom he acts ([Actor.OnBehalfOf]) and why ([WithReason]).
// Times are in UTC. [Middleware] gives each HTTP request its actor.
//
// [Record] writes an event that is no change of a row. What its data holds under
// the name of a secret is redacted at any depth. [Define] gives an event a type for
// its data, a version and a description, and a [Catalog] prints them. With
// [Config.Events] no other event is recorded.
//
// Struct tags say how a column enters the trail: audit:"-" not at all,
// audit:"redact" that it changed but not what, audit:"hash" as a hash with
// [Config.HashKey], by which equal values of one tenant are known to be equal,
// audit:"cut=N" with N characters at most instead of [Config.MaxValueChars]. Columns
// whose names speak of secrets (password, token, api_key and the like) are
// redacted unless tagged audit:"keep". Where models of one table differ, the
// stricter tag holds.
//
// # How it is read
//
// [List] reads the trail page by page, [Timeline] that of one resource, [AsOf] what
// the resource was at a time; [Export] writes it to a file. A tenant's context
// reads that tenant's entries, a system scope all.
//
// # How
//
// The columns are those that the table has: the catalogue is read once for each
// table and model, and a statement fails with [ErrAudit] where the table is not
// the one that was read, once. An update compares the columns that it names, and
// all of them where a trigger may change others. PostgreSQL 18 returns the old
// version of a row by itself; before that, the statement locks and reads the rows
// before it changes them. Either way it is one statement, without a round trip of
// its own, whatever the number of rows.
//
// # What is not
//
// Statements that go to the *sql.DB behind GORM, cascades of foreign keys and
// writes by triggers leave no entry of the plugin's: [Verify] finds the latter two
// at the start, and [Coverage] says table by table what is captured. An update
// fails with [ErrAudit] where another transaction changes its rows' keys meanwhile:
// run it again. Before PostgreSQL 18 an upsert of a partitioned table or a view is
// refused.
package audit
