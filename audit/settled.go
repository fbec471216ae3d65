package audit

import (
	"fmt"

	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
)

// settled is the statement's LIMIT, which the server evaluates before it
// returns a row, and also where there is none: NULL, which limits nothing. It
// fails where the trail would not be true. What is last is counted so that the
// trail is written, and fails, before the first row is read. Then triggers are
// told who wrote it, which is not before the last function in the statement has run.
func (c *change) settled(last []string) string {
	check := `CASE WHEN NOT (` + c.table.Unaltered(c.tableName(), c.op == opUpdate || c.op == opUpsert, len(c.joins()) > 0) + `) THEN ` + fail(alteredSetting)
	if c.op == opUpdate && !c.returnsOld() {
		check += "\n WHEN NOT (" + c.complete() + `) THEN ` + fail(uncertainSetting)
	}
	then := ""
	if c.keepsReplaced() {
		then = cleared()
	}
	rows := `"__w"`
	if len(last) > 0 && (c.op == opCreate || c.op == opDelete) { // each row leaves an entry
		rows, last = last[0], last[1:]
	}
	done, counts := "w.n", c.counted(rows)
	for i, table := range last {
		done += fmt.Sprintf(" + c%d.n", i)
		counts += fmt.Sprintf(`, (SELECT count(*) AS n FROM %s) AS c%d`, table, i)
	}
	return check + "\n" + ` ELSE (SELECT CASE WHEN ` + done + ` < 0 OR set_config('` + models.CapturedSetting + `', ` + c.mark() +
		`, true) IS NULL` + then + ` THEN 0 END FROM ` + counts + `) END`
}

// counted counts the rows that changed, as w.n, and for an upsert those that it
// made, as w.created.
func (c *change) counted(rows string) string {
	created := ""
	if c.op == opUpsert {
		created = `, count(*) FILTER (WHERE "__created") AS created`
	}
	return `(SELECT count(*) AS n` + created + ` FROM ` + rows + `) AS w`
}

func (c *change) mark() string {
	switch c.op {
	case opCreate:
		return trail.Mark(c.tableName(), "w.n", "0", "0")
	case opUpsert:
		return trail.Mark(c.tableName(), "w.created", "w.n - w.created", "0")
	case opUpdate:
		return trail.Mark(c.tableName(), "0", "w.n", "0")
	}
	return trail.Mark(c.tableName(), "0", "0", "w.n")
}

// fail is a LIMIT that fails. The setting is named by a sub-select, or else the
// planner would ask for it to estimate the number of rows.
func fail(setting string) string { return `current_setting((SELECT '` + setting + `'))::bigint` }
