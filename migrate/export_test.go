package migrate

import (
	"context"
	"database/sql"
	"io/fs"
)

// LockKey lets a test hold the lock.
const LockKey = lockKey

// Embedded are the migrations that the package carries.
var Embedded fs.FS = embedded

// WithFiles makes the migrator use other migrations, below the folder sql.
func (m *Migrator) WithFiles(files fs.FS) *Migrator {
	m.files = files
	return m
}

// Load returns the versions that files hold, and which of them build an index.
func Load(files fs.FS) (list []Migration, builds []bool, err error) {
	sources, err := loadSources(files)
	for _, s := range sources {
		list = append(list, s.Migration)
		builds = append(builds, s.index != nil)
	}
	return list, builds, err
}

// Checksums returns the recorded checksum of each version.
func Checksums(files fs.FS) (sums []string, err error) {
	sources, err := loadSources(files)
	for _, s := range sources {
		sums = append(sums, s.checksum)
	}
	return sums, err
}

// Jitter is tested alone.
var Jitter = jitter

// Codes are exported to the test that compares them with the constants.
var Codes = codes

// Remembering is the transaction as Doctor reads in it, and the way in which it asks.
func Remembering(tx *sql.Tx) (exec func(context.Context, string) error, ask func(context.Context, string) ([]string, error)) {
	m := &memory{transaction: tx, known: map[string][]string{}}
	exec = func(ctx context.Context, statement string) error {
		_, err := m.ExecContext(ctx, statement)
		return err
	}
	return exec, func(ctx context.Context, query string) ([]string, error) { return queryStrings(ctx, m, query) }
}
