package trail

// A statement that writes its own trail says so to the triggers that would write
// it otherwise, in the setting models.CapturedSetting, as five numbers:
//
//	oid moment created updated deleted
//
// They are the table's, the statement's start, and how many rows of each kind are
// in the trail already. A trigger passes over so many rows of its kind, and puts 0
// in the place. Numbers, and not the word "all", because a foreign key that
// cascades into the same table adds its rows to those of the statement: behind
// them. The moment makes the setting void for any later statement, also where no
// trigger was there to take it back.

// Moment is the expression of the start of the client's statement.
const Moment = `extract(epoch FROM statement_timestamp())::text`

// Mark is the expression of the setting's value. The table is given by its name
// in SQL, the numbers as expressions.
func Mark(table, created, updated, deleted string) string {
	return `concat_ws(' ', ` + Literal(table) + `::regclass::oid, ` + Moment + `, ` + created + `, ` + updated + `, ` + deleted + `)`
}
