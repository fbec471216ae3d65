package migrate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/models"
)

// table is one that Up creates if it does not exist.
type table struct {
	name  string
	model any // nil for the records table, which has no model
}

var tables = []table{
	{models.TenantsTable, &models.Tenant{}},
	{models.AuditLogsTable, &models.AuditLog{}},
	{recordsTable, nil},
}

// readTables finds the tables to create and the columns to add. A table that exists
// must be usable as it stands. Names are looked up as statements look them up: the
// first in the search_path counts, be it in a later schema of it or not.
func (w *work) readTables(ctx context.Context, s session) error {
	for _, t := range tables {
		kind, err := relationKind(ctx, s, t.name)
		switch {
		case err != nil:
			return err
		case kind == "":
			w.missing = append(w.missing, t)
			continue
		case kind != "table":
			return &TableError{Table: t.name, Kind: kind}
		}
		columns, err := missingColumns(ctx, s, t)
		if err != nil {
			return err
		}
		if len(columns) > 0 {
			w.columns = append(w.columns, columns)
		}
	}
	if len(w.missing) > 0 {
		return checkSchema(ctx, s)
	}
	return nil
}

// relationKind says what the name stands for in the search_path, "" if for nothing.
func relationKind(ctx context.Context, s session, name string) (string, error) {
	kinds, err := queryStrings(ctx, s, `
		SELECT CASE relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'table' WHEN 'v' THEN 'view'
			WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
			ELSE 'relation of kind ' || relkind::text END
		FROM pg_catalog.pg_class WHERE oid = to_regclass(quote_ident($1))`, name)
	if err != nil || len(kinds) == 0 {
		return "", err
	}
	return kinds[0], nil
}

func checkSchema(ctx context.Context, s session) error {
	schemas, err := queryStrings(ctx, s, `SELECT current_schema()::text WHERE current_schema() IS NOT NULL`)
	if err != nil {
		return err
	}
	if len(schemas) == 0 {
		return ErrNoSchema
	}
	return nil
}

// createSQL is the statement that makes the table. It is GORM's, of a handle of its own
// that reaches no database, so that nothing of the caller's handle (logger, dry run,
// naming, callbacks) shapes the table.
func (t table) createSQL() (string, error) {
	if t.model == nil {
		return createRecords, nil
	}
	var sent recorder
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: &sent}), &gorm.Config{
		Logger: logger.Discard, SkipDefaultTransaction: true, DisableAutomaticPing: true,
	})
	if err != nil {
		return "", fmt.Errorf("migrate: reading the model of %q: %w", t.name, err)
	}
	if err := db.Migrator().CreateTable(t.model); err != nil {
		return "", fmt.Errorf("migrate: reading the model of %q: %w", t.name, err)
	}
	return strings.Join(sent, ";\n"), nil
}

// recorder is the pool of a handle whose statements go nowhere.
type recorder []string

var errNowhere = errors.New("this handle only writes statements down")

func (r *recorder) ExecContext(_ context.Context, query string, args ...any) (sql.Result, error) {
	if len(args) > 0 {
		return nil, errNowhere
	}
	*r = append(*r, query)
	return driver.RowsAffected(0), nil
}

func (*recorder) PrepareContext(context.Context, string) (*sql.Stmt, error) {
	return nil, errNowhere
}

func (*recorder) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errNowhere
}

func (*recorder) QueryRowContext(context.Context, string, ...any) *sql.Row { return new(sql.Row) }

// createTables makes the tables in one transaction: a crash leaves all or none. A
// table made anew has nothing of what was recorded for the one before it, so all
// versions become pending with it: each may be repeated.
func (r *upRun) createTables(ctx context.Context, conn *sql.Conn, w *work) error {
	return r.cfg.briefly(ctx, conn, func(tx *sql.Tx) error {
		if w.forget {
			if _, err := tx.ExecContext(ctx, deleteRecords); err != nil {
				return fmt.Errorf("emptying %s: %w", recordsTable, err)
			}
		}
		for _, t := range w.missing {
			if err := t.create(ctx, tx); err != nil {
				return fmt.Errorf("creating %q: %w", t.name, err)
			}
		}
		return nil
	})
}

func (t table) create(ctx context.Context, tx *sql.Tx) error {
	statement, err := t.createSQL()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, statement)
	return err
}

func queryStrings(ctx context.Context, s session, query string, args ...any) ([]string, error) {
	if m, ok := s.(*memory); ok {
		return m.queryStrings(ctx, query, args...)
	}
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("migrate: reading the catalogue: %w", err)
	}
	defer rows.Close()
	var list []string
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, fmt.Errorf("migrate: reading the catalogue: %w", err)
		}
		list = append(list, text)
	}
	return list, rows.Err()
}
