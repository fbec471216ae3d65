package performance

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/gorm"
)

// trailMark begins the part of docs/performance.md that TestAudit writes.
const trailMark = "\n# What the trail costs\n"

// trailOperation is a change, measured in each form of leaving a trail.
type trailOperation struct {
	name          string
	bulk          bool // of as many rows as bulk says
	before, after string
	do            func(f *trailForm, n int) error
}

// rows is how many rows the operation changes, and so how many entries it has to leave.
func (o trailOperation) rows() int {
	if o.bulk {
		return bulk()
	}
	return 1
}

// bulk is how many rows a bulk operation changes: few in the default run.
func bulk() int {
	if *rounds > 3 {
		return 1000
	}
	return 50
}

// What is put before an operation and taken away after it, by a superuser for
// whom no trigger fires, is not in its time.
const (
	putOne = `INSERT INTO documents (tenant_id, title, body, status, views, price, active, data, created_at, updated_at)
		SELECT 't1', 'document', repeat('lorem ipsum dolor sit amet ', 8), 'doomed', n, 12.5, true, '{"tags": ["a", "b"], "size": 12}', now(), now()
		FROM generate_series(1, 1) AS n`
	takeNew = `DELETE FROM documents WHERE status = 'new'`
)

func putBulk() string {
	return strings.Replace(putOne, "(1, 1)", fmt.Sprintf("(1, %d)", bulk()), 1)
}

func newDocuments(count int) []Document {
	list := make([]Document, count)
	for i := range list {
		list[i] = Document{
			TenantID: "t1", Title: "document", Body: strings.Repeat("lorem ipsum dolor sit amet ", 8), Status: "new",
			Views: i + 1, Price: 12.5, Active: true, Data: []byte(`{"tags": ["a", "b"], "size": 12}`),
		}
	}
	return list
}

func trailOperations() []trailOperation {
	return []trailOperation{
		{"create one", false, "", takeNew, func(f *trailForm, _ int) error { return f.create(newDocuments(1)) }},
		{"update one by key", false, "", "", func(f *trailForm, n int) error {
			return f.update(map[string]any{"title": fmt.Sprint("title ", n), "views": gorm.Expr("views + 1")}, "id = ?", 2*(n%bulk())+1)
		}},
		{"delete one by key", false, putOne, "", func(f *trailForm, _ int) error { return f.remove("id = ?", f.put) }},
		{"create many", true, "", takeNew, func(f *trailForm, _ int) error { return f.create(newDocuments(bulk())) }},
		{"update many", true, "", "", func(f *trailForm, n int) error {
			return f.update(map[string]any{"title": fmt.Sprint("title ", n), "views": gorm.Expr("views + 1")}, "status = ?", "draft")
		}},
		{"delete many", true, putBulk(), "", func(f *trailForm, _ int) error { return f.remove("status = ?", "doomed") }},
	}
}

func TestAudit(t *testing.T) { //nolint:paralleltest // nothing may run beside it
	var out, fastest bytes.Buffer // the latter, not written down, differs less on a busy machine
	databases := openTrails(t)
	out.WriteString(trailHead(t, databases[0].side))
	for _, line := range []struct {
		title string
		delay time.Duration
	}{{"On the machine itself", 0}, {"Through a line of 1 ms each way", time.Millisecond}} {
		forms := connectTrails(t, databases, line.delay)
		fmt.Fprintf(&out, "\n## %s, with a trail\n\n| |", line.title)
		for _, f := range forms {
			fmt.Fprintf(&out, " %s |", f.name)
		}
		fmt.Fprint(&out, "\n|---|", strings.Repeat("---:|", len(forms)), "\n")
		for _, op := range trailOperations() {
			name := strings.Replace(op.name, "many", fmt.Sprintf("%d rows", bulk()), 1)
			medians, minima := measureTrail(t, op, forms, line.delay > 0)
			out.WriteString(row(name, medians))
			fastest.WriteString(row(name, minima))
		}
	}
	t.Logf("%s\nThe fastest of each:\n\n%s", &out, &fastest)
	if *update {
		before, _, _ := cutDoc(t)
		writeDoc(t, before+trailMark+out.String())
	}
}

// measureTrail returns median and minimum of each form, taken in turns. Each call has to
// leave as many entries as it changes rows, in the first round the same in
// each form.
func measureTrail(t *testing.T, op trailOperation, forms []*trailForm, far bool) (medians, minima []time.Duration) {
	t.Helper()
	n := *rounds
	if op.bulk {
		n = bulkRounds(far)
	}
	times := make([][]time.Duration, len(forms))
	want := ""
	for i := range n + 2 {
		if i%10 == 0 {
			tidy(t, forms)
		}
		for j := range forms {
			k := (i + j) % len(forms)
			f := forms[k]
			if f.manual && op.bulk && i > 0 && i%every(far) != 2 {
				continue // it takes a round trip for each row
			}
			f.prepare(t, op.before)
			begin := time.Now()
			must(t, op.do(f, i))
			if i >= 2 { // the statement is prepared by then
				times[k] = append(times[k], time.Since(begin))
			}
			f.check(t, op)
			if i == 0 && f.audited {
				if got := f.summary(t); want == "" {
					want = got
				} else if got != want {
					t.Fatalf("%s: the trail of %s is\n%s\nand not\n%s", op.name, f.name, got, want)
				}
			}
			f.prepare(t, op.after)
		}
	}
	for _, of := range times {
		medians, minima = append(medians, median(of)), append(minima, slices.Min(of))
	}
	return medians, minima
}

// bulkRounds is how often a bulk operation runs in each form.
func bulkRounds(far bool) int {
	if far {
		return min(*rounds, max(5, *rounds/20))
	}
	return min(*rounds, max(15, *rounds/10))
}

// every is how seldom the form that takes a round trip for each row does.
func every(far bool) int {
	if far {
		return 15
	}
	return 5
}

func trailHead(t *testing.T, db *gorm.DB) string {
	t.Helper()
	var settings string
	must(t, db.Raw(`SELECT string_agg(name || ' = ' || setting, ', ' ORDER BY name) FROM pg_settings
		WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')`).Scan(&settings).Error)
	return fmt.Sprintf(`
Written by the same run, on a server with %s: a commit that waits for a disk costs all forms the same, and so brings the ratios of single rows nearer to 1. A table of 11 columns (texts, one of 216 bytes, numbers, a jsonb, times) has %d rows of each of two tenants. An operation runs %d times (of many rows %d, over the line %d times) in each form, in turns, each form in a database and on a connection of its own. The first column is the median of plain GORM without a trail; the others are ratios of medians to it. A create of many is one Create of a slice; an update sets two columns and updated_at. Each call has to leave as many entries as it changes rows, with the same changes in each form, in the audit_logs that migrate.Up makes, with all of its indexes.

- *audit plugin*: on postgres.Open, the tenant's predicate written by hand.
- *both plugins*: on tenancy.Postgres and tables that migrate.Protect protects.
- *statement trigger*: plain GORM; a trigger for each statement, with transition tables, compares the rows as jsonb. Who acts it reads from settings of the database, for nothing; an app has to set them in each transaction.
- *row trigger*: the same for each row.
- *by hand*: plain GORM in a transaction: SELECT … FOR UPDATE, the change, SELECT again, and a Create for each entry. Of many rows it is measured less often.
`, settings, bulk(), *rounds, bulkRounds(false), bulkRounds(true))
}
