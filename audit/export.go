package audit

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
)

// Format is the form of an export: one entry on each line.
type Format string

// The formats of exports.
const (
	// JSONL has the columns of audit_logs as JSON objects, from which
	// [models.AuditLog] is read back as it was.
	JSONL Format = "jsonl"
	// CSV is for spreadsheets: UTF-8 with a byte order mark, a line of names, and
	// the metadata as JSON in the last cell. What a spreadsheet would take for a
	// formula has an apostrophe before it.
	CSV Format = "csv"
	// OCSF has events of the Open Cybersecurity Schema Framework for a SIEM, of its
	// classes Entity Management and, of actions whose verb is login, logout or the
	// like, Authentication. What they have no attribute for is under "unmapped".
	OCSF Format = "ocsf"
)

// ExportConfig says what [Export] writes. The zero value is all that the context
// may see, as JSON.
type ExportConfig struct {
	Filter Filter
	// Format defaults to [JSONL].
	Format Format
	// Product is whose events they are, in [OCSF].
	Product OCSFProduct
	// Resume is the position of an earlier export of the same context, filter and
	// format, to go on from there. The filter's To may be another. Default: from the start.
	Resume string
	// NewFile is set where w is not the file that is resumed: it gets a head of its
	// own, and Entries and Bytes are counted from zero.
	NewFile bool
	// WaitTimeout is how long to wait for the end of transactions of other logins
	// that have written entries, and whose begin this login is not shown, as members
	// of pg_read_all_stats are. After it, Export is [ErrHorizon]. Default: 10 seconds.
	WaitTimeout time.Duration
	// ProgressFunc is called when the head of the file is written, be it empty, and
	// after each page, before the next is read. It must not use the writer. An error of
	// it ends the export. Default: nobody is told.
	ProgressFunc func(Exported) error
}

// Exported is how far an export came.
type Exported struct {
	// Entries and Bytes are what was written, in whole lines, with what the exports
	// had written that this one resumes.
	Entries, Bytes int64
	// Position is where to go on: see [ExportConfig.Resume]. It is empty, or the old
	// one, where an error came before anything was written.
	Position string
	// Until is the time before which nothing is missing once Export has returned
	// without an error: Filter.To, or an earlier one, where transactions were open
	// when the export began, or Filter.To is in the future.
	Until time.Time
}

// A page of an export has so many entries at most, and ends where they take so many
// bytes, for which they are read one by one.
const (
	exportPage   = 500
	exportBytes  = 1 << 20
	exportedList = "export"
)

// Export writes the entries that match the filter to w, oldest first, a page at a
// time: its memory does not grow with their number. A tenant's context exports the
// entries of that tenant, a system scope those of all; any other context is
// [tenancy.ErrNoTenant].
//
// It reads no further than a time before which no transaction is open that has
// written entries, for one that commits later would be passed over: such entries
// are in the next export, from the Position of this one. Where that time cannot be
// told the error is [ErrHorizon]. Two things it cannot know: entries to which
// another program gave an earlier time of its own, and a clock of the server's that
// was set back.
//
// An error of w, or the end of ctx, ends it: what was returned tells how many bytes
// are whole lines. Cut the file to that size and append the export from Position.
// After a crash, what ProgressFunc was last given and has kept tells it.
//
// db must not be in a transaction, whose one snapshot could be older than what is
// asked of the server. [ErrCursor] is a Resume of another context, filter or format,
// [ErrFilter] a filter that cannot be used. [tenancy.ErrNotExpected] is a handle that
// does not bind the tenant where row-level security, therefore, would hide it all.
func Export(ctx context.Context, db *gorm.DB, w io.Writer, config ExportConfig) (Exported, error) {
	done, err := export(ctx, db, w, config)
	if err != nil {
		return done, fmt.Errorf("audit: exporting: %w", err)
	}
	return done, nil
}

// exporter is one export.
type exporter struct {
	*reading
	w       io.Writer
	config  ExportConfig
	purpose string
	at      mark
	done    Exported
}

func export(ctx context.Context, db *gorm.DB, w io.Writer, config ExportConfig) (Exported, error) {
	e, err := newExporter(ctx, db, w, config)
	if err != nil {
		return Exported{Position: config.Resume}, err
	}
	err = e.run(ctx, db)
	return e.done, err
}

func newExporter(ctx context.Context, db *gorm.DB, w io.Writer, config ExportConfig) (*exporter, error) {
	if w == nil {
		return nil, errors.New("there is no writer")
	}
	if isTransaction(db.Statement.ConnPool) {
		return nil, errors.New("the handle is in a transaction: use one that is not")
	}
	if config.Format == "" {
		config.Format = JSONL
	}
	if !slices.Contains([]Format{JSONL, CSV, OCSF}, config.Format) {
		return nil, fmt.Errorf("no format is called %q: there are %q, %q and %q", config.Format, JSONL, CSV, OCSF)
	}
	config.Filter.OldestFirst = true
	r, err := config.Filter.read(ctx, db)
	if err != nil {
		return nil, err
	}
	e := &exporter{reading: r, w: w, config: config, purpose: exportedList + " " + string(config.Format)}
	if e.at, err = r.open(e.purpose, config.Resume); err != nil {
		return nil, err
	}
	if config.NewFile {
		e.at = mark{position: e.at.position}
	}
	e.done = Exported{Entries: e.at.entries, Bytes: e.at.bytes, Position: config.Resume}
	return e, nil
}

func (e *exporter) run(ctx context.Context, db *gorm.DB) error {
	if err := e.end(ctx, db); err != nil {
		return err
	}
	if e.config.Resume == "" || e.config.NewFile {
		if err := e.begin(); err != nil {
			return err
		}
	}
	for limit := exportPage; ; {
		p, err := e.next(ctx, db, limit)
		if err != nil {
			return err
		}
		if p.entries > 0 {
			if err := e.flush(p.lines.Bytes(), p.entries, p.last); err != nil {
				return err
			}
		}
		if p.entries < limit && !p.more {
			return nil
		}
		// The rest of a page that was ended has come from the server for nothing.
		limit = min(exportPage, max(1, p.entries*exportBytes/(p.lines.Len()+1)))
	}
}

// end finds out how far to read.
func (e *exporter) end(ctx context.Context, db *gorm.DB) error {
	if p, ok := db.Plugins[PluginName].(*Plugin); ok { // before a transaction holds the connection
		if err := p.recordScope(ctx, false); err != nil {
			return err
		}
	}
	until, err := horizon(ctx, db, cmp.Or(e.config.WaitTimeout, defaultWait))
	if err != nil {
		return err
	}
	if to := e.config.Filter.To; !to.IsZero() && to.Before(until) {
		until = to.UTC()
	}
	e.bound(` < `, until)
	e.done.Until = until
	return nil
}

// begin writes what comes before the first line.
func (e *exporter) begin() error {
	var head bytes.Buffer
	if e.config.Format == CSV {
		if err := csvHeader(&head); err != nil {
			return err
		}
	}
	return e.flush(head.Bytes(), 0, e.at.position)
}

// lines is a page of an export.
type lines struct {
	lines   bytes.Buffer
	entries int
	last    position
	more    bool // it was ended before the server's was
}

// next reads a page in a transaction of its own, in which it sees all that was
// committed before.
func (e *exporter) next(ctx context.Context, db *gorm.DB, limit int) (p lines, err error) {
	err = onPrimary(ctx, db, func(tx *gorm.DB) error {
		rows, err := e.page(tx, e.at.position, limit).Rows()
		if err != nil {
			return err
		}
		defer rows.Close()
		for !p.more && rows.Next() {
			var entry models.AuditLog
			if err := tx.ScanRows(rows, &entry); err != nil {
				return err
			}
			if err := e.line(&p.lines, entry); err != nil {
				return fmt.Errorf("writing entry %s: %w", entry.ID, err)
			}
			p.entries, p.last, p.more = p.entries+1, positionOf(entry), p.lines.Len() > exportBytes
		}
		return rows.Err()
	})
	return p, err
}

// onPrimary runs f in a transaction: those go to the server that is written to. It is
// none that could see an older state, or fail for what others write, by default.
func onPrimary(ctx context.Context, db *gorm.DB, f func(tx *gorm.DB) error) error {
	err := bare(ctx, db).Transaction(f, &sql.TxOptions{Isolation: sql.LevelReadCommitted, ReadOnly: true})
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // database/sql may say of it that the transaction is gone
	}
	return err
}

func (e *exporter) line(w io.Writer, entry models.AuditLog) error {
	switch e.config.Format {
	case CSV:
		return csvLine(w, entry)
	case OCSF:
		text, err := ocsfLine(entry, e.config.Product)
		if err == nil {
			_, err = w.Write(append(text, '\n'))
		}
		return err
	}
	return jsonLine(w, entry)
}

// flush writes whole lines, and moves on when they are written.
func (e *exporter) flush(lines []byte, entries int, to position) error {
	if n, err := e.w.Write(lines); err != nil {
		return err
	} else if n != len(lines) {
		return io.ErrShortWrite
	}
	e.at = mark{to, e.at.entries + int64(entries), e.at.bytes + int64(len(lines))}
	e.done.Entries, e.done.Bytes, e.done.Position = e.at.entries, e.at.bytes, e.seal(e.purpose, e.at)
	if e.config.ProgressFunc == nil {
		return nil
	}
	return e.config.ProgressFunc(e.done)
}
