package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/courtroll/courtroll/models"
)

// recordsTable holds a row for each version that this database has.
const recordsTable = models.MigrationsTable

const createRecords = `CREATE TABLE ` + recordsTable + ` (
	version    integer     PRIMARY KEY,
	name       text        NOT NULL,
	checksum   text        NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
)`

// record is a row of the records table.
type record struct {
	Migration
	checksum  string
	appliedAt time.Time
}

// session is what a pool, a connection and a transaction have in common.
type session interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// readRecords returns the recorded versions, none if nothing was ever recorded.
func readRecords(ctx context.Context, s session) (map[int]record, error) {
	records := map[int]record{}
	kind, err := relationKind(ctx, s, recordsTable)
	if err != nil || kind == "" {
		return records, err
	}
	return readRecordsOf(ctx, s, recordsTable)
}

// readRecordsOf reads those of a table, given as statements have it.
func readRecordsOf(ctx context.Context, s session, table string) (map[int]record, error) {
	records := map[int]record{}
	rows, err := s.QueryContext(ctx, `SELECT version, name, checksum, applied_at FROM `+table)
	if err != nil {
		return nil, fmt.Errorf("migrate: reading %s: %w", recordsTable, err)
	}
	defer rows.Close()
	for rows.Next() {
		var r record
		if err := rows.Scan(&r.Version, &r.Name, &r.checksum, &r.appliedAt); err != nil {
			return nil, fmt.Errorf("migrate: reading %s: %w", recordsTable, err)
		}
		records[r.Version] = r
	}
	return records, rows.Err()
}

// checkRecords refuses a database whose versions are not this binary's.
func checkRecords(list []source, records map[int]record) error {
	known := map[int]source{}
	for _, s := range list {
		known[s.Version] = s
	}
	for _, version := range slices.Sorted(maps.Keys(records)) {
		r := records[version]
		s, ok := known[version]
		if !ok {
			return &VersionError{Version: version, Name: r.Name, Err: ErrUnknownVersion}
		}
		if s.checksum != r.checksum {
			return &VersionError{Version: version, Name: s.Name, Err: ErrChecksum}
		}
	}
	return nil
}

func insertRecord(ctx context.Context, s session, src source) error {
	_, err := s.ExecContext(ctx,
		`INSERT INTO `+recordsTable+` (version, name, checksum) VALUES ($1, $2, $3)`,
		src.Version, src.Name, src.checksum)
	if err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

const (
	deleteRecords = `DELETE FROM ` + recordsTable
	deleteRecord  = deleteRecords + ` WHERE version = $1`
)
