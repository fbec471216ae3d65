package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// task is a version to run.
type task struct {
	source
	// again means that it is recorded, and its index was found invalid.
	again bool
}

// label is the version as its files are called.
func (t task) label() string { return fmt.Sprintf("%03d_%s", t.Version, t.Name) }

// work is what an Up has to do.
type work struct {
	missing []table            // to create
	forget  bool               // the records, for a table of theirs is gone
	columns [][]contractColumn // to add, by table
	tasks   []task             // in order
	records map[int]record
}

// survey reads everything that could stop an Up, so that it stops before the first
// change. No other Up can come between: they all take the lock.
func survey(ctx context.Context, s session, list []source) (*work, error) {
	records, err := readRecords(ctx, s)
	if err != nil {
		return nil, err
	}
	w := &work{records: records}
	if err := checkRecords(list, records); err != nil {
		return w, err
	}
	if err := w.readTables(ctx, s); err != nil {
		return w, err
	}
	if w.forget = len(w.missing) > 0 && len(records) > 0; w.forget {
		clear(records)
	}
	return w, w.readTasks(ctx, s, list)
}

func (w *work) readTasks(ctx context.Context, s session, list []source) error {
	invalid, err := invalidIndexes(ctx, s)
	if err != nil {
		return err
	}
	for _, source := range list {
		_, recorded := w.records[source.Version]
		again := recorded && source.index != nil && invalid[source.index.key()]
		if !recorded || again {
			w.tasks = append(w.tasks, task{source: source, again: again})
		}
	}
	return nil
}

// indexKey names an index with its table.
type indexKey struct{ table, index string }

func (b *indexBuild) key() indexKey { return indexKey{b.table, b.index} }

func invalidIndexes(ctx context.Context, s session) (map[indexKey]bool, error) {
	invalid := map[indexKey]bool{}
	for _, t := range tables {
		indexes, err := readIndexes(ctx, s, t.name)
		if err != nil {
			return nil, err
		}
		for _, i := range indexes {
			invalid[indexKey{t.name, i.name}] = !i.valid
		}
	}
	return invalid, nil
}

// upRun is one Up under the lock.
type upRun struct {
	cfg  Config
	list []source
	done Result
	// steps and finished are what Config.Progress is told.
	steps, finished int64
}

func (r *upRun) up(ctx context.Context, conn *sql.Conn) error {
	w, err := survey(ctx, conn, r.list)
	if err != nil {
		return err
	}
	r.steps = int64(len(w.missing) + len(w.columns) + len(w.tasks))
	if err := r.prepare(ctx, conn, w); err != nil {
		return r.failed(w.tasks, nil, err)
	}
	for i, t := range w.tasks {
		err := r.step("apply "+t.label(), func() error { return r.apply(ctx, conn, t) })
		if err != nil {
			return r.failed(w.tasks[i+1:], &t, err)
		}
	}
	return nil
}

func (r *upRun) failed(pending []task, at *task, err error) error {
	e := &UpError{Created: r.done.Created, Added: r.done.Added, Applied: r.done.Applied, Rebuilt: r.done.Rebuilt, Err: err}
	if at != nil {
		e.Failed = at.Migration
	}
	for _, t := range pending {
		e.Pending = append(e.Pending, t.Migration)
	}
	return e
}

// step tells Config.Progress before and after one of the steps.
func (r *upRun) step(name string, do func() error) error {
	begin := time.Now()
	r.cfg.Progress(Progress{Step: name, Done: r.finished, Total: r.steps})
	if err := do(); err != nil {
		return err
	}
	r.finished++
	r.cfg.Progress(Progress{Step: name, Done: r.finished, Total: r.steps, Elapsed: time.Since(begin)})
	return nil
}

// prepare makes the tables what the versions need.
func (r *upRun) prepare(ctx context.Context, conn *sql.Conn, w *work) error {
	if len(w.missing) > 0 {
		if err := r.create(ctx, conn, w); err != nil {
			return err
		}
	}
	for _, list := range w.columns {
		err := r.step("add columns to "+list[0].table, func() error { return r.addColumns(ctx, conn, list) })
		if err != nil {
			return fmt.Errorf("adding columns to %q: %w", list[0].table, err)
		}
	}
	return nil
}

// create tells Config.Progress of each table, though one transaction makes them all.
func (r *upRun) create(ctx context.Context, conn *sql.Conn, w *work) error {
	begin := time.Now()
	for _, t := range w.missing {
		r.cfg.Progress(Progress{Step: "create " + t.name, Done: r.finished, Total: r.steps})
	}
	if err := r.createTables(ctx, conn, w); err != nil {
		return err
	}
	for _, t := range w.missing {
		r.finished++
		r.done.Created = append(r.done.Created, t.name)
		r.cfg.Logger.InfoContext(ctx, "created table", slog.String("table", t.name))
		r.cfg.Progress(Progress{Step: "create " + t.name, Done: r.finished, Total: r.steps, Elapsed: time.Since(begin)})
	}
	return nil
}

func (r *upRun) apply(ctx context.Context, conn *sql.Conn, t task) (err error) {
	if t.index == nil {
		err = r.applyInTransaction(ctx, conn, t.source)
	} else {
		t.Matched, err = r.applyIndexBuild(ctx, conn, t)
	}
	if err != nil {
		return err
	}
	if t.again {
		r.done.Rebuilt = append(r.done.Rebuilt, t.Migration)
	} else {
		r.done.Applied = append(r.done.Applied, t.Migration)
	}
	r.cfg.Logger.InfoContext(ctx, "applied migration", slog.Int("version", t.Version),
		slog.String("name", t.Name), slog.String("matched", t.Matched))
	return nil
}

// applyInTransaction commits the statements and their record together: a crash
// leaves both or neither.
func (r *upRun) applyInTransaction(ctx context.Context, conn *sql.Conn, s source) error {
	run := r.cfg.briefly
	if lockOf(s.up).Mode == shareUpdateExclusive {
		run = unlimited
	}
	return run(ctx, conn, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, s.up); err != nil {
			return err
		}
		return insertRecord(ctx, tx, s)
	})
}

// isTableError says whether an Up is refused for what a table is.
func isTableError(err error) bool {
	var refused *TableError
	return errors.As(err, &refused)
}
