package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"gorm.io/gorm"
)

// pluginPrefix starts the name of every plugin of courtroll's. The plugins'
// packages are not imported for it: migrate knows neither.
const pluginPrefix = "courtroll:"

// Migrator runs the DDL of courtroll's tables. It may be used by several
// goroutines at once, and by several processes on one database.
type Migrator struct {
	db    *gorm.DB
	cfg   Config
	files fs.FS
}

// Migration names one numbered migration.
type Migration struct {
	Version int
	Name    string
	// Matched is set in a [Result] if the version built no index since one of
	// the same definition stood there under this name.
	Matched string
}

// Result is what one Up changed. It is empty when there was nothing to do.
type Result struct {
	// Created are the tables that did not exist.
	Created []string
	// Applied are the versions that were not recorded, in order.
	Applied []Migration
}

// New returns a migrator on db, which is the handle of the role that owns the
// tables, or will own them, without courtroll's plugins. Its session must be
// its own: a direct connection, or a pooler in session mode. New only stores;
// the methods report what is wrong.
func New(db *gorm.DB, cfg Config) *Migrator {
	return &Migrator{db: db, cfg: cfg, files: embedded}
}

// Up brings the database to this binary's version: it creates those of the two
// tables that do not exist and runs the migrations that are not recorded. It
// may be called by any number of instances at once: one does the work, the
// others wait for it and find nothing to do.
//
// When it returns nil, all is committed. A table that exists is not altered:
// it must have the nine columns, else the error is a [TableError]. Nothing was
// changed if the error is ErrAppHandle, ErrInTransaction, ErrLocked, ErrNoSchema,
// a [VersionError] or a bare [TableError]; an [UpError] says how far it came.
// Up may be run again after any error and after a crash at any point.
//
// Index builds are concurrent. They wait for transactions that are older, so a
// transaction left open anywhere in the database holds Up until ctx ends.
func (m *Migrator) Up(ctx context.Context) (Result, error) {
	pool, err := m.pool()
	if err != nil {
		return Result{}, err
	}
	list, err := loadSources(m.files)
	if err != nil {
		return Result{}, err
	}
	run := &upRun{cfg: m.cfg.withDefaults(), list: list}
	err = withLock(ctx, pool, run.cfg, func(conn *sql.Conn) error { return run.up(ctx, conn) })
	return run.done, err
}

// pool returns the pool under the handle, if the handle is fit for migrations.
func (m *Migrator) pool() (*sql.DB, error) {
	if m.db == nil {
		return nil, errors.New("migrate: no database handle")
	}
	if m.db.Error != nil {
		return nil, m.db.Error
	}
	for name := range m.db.Plugins {
		if strings.HasPrefix(name, pluginPrefix) {
			return nil, ErrAppHandle
		}
	}
	if _, ok := m.db.Statement.ConnPool.(gorm.TxCommitter); ok {
		return nil, ErrInTransaction
	}
	pool, err := m.db.DB()
	if err != nil {
		return nil, fmt.Errorf("migrate: reading the handle's pool: %w", err)
	}
	return pool, nil
}

// upRun is one Up under the lock.
type upRun struct {
	cfg  Config
	list []source
	done Result
}

// up first reads everything that could stop it, so that it stops before the
// first change. No other Up can come between: they all take the lock.
func (r *upRun) up(ctx context.Context, conn *sql.Conn) error {
	records, err := readRecords(ctx, conn)
	if err != nil {
		return err
	}
	if err := checkRecords(r.list, records); err != nil {
		return err
	}
	if err := r.tables(ctx, conn, records); err != nil {
		return err
	}
	for _, s := range r.list {
		if _, ok := records[s.Version]; ok {
			continue
		}
		if err := r.apply(ctx, conn, s); err != nil {
			return &UpError{Created: r.done.Created, Applied: r.done.Applied, Failed: s.Migration, Err: err}
		}
	}
	return nil
}

// tables creates what is missing. A table made anew has nothing of what was
// recorded for the one before it, so all versions become pending first: each may
// be repeated.
func (r *upRun) tables(ctx context.Context, conn *sql.Conn, records map[int]record) error {
	missing, err := missingTables(ctx, conn)
	if err != nil || len(missing) == 0 {
		return err
	}
	if err := forgetRecords(ctx, conn, records); err != nil {
		return &UpError{Err: err}
	}
	if err := createTables(ctx, conn, missing); err != nil {
		return &UpError{Err: err}
	}
	for _, t := range missing {
		r.done.Created = append(r.done.Created, t.name)
		r.cfg.Logger.InfoContext(ctx, "created table", slog.String("table", t.name))
	}
	return nil
}

func (r *upRun) apply(ctx context.Context, conn *sql.Conn, s source) (err error) {
	if s.index == nil {
		err = applyInTransaction(ctx, conn, s)
	} else {
		s.Matched, err = applyIndexBuild(ctx, conn, s)
	}
	if err != nil {
		return err
	}
	r.done.Applied = append(r.done.Applied, s.Migration)
	r.cfg.Logger.InfoContext(ctx, "applied migration", slog.Int("version", s.Version),
		slog.String("name", s.Name), slog.String("matched", s.Matched))
	return nil
}

// applyInTransaction commits the statements and their record together: a crash
// leaves both or neither.
func applyInTransaction(ctx context.Context, conn *sql.Conn, s source) error {
	return inTransaction(ctx, conn, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, s.up); err != nil {
			return err
		}
		return insertRecord(ctx, tx, s)
	})
}

func inTransaction(ctx context.Context, conn *sql.Conn, fn func(*sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit: no effect
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}
