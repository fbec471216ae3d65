package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// probeTable exists inside one transaction that is always rolled back.
const probeTable = "courtroll_index_probe"

// tableIndex is an index as the catalogue has it.
type tableIndex struct {
	schema, name string
	valid        bool
	// definition is the server's text of it without its own and its table's name.
	definition string
}

// presence is what of an index is there.
type presence struct {
	own *tableIndex // the index of our name
	// differs means that our name stands for something else.
	differs bool
	// match is the name of a valid index of the wanted definition, ours before another's.
	match string
}

// applyIndexBuild builds an index outside a transaction and records it. Each
// step may be the last before a crash: the next Up finds an invalid index and
// replaces it, or finds the finished one and records it.
func (r *upRun) applyIndexBuild(ctx context.Context, conn *sql.Conn, s task) (matched string, err error) {
	want, err := s.index.serverDefinition(ctx, conn)
	if err != nil {
		return "", fmt.Errorf("reading the definition: %w", err)
	}
	there, err := s.index.find(ctx, conn, want)
	if err != nil {
		return "", err
	}
	if err := s.index.ensure(ctx, conn, s.up, want, there); err != nil {
		return "", err
	}
	if there.match != s.index.index {
		matched = there.match
	}
	if s.again {
		return matched, nil
	}
	return matched, insertRecord(ctx, conn, s.source)
}

// ensure builds the index if none serves, in the place of an invalid one of our
// name. With the lock held, nobody can be building that one: its builder's session
// died or was interrupted.
func (b *indexBuild) ensure(ctx context.Context, conn *sql.Conn, statement, want string, there presence) error {
	if there.own != nil && !there.own.valid {
		if err := there.own.drop(ctx, conn); err != nil {
			return err
		}
	} else if there.differs {
		return fmt.Errorf("index %q: %w", b.index, ErrIndexDiffers)
	}
	if there.match != "" {
		return nil
	}
	return b.build(ctx, conn, statement, want)
}

// find looks for the index among those of its table.
func (b *indexBuild) find(ctx context.Context, s session, want string) (presence, error) {
	indexes, err := readIndexes(ctx, s, b.table)
	if err != nil {
		return presence{}, err
	}
	var there presence
	for _, i := range indexes {
		serves := i.valid && want != "" && i.definition == want
		if i.name == b.index {
			there.own, there.differs = &i, i.valid && !serves
		}
		if serves && (i.name == b.index || there.match == "") {
			there.match = i.name
		}
	}
	return there, nil
}

// sql drops the index, in the schema of its table: an index of the same name may stand
// before it in the search_path.
func (i *tableIndex) sql() string {
	return `DROP INDEX CONCURRENTLY IF EXISTS ` + ident(i.schema, i.name)
}

// drop waits for the transactions that may use the index, and nobody waits for it.
func (i *tableIndex) drop(ctx context.Context, conn *sql.Conn) error {
	err := withoutTimeouts(ctx, conn, func() error {
		_, err := conn.ExecContext(ctx, i.sql())
		return err
	})
	if err != nil {
		return fmt.Errorf("dropping the index %q: %w", i.name, err)
	}
	return nil
}

// build runs the statement, and looks at what it left: IF NOT EXISTS also
// passes in silence over another relation of that name.
func (b *indexBuild) build(ctx context.Context, conn *sql.Conn, statement, want string) error {
	err := withoutTimeouts(ctx, conn, func() error {
		_, err := conn.ExecContext(ctx, statement)
		return err
	})
	if err != nil {
		return err
	}
	there, err := b.find(ctx, conn, want)
	if err != nil {
		return err
	}
	if there.match != b.index {
		return fmt.Errorf("index %q: %w", b.index, ErrIndexDiffers)
	}
	return nil
}

// serverDefinition asks the server how it would write the index down: it is
// built on an empty table of the same columns, in a transaction that never
// commits.
func (b *indexBuild) serverDefinition(ctx context.Context, conn *sql.Conn) (string, error) {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return "", err
	}
	defer tx.Rollback()
	return b.probe(ctx, tx)
}

func (b *indexBuild) probe(ctx context.Context, tx *sql.Tx) (string, error) {
	unique := ""
	if b.unique {
		unique = "UNIQUE "
	}
	for _, statement := range []string{
		`CREATE TABLE ` + probeTable + ` (LIKE ` + b.table + `)`,
		`CREATE ` + unique + `INDEX ON ` + probeTable + ` ` + b.definition,
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return "", err
		}
	}
	indexes, err := readIndexes(ctx, tx, probeTable)
	if err != nil {
		return "", err
	}
	return indexes[0].definition, nil
}

// readIndexes lists a table's indexes in the order they were made.
func readIndexes(ctx context.Context, s session, table string) ([]tableIndex, error) {
	list, err := readIndexesOf(ctx, s, byName, table)
	if err != nil {
		return nil, fmt.Errorf("reading indexes of %q: %w", table, err)
	}
	return list, nil
}

// readIndexesOf is readIndexes of the oid that is an expression of what.
func readIndexesOf(ctx context.Context, s session, oid string, what any) ([]tableIndex, error) {
	rows, err := s.QueryContext(ctx, `
		SELECT cn.nspname::text, c.relname::text, i.indisvalid AND i.indisready,
			replace(pg_get_indexdef(c.oid), format('INDEX %I ON %I.%I ', c.relname, tn.nspname, t.relname), 'INDEX ON ')
		FROM pg_catalog.pg_index i
		JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
		JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
		JOIN pg_catalog.pg_class t ON t.oid = i.indrelid
		JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
		WHERE i.indrelid = `+oid+`
		ORDER BY c.oid`, what)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var list []tableIndex
	for rows.Next() {
		var i tableIndex
		if err := rows.Scan(&i.schema, &i.name, &i.valid, &i.definition); err != nil {
			return nil, err
		}
		list = append(list, i)
	}
	return list, rows.Err()
}

// withoutTimeouts lifts limits that the role, the database or the DSN sets for
// everyone: they would end every build of a large table's index, however often
// it is repeated. A build holds up no writer, so it may take its time; ctx
// limits it. If the way back fails, the connection is broken and its settings
// are gone with it.
func withoutTimeouts(ctx context.Context, conn *sql.Conn, fn func() error) error {
	limits, err := readTimeouts(ctx, conn)
	if err != nil {
		return err
	}
	defer func() {
		for name, value := range limits {
			_ = setTimeout(context.WithoutCancel(ctx), conn, name, value)
		}
	}()
	for name := range limits {
		if err := setTimeout(ctx, conn, name, "0"); err != nil {
			return err
		}
	}
	return fn()
}

// readTimeouts returns the limits that are set, in milliseconds. The third is
// known to PostgreSQL 17 and newer. Read-only transactions are one more limit, which 0
// lifts, too.
func readTimeouts(ctx context.Context, conn *sql.Conn) (map[string]string, error) {
	list, err := queryStrings(ctx, conn, `SELECT name || '=' || setting FROM pg_catalog.pg_settings
		WHERE name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout') AND setting <> '0'
			OR name = 'default_transaction_read_only' AND setting = 'on'`)
	if err != nil {
		return nil, err
	}
	limits := map[string]string{}
	for _, line := range list {
		name, value, _ := strings.Cut(line, "=")
		limits[name] = value
	}
	return limits, nil
}

func setTimeout(ctx context.Context, conn *sql.Conn, name, value string) error {
	if _, err := conn.ExecContext(ctx, `SELECT set_config($1, $2, false)`, name, value); err != nil {
		return fmt.Errorf("setting %s: %w", name, err)
	}
	return nil
}
