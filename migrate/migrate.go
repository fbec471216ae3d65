package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
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
	// Added are the columns that a table of another program lacked, as
	// "audit_logs.ip_address".
	Added []string
	// Applied are the versions that were not recorded, in order.
	Applied []Migration
	// Rebuilt are the recorded versions whose index was invalid, in order.
	Rebuilt []Migration
}

// New returns a migrator on db, which is the handle of the role that owns the
// tables, or will own them, without courtroll's plugins. Its session must be
// its own: a direct connection, or a pooler in session mode. New only stores;
// the methods report what is wrong.
func New(db *gorm.DB, cfg Config) *Migrator {
	return &Migrator{db: db, cfg: cfg, files: embedded}
}

// Up brings the database to this binary's version: it creates those of the two
// tables that do not exist, adds columns that are missing in those that do, and runs
// the migrations that are not recorded. It may be called by any number of instances
// at once: one does the work, the others wait for it and find nothing to do.
//
// When it returns nil, all is committed. Of a table that exists no row and no column
// is altered, nor its row-level security, its triggers or its privileges. A column
// that is missing is added where that touches no row: one that may be null, and of
// tenants is_active, plan, created_at and updated_at with their defaults. Any other
// that is missing, and a type that courtroll's SQL cannot work with, is a [TableError].
// What differs otherwise is left, and listed by [Migrator.Plan].
//
// Nothing was changed if the error is ErrAppHandle, ErrInTransaction, ErrLocked,
// ErrNoSchema, a [VersionError] or a bare [TableError]; an [UpError] says how far it
// came. Up may be run again after any error and after a crash at any point. An index of
// ours that is invalid is built again, of a recorded version, too; one that was
// dropped is not.
//
// What alters a table is in short transactions that step back where it is in use, as
// [Config.TableLockTimeout] says; [ErrTableBusy] then comes inside an UpError. Index
// builds are concurrent, and no reader or writer waits for them or for ANALYZE. They
// wait for transactions that are older, so a transaction left open anywhere in the
// database holds Up until ctx ends.
//
// [Config.Progress] is told before and after each table, column and version; Done and
// Total count those of this Up.
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
