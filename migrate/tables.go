package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"sync"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

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

// missingTables returns the tables to create. One that exists must be usable
// as it stands. Names are looked up as statements look them up: the first in
// the search_path counts, be it in a later schema of it or not.
func missingTables(ctx context.Context, s session) ([]table, error) {
	var missing []table
	for _, t := range tables {
		kind, err := relationKind(ctx, s, t.name)
		switch {
		case err != nil:
			return nil, err
		case kind == "":
			missing = append(missing, t)
		case kind != "table":
			return nil, &TableError{Table: t.name, Kind: kind}
		default:
			err = checkColumns(ctx, s, t)
		}
		if err != nil {
			return nil, err
		}
	}
	if len(missing) > 0 {
		return missing, checkSchema(ctx, s)
	}
	return nil, nil
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

func checkColumns(ctx context.Context, s session, t table) error {
	want, err := columnNames(t)
	if err != nil {
		return err
	}
	have, err := queryStrings(ctx, s, `
		SELECT attname::text FROM pg_catalog.pg_attribute
		WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped`, t.name)
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(want, func(name string) bool { return slices.Contains(have, name) })
	if len(missing) > 0 {
		return &TableError{Table: t.name, Missing: missing}
	}
	return nil
}

// columnNames returns a table's columns in order, as its model has them.
func columnNames(t table) ([]string, error) {
	if t.model == nil {
		return nil, nil
	}
	parsed, err := schema.Parse(t.model, &sync.Map{}, schema.NamingStrategy{})
	if err != nil {
		return nil, fmt.Errorf("migrate: reading the model of %q: %w", t.name, err)
	}
	return slices.Clone(parsed.DBNames), nil
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

// createTables makes the tables in one transaction: a crash leaves all or none.
//
// GORM runs on a handle of its own over that transaction, so that nothing of
// the caller's handle (logger, dry run, naming, callbacks) shapes the tables.
func createTables(ctx context.Context, conn *sql.Conn, missing []table) error {
	return inTransaction(ctx, conn, func(tx *sql.Tx) error {
		db, err := gorm.Open(postgres.New(postgres.Config{Conn: tx}),
			&gorm.Config{Logger: logger.Discard, SkipDefaultTransaction: true})
		if err != nil {
			return err
		}
		for _, t := range missing {
			if err := createTable(ctx, db, t); err != nil {
				return fmt.Errorf("creating %q: %w", t.name, err)
			}
		}
		return nil
	})
}

func createTable(ctx context.Context, db *gorm.DB, t table) error {
	if t.model == nil {
		return db.WithContext(ctx).Exec(createRecords).Error
	}
	return db.WithContext(ctx).AutoMigrate(t.model)
}

func queryStrings(ctx context.Context, s session, query string, args ...any) ([]string, error) {
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
