package lifecycle

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"io"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
)

// Options say what [Export] writes. The zero value is all, of the models that the
// plugin knows.
type Options struct {
	// Models are those that are not in the plugin's Config.Models. Default: none.
	Models []any
	// LeaveOutTrail leaves out the tenant's entries in audit_logs.
	LeaveOutTrail bool
}

// Count says how many rows of a table there were.
type Count struct {
	Table string `json:"table"`
	Rows  int64  `json:"rows"`
}

// Export writes all rows of a tenant, suspended or not, as JSONL: a line of the form
// {"table":"projects","row":{…}} for each. The row of tenants is first. The other
// tables follow, each after those that it refers to, and audit_logs is last. Soft-
// deleted rows are among them.
//
// All rows are of one moment, for they are read in one REPEATABLE READ transaction,
// which takes no lock that a writer would wait for. Memory does not grow with the rows.
//
// A value is what PostgreSQL's to_json makes of it, with all digits: a bytea is hex
// after \x, a timestamp in UTC, a column of type json as it was written but for its
// blanks. A number may be larger than a double holds, and infinity is the text
// "infinity". A json or jsonb that is null looks like no value at all. Within a table the rows are in the order of the primary key, so that
// one of a table that refers to itself, or to a later one in a circle of tables, may
// come before the row that it refers to: whoever imports them has to defer such keys,
// or to set them once all rows are there.
//
// The counts are in the order of the lines, also beside an error: of what was written
// by then. ctx is of system scope. Errors are [ErrUnknownTenant], those of [Verify],
// and w's.
func Export(ctx context.Context, db *gorm.DB, id string, w io.Writer, options Options) ([]Count, error) {
	counts, err := export(ctx, db, id, w, options)
	return counts, while("exporting a tenant", err)
}

func export(ctx context.Context, db *gorm.DB, id string, w io.Writer, options Options) ([]Count, error) {
	h, err := open(ctx, db)
	if err != nil {
		return nil, err
	}
	v, err := take(ctx, db, h.plugin, options.Models)
	if err != nil {
		return nil, err
	}
	if _, err := find(h.system(), id); err != nil {
		return nil, err
	}
	sources, err := v.sources(h.db, !options.LeaveOutTrail)
	if err != nil {
		return nil, err
	}
	tx := h.of(id).Begin(&sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if tx.Error != nil {
		return nil, tx.Error
	}
	defer tx.Rollback()
	out := bufio.NewWriter(w)
	counts, err := writeAll(tx, out, sources)
	if err != nil {
		return counts, err
	}
	return counts, out.Flush()
}

// sources returns the tables in the order in which they are written.
func (v *inventory) sources(db *gorm.DB, trail bool) ([]*table, error) {
	register, err := known(db, &models.Tenant{}, "id")
	if err != nil {
		return nil, err
	}
	all := append([]*table{register}, newGraph(v.tables, v.links).parentsFirst()...)
	if !trail {
		return all, nil
	}
	entries, err := known(db, &models.AuditLog{}, "created_at", "id")
	return append(all, entries), err
}

// settings make values look the same whatever the session's are.
const settings = `SELECT set_config('timezone', 'UTC', true), set_config('bytea_output', 'hex', true),
	set_config('extra_float_digits', '1', true), set_config('intervalstyle', 'postgres', true), set_config('datestyle', 'ISO', true)`

func writeAll(tx *gorm.DB, out *bufio.Writer, sources []*table) (counts []Count, err error) {
	if _, err := tx.Statement.ConnPool.ExecContext(tx.Statement.Context, settings); err != nil {
		return nil, err
	}
	for _, t := range sources {
		n, err := t.write(tx, out)
		if t.Name != models.TenantsTable || n > 0 || err != nil {
			counts = append(counts, Count{Table: t.schema.Table, Rows: n})
		}
		if err != nil {
			return counts, err
		}
		if t.Name == models.TenantsTable && n == 0 {
			return counts, ErrUnknownTenant // gone since it was found
		}
	}
	return counts, nil
}

// write writes the rows of a table.
func (t *table) write(tx *gorm.DB, out *bufio.Writer) (n int64, err error) {
	query := tx.Model(t.model()).Select(`to_json(` + t.sql() + `.*)::text`)
	if order := t.columns(); len(t.Keys) > 0 {
		query = query.Order(order)
	}
	rows, err := query.Rows()
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	name, err := json.Marshal(t.schema.Table)
	if err != nil {
		return 0, err
	}
	var row []byte
	line := &bytes.Buffer{}
	for rows.Next() {
		if err := rows.Scan(&row); err != nil {
			return n, err
		}
		line.Reset()
		if err := writeLine(line, name, row); err != nil {
			return n, err
		}
		if _, err := out.Write(line.Bytes()); err != nil {
			return n, err
		}
		n++
	}
	return n, rows.Err()
}

// writeLine writes one object in one line: a column of type json may hold line ends.
func writeLine(line *bytes.Buffer, table, row []byte) error {
	line.WriteString(`{"table":`)
	line.Write(table)
	line.WriteString(`,"row":`)
	if err := json.Compact(line, row); err != nil {
		return err
	}
	line.WriteString("}\n")
	return nil
}
