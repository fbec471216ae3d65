package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// ErrNoWidening means that no widening leads from the column's type to the one that
	// it should have, or that the two tables have no such column.
	ErrNoWidening = errors.New("there is no such widening")

	// ErrZone means that [Widening.Zone] is missing where a time needs one, unknown to
	// the server, or given where none is needed.
	ErrZone = errors.New("the zone is missing, unknown, or not of use")
)

// Widening names a column that another program made narrower than it should be.
type Widening struct {
	// Column is its table and name, as [Difference.Widening] has it: "tenants.created_at".
	Column string
	// Zone is the time zone, as IANA names it, of which the times are that a timestamp
	// without time zone holds: "UTC" where every program kept to the contract. It is
	// mandatory for these, has no default, and must be empty for all else.
	Zone string
}

// Widened is what became of one column.
type Widened struct {
	Column string
	// From and To are its types before and after.
	From, To string
	// SQL is the statement that was run.
	SQL string
	// Rewrote means that every row was written again, and the indexes with them.
	Rewrote bool
}

// WidenError says which column could not be widened. Those before it in the call were.
type WidenError struct {
	Column string
	// Err is [ErrNoWidening], [ErrZone], [ErrTableBusy] or the server's.
	Err error
	// Fix is what to do. It may be empty.
	Fix string
}

func (e *WidenError) Error() string {
	text := fmt.Sprintf("migrate: widening %q: %v", e.Column, e.Err)
	if e.Fix != "" {
		text += ": " + e.Fix
	}
	return text
}

func (e *WidenError) Unwrap() error { return e.Err }

// Widen gives columns of the two tables that another program made the type that they
// should have: varchar(n) becomes text, json becomes jsonb, and a timestamp without time
// zone becomes timestamptz. It does what it is told and no more, never by itself; what
// there is to widen is in [Plan.Differences]. A column that has its type already is
// passed over, and is not in the result.
//
// All columns and zones are checked first: nothing was changed if the error is [ErrNoWidening] or
// [ErrZone], inside a [WidenError]. Each column is then widened in a transaction of its own,
// under the lock of Up and an ACCESS EXCLUSIVE lock on the table, for which it steps
// back as [Config.TableLockTimeout] says. That lock is held
//
//   - for a moment: varchar to text;
//   - while indexes with the column are built again: timestamp to timestamptz in a zone
//     that is UTC, and any column that stands in an index's condition or expression;
//   - while the whole table is written again: json to jsonb, and timestamp to timestamptz
//     in any other zone.
//
// So for a large table choose an hour in which the app may wait, or widen it by hand. A
// default of another kind than the database's clock, such as one that makes UTC of it, becomes
// the contract's, for it would no longer be right.
//
// Tell the other program first: a driver reads timestamptz otherwise. Widen before Protect, since a
// column that a policy or a view names cannot change its type: that is the server's error.
func (m *Migrator) Widen(ctx context.Context, list ...Widening) ([]Widened, error) {
	pool, err := m.pool()
	if err != nil {
		return nil, err
	}
	var done []Widened
	cfg := m.cfg.withDefaults()
	err = withLock(ctx, pool, cfg, func(conn *sql.Conn) error {
		todo, err := planWidenings(ctx, conn, list)
		if err != nil {
			return err
		}
		for _, w := range todo {
			if err := cfg.widen(ctx, conn, &w); err != nil {
				return &WidenError{Column: w.Column, Err: err}
			}
			done = append(done, w.Widened)
		}
		return nil
	})
	return done, err
}

// widening is one that has to be done.
type widening struct {
	Widened
	table, zone string
}

func planWidenings(ctx context.Context, s session, list []Widening) (todo []widening, err error) {
	for _, w := range list {
		c, has, err := w.column(ctx, s)
		if err != nil {
			return nil, err
		}
		zone, err := w.zone(ctx, s, c, has)
		if err != nil {
			return nil, err
		}
		if has.Type == c.kind {
			continue
		}
		if !c.widens(has) {
			return nil, &WidenError{Column: w.Column, Err: ErrNoWidening, Fix: c.typeDifference(has).Fix}
		}
		todo = append(todo, widening{
			Widened: Widened{Column: w.Column, From: has.Type, To: c.kind, SQL: c.widenSQL(has)}, table: c.table, zone: zone,
		})
	}
	return todo, nil
}

// column finds the column in the contract and in the database.
func (w Widening) column(ctx context.Context, s session) (contractColumn, *liveColumn, error) {
	for _, c := range contract {
		if c.String() != w.Column {
			continue
		}
		live, err := readColumns(ctx, s, c.table)
		if err != nil {
			return c, nil, err
		}
		if has := findColumn(live, c.name); has != nil {
			return c, has, nil
		}
		return c, nil, &WidenError{Column: w.Column, Err: ErrNoWidening, Fix: "the column does not exist: run Up"}
	}
	return contractColumn{}, nil, &WidenError{Column: w.Column, Err: ErrNoWidening, Fix: "name a column of tenants or audit_logs, as Plan does"}
}

// zone returns the zone as the server spells it.
func (w Widening) zone(ctx context.Context, s session, c contractColumn, has *liveColumn) (string, error) {
	switch {
	case w.Zone == "" && has.Base == kindLocalTime:
		return "", &WidenError{Column: w.Column, Err: ErrZone, Fix: "name the zone of which its times are"}
	case w.Zone == "":
		return "", nil
	case c.kind != kindTime:
		return "", &WidenError{Column: w.Column, Err: ErrZone, Fix: "it holds no times: leave Zone empty"}
	}
	// A setting takes any word with a number for a zone, so ask for the names.
	names, err := queryStrings(ctx, s, `SELECT name FROM pg_catalog.pg_timezone_names WHERE lower(name) = lower($1)`, w.Zone)
	if err != nil {
		return "", err
	}
	if len(names) == 0 {
		return "", &WidenError{Column: w.Column, Err: ErrZone, Fix: "the server knows no zone of that name"}
	}
	return names[0], nil
}

// widens says whether a widening leads from the column's type to the contract's.
func (c contractColumn) widens(has *liveColumn) bool {
	if !has.Plain {
		return false // a domain
	}
	switch c.kind {
	case kindText:
		return has.Base == "character varying"
	case kindTime:
		return has.Base == kindLocalTime || has.Base == kindTime && has.Type != kindTime
	case kindJSON:
		return has.Base == "json"
	}
	return false
}

// zoned are the defaults that mean the same in every session.
var zoned = regexp.MustCompile(`^(now\(\)|CURRENT_TIMESTAMP|(clock|statement|transaction)_timestamp\(\))$`)

// widenSQL has no USING: the cast of timestamp to timestamptz reads the session's zone, and
// where that is UTC, and only without USING, PostgreSQL knows that no row changes.
func (c contractColumn) widenSQL(has *liveColumn) string {
	parts := []string{`ALTER COLUMN ` + c.name + ` TYPE ` + c.kind}
	if c.kind == kindTime && has.Default != "" && !zoned.MatchString(has.Default) {
		parts = append([]string{`ALTER COLUMN ` + c.name + ` DROP DEFAULT`}, parts...)
		parts = append(parts, `ALTER COLUMN `+c.name+` SET DEFAULT `+c.def)
	}
	return `ALTER TABLE ` + c.table + ` ` + strings.Join(parts, ", ")
}

func (c Config) widen(ctx context.Context, conn *sql.Conn, w *widening) error {
	c.Progress(Progress{Step: "widen " + w.Column, Total: 1})
	err := c.briefly(ctx, conn, func(tx *sql.Tx) (err error) {
		w.Rewrote, err = w.run(ctx, tx)
		return err
	})
	if err != nil {
		return err
	}
	c.Progress(Progress{Step: "widen " + w.Column, Done: 1, Total: 1})
	return nil
}

// run returns whether the table got a new file.
func (w *widening) run(ctx context.Context, tx *sql.Tx) (rewrote bool, err error) {
	if w.zone != "" {
		if _, err := tx.ExecContext(ctx, `SELECT set_config('TimeZone', $1, true)`, w.zone); err != nil {
			return false, err
		}
	}
	before, err := fileOf(ctx, tx, w.table)
	if err != nil {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, w.SQL); err != nil {
		return false, err
	}
	after, err := fileOf(ctx, tx, w.table)
	return before != after, err
}

func fileOf(ctx context.Context, s session, table string) (string, error) {
	files, err := queryStrings(ctx, s, `SELECT pg_relation_filenode(to_regclass(quote_ident($1)))::text`, table)
	if err != nil || len(files) == 0 {
		return "", err
	}
	return files[0], nil
}
