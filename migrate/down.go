package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
)

// ErrNothingApplied means that no version is recorded, so that there is nothing to undo.
var ErrNothingApplied = errors.New("migrate: no version is recorded")

// DownError says which version a Down could not undo. A transactional version stands as
// before; of an index build the index may be gone or invalid. Run Down again.
type DownError struct {
	Failed Migration
	// Err is why.
	Err error
}

func (e *DownError) Error() string {
	return fmt.Sprintf("migrate: undoing version %d (%s): %v", e.Failed.Version, e.Failed.Name, e.Err)
}

func (e *DownError) Unwrap() error { return e.Err }

// Down undoes the newest recorded version and returns it: one step, under the lock of
// Up. It is for the way back to an older release, when no instance runs that needs
// the version: without version 1, say, no trigger of [Migrator.CaptureByTrigger]
// can write. It never drops a table, and no row is lost.
//
// When it returns nil, the version is undone and its record is gone, in one
// transaction. An index is dropped concurrently, queueing nobody, before its record
// goes, so that Down may be killed anywhere and run again. Where a version had taken another's index
// instead of building one, that index is left alone, and [Migration.Matched] names it.
//
// [ErrNothingApplied] means that no version is recorded. Nothing was changed for that,
// for ErrAppHandle, ErrInTransaction, ErrLocked and a [VersionError], which means that
// a recorded version, be it not the newest, is another release's. All else is a
// [DownError]; in it [ErrIndexDiffers] means that an index of ours has another
// definition, and is somebody's.
func (m *Migrator) Down(ctx context.Context) (Migration, error) {
	pool, err := m.pool()
	if err != nil {
		return Migration{}, err
	}
	list, err := loadSources(m.files)
	if err != nil {
		return Migration{}, err
	}
	var undone Migration
	cfg := m.cfg.withDefaults()
	err = withLock(ctx, pool, cfg, func(conn *sql.Conn) error {
		s, err := newest(ctx, conn, list)
		if err != nil {
			return err
		}
		t := task{source: s}
		if err := cfg.undo(ctx, conn, &t); err != nil {
			return &DownError{Failed: t.Migration, Err: err}
		}
		undone = t.Migration
		return nil
	})
	return undone, err
}

// newest returns the version that was recorded last in order of versions.
func newest(ctx context.Context, s session, list []source) (source, error) {
	records, err := readRecords(ctx, s)
	if err != nil {
		return source{}, err
	}
	if len(records) == 0 {
		return source{}, ErrNothingApplied
	}
	if err := checkRecords(list, records); err != nil {
		return source{}, err
	}
	// The versions are numbered from 1 without a gap, and the records are among them.
	return list[slices.Max(slices.Collect(maps.Keys(records)))-1], nil
}

func (c Config) undo(ctx context.Context, conn *sql.Conn, s *task) (err error) {
	step := Progress{Step: "undo " + s.label(), Total: 1}
	c.Progress(step)
	// Killed between the index and its record, the next Down finds no index and removes
	// the record.
	if s.index == nil {
		err = c.undoInTransaction(ctx, conn, s.source)
	} else {
		s.Matched, err = s.index.undo(ctx, conn)
		if err == nil {
			err = removeRecord(ctx, conn, s.source)
		}
	}
	if err != nil {
		return err
	}
	step.Done = 1
	c.Progress(step)
	c.Logger.InfoContext(ctx, "undid migration", slog.Int("version", s.Version), slog.String("name", s.Name))
	return nil
}

func (c Config) undoInTransaction(ctx context.Context, conn *sql.Conn, s source) error {
	return c.briefly(ctx, conn, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, s.down); err != nil {
			return err
		}
		return removeRecord(ctx, tx, s)
	})
}

// undo drops the index, if the version built one, or returns the name of another's that
// it had matched.
func (b *indexBuild) undo(ctx context.Context, conn *sql.Conn) (matched string, err error) {
	want, err := b.definitionIn(ctx, conn)
	if err != nil {
		return "", err
	}
	there, err := b.find(ctx, conn, want)
	switch {
	case err != nil:
		return "", err
	case there.differs:
		return "", fmt.Errorf("index %q: %w", b.index, ErrIndexDiffers)
	case there.own != nil:
		return "", there.own.drop(ctx, conn)
	}
	return there.match, nil
}

// definitionIn returns the definition of an index whose table or columns may be gone,
// "" if they are.
func (b *indexBuild) definitionIn(ctx context.Context, conn *sql.Conn) (string, error) {
	want, err := b.serverDefinition(ctx, conn)
	if state := sqlState(err); state == stateNoTable || state == stateNoColumn {
		return "", nil
	}
	return want, err
}

const (
	stateNoTable  = "42P01"
	stateNoColumn = "42703"
)

func removeRecord(ctx context.Context, s session, src source) error {
	if _, err := s.ExecContext(ctx, deleteRecord, src.Version); err != nil {
		return fmt.Errorf("removing the record: %w", err)
	}
	return nil
}
