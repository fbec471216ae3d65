package migrate

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"strings"
)

// Plan is what the next Up would do, and what it would leave as it is.
type Plan struct {
	// Steps are in the order in which Up runs them.
	Steps []Step
	// Differences are what the two tables have otherwise than they should, and no Up
	// alters.
	Differences []Difference
}

// Step is one statement, or one version, of an Up.
type Step struct {
	// Name says what it is: "create tenants", "add columns to audit_logs",
	// "apply 004_audit_logs_by_actor", "drop the invalid index …".
	Name string
	// SQL is the text that Up sends. It is empty where Up only records the version.
	SQL string
	// Lock is the strongest one that it takes on a table that is there already. It is
	// zero if there is none that anybody would notice.
	Lock TableLock
	// Concurrent means that the step runs outside of a transaction, and takes as long
	// as the table is large and older transactions are open.
	Concurrent bool
	// Matched is the index that stands there already, for which none is built.
	Matched string
}

// TableLock is a lock that a step takes on a table.
type TableLock struct {
	Table string
	// Mode is the mode as PostgreSQL names it, "ACCESS EXCLUSIVE" for one.
	Mode string
	// Blocks says in words who has to wait, and for how long.
	Blocks string
}

// Plan says what the next Up would do. It changes nothing, takes neither the migration
// lock nor any lock on a table that a writer waits for or has to be waited for, and so
// may run at any time: before the first Up, and during one, where it shows what
// is committed.
//
// The error is that of the Up which would be refused: a [VersionError], a [TableError]
// or [ErrNoSchema], beside a Plan that has no Steps. With a TableError, Differences are
// there, with the SQL that lets Up go on.
//
// To compare indexes by definition it makes an empty table in a transaction that it rolls
// back, so the login needs the right to create one.
func (m *Migrator) Plan(ctx context.Context) (Plan, error) {
	pool, err := m.pool()
	if err != nil {
		return Plan{}, err
	}
	list, err := loadSources(m.files)
	if err != nil {
		return Plan{}, err
	}
	conn, err := pool.Conn(ctx)
	if err != nil {
		return Plan{}, fmt.Errorf("migrate: connecting: %w", err)
	}
	defer conn.Close()
	var run planRun
	err = run.plan(ctx, conn, list)
	return run.Plan, err
}

// planRun is one Plan in the making.
type planRun struct{ Plan }

func (p *planRun) plan(ctx context.Context, conn *sql.Conn, list []source) (err error) {
	w, refusal := survey(ctx, conn, list)
	if refusal != nil && !isTableError(refusal) {
		return refusal
	}
	if p.Differences, err = tableDifferences(ctx, conn); err != nil || refusal != nil {
		return cmp.Or(err, refusal)
	}
	if err := p.addTables(w); err != nil {
		return err
	}
	for _, s := range list {
		if err := p.addVersion(ctx, conn, w, s); err != nil {
			return err
		}
	}
	return nil
}

// addTables adds the steps that the tables need before the versions.
func (p *planRun) addTables(w *work) error {
	if w.forget {
		p.Steps = append(p.Steps, Step{Name: "empty " + recordsTable, SQL: deleteRecords})
	}
	for _, t := range w.missing {
		statement, err := t.createSQL()
		if err != nil {
			return err
		}
		p.Steps = append(p.Steps, Step{Name: "create " + t.name, SQL: statement})
	}
	for _, columns := range w.columns {
		p.Steps = append(p.Steps, addStep(columns))
	}
	return nil
}

func addStep(columns []contractColumn) Step {
	table := columns[0].table
	return Step{Name: "add columns to " + table, SQL: addColumnsSQL(columns), Lock: lockOn(table, accessExclusive)}
}

// addVersion adds the steps of a version, or says how its index differs from what was
// recorded.
func (p *planRun) addVersion(ctx context.Context, conn *sql.Conn, w *work, s source) error {
	pending := false
	for _, t := range w.tasks {
		pending = pending || t.Version == s.Version
	}
	if s.index != nil {
		return p.addIndexBuild(ctx, conn, s, pending)
	}
	if pending {
		p.Steps = append(p.Steps, Step{Name: "apply " + task{source: s}.label(), SQL: s.up, Lock: lockOf(s.up)})
	}
	return nil
}

func (p *planRun) addIndexBuild(ctx context.Context, conn *sql.Conn, s source, pending bool) error {
	want, err := s.index.definitionIn(ctx, conn)
	if err != nil {
		return fmt.Errorf("migrate: reading the definition of %q: %w", s.index.index, err)
	}
	there, err := s.index.find(ctx, conn, want)
	if err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	if there.differs || !pending && there.match == "" {
		p.Differences = append(p.Differences, s.indexDifference(there))
	}
	if !pending {
		return nil
	}
	lock := lockOn(s.index.table, shareUpdateExclusive)
	if there.own != nil && !there.own.valid {
		p.Steps = append(p.Steps, Step{Name: "drop the invalid index " + s.index.index, SQL: there.own.sql(), Lock: lock, Concurrent: true})
	}
	step := Step{Name: "apply " + task{source: s}.label(), SQL: s.up, Lock: lock, Concurrent: true}
	if there.match != "" {
		step = Step{Name: step.Name, Matched: there.match}
	}
	p.Steps = append(p.Steps, step)
	return nil
}

const (
	accessExclusive      = "ACCESS EXCLUSIVE"
	shareUpdateExclusive = "SHARE UPDATE EXCLUSIVE"
)

func lockOn(table, mode string) TableLock {
	blocks := "reads and writes, for the moment that it takes to change the catalogue"
	if mode == shareUpdateExclusive {
		blocks = "neither reads nor writes: only VACUUM, ANALYZE and other DDL of the table"
	}
	return TableLock{Table: table, Mode: mode, Blocks: blocks}
}

var analyze = regexp.MustCompile(`(?m)^ANALYZE ([a-z0-9_]+);$`)

// lockOf finds the lock of a transactional version. Functions take none; a test holds
// each version to what it says here.
func lockOf(text string) TableLock {
	if found := analyze.FindStringSubmatch(text); found != nil {
		return lockOn(found[1], shareUpdateExclusive)
	}
	return TableLock{}
}

// String prints the plan for people: the steps with their SQL, which psql can run, and
// what they lock; then the differences, each with what it leads to and what to do.
func (p Plan) String() string {
	var text strings.Builder
	if len(p.Steps) == 0 {
		text.WriteString("-- Up has nothing to do.\n")
	}
	for i, s := range p.Steps {
		fmt.Fprintf(&text, "-- %d. %s\n%s\n", i+1, s.Name, s.describe())
	}
	if len(p.Differences) > 0 {
		text.WriteString("-- What Up leaves as it is:\n")
	}
	for _, d := range p.Differences {
		fmt.Fprintf(&text, "-- %s\n", d)
	}
	return text.String()
}

func (s Step) describe() string {
	var lines []string
	switch {
	case s.Matched != "":
		return fmt.Sprintf("-- The index %q serves: nothing is built.\n", s.Matched)
	case s.Lock.Mode != "":
		lines = append(lines, fmt.Sprintf("-- Takes %s on %s, which blocks %s.", s.Lock.Mode, s.Lock.Table, s.Lock.Blocks))
	default:
		lines = append(lines, "-- Takes no lock on a table that is there already.")
	}
	if s.Concurrent {
		lines = append(lines, "-- Runs outside of a transaction and waits for older ones.")
	}
	text := statement(s.SQL)
	if !strings.HasSuffix(text, ";") {
		text += ";"
	}
	return strings.Join(append(lines, text), "\n") + "\n"
}
