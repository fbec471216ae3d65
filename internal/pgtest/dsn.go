package pgtest

import edit "github.com/courtroll/courtroll/internal/pgtest/dsn"

// loginDSN is dsn with another role and another database.
func loginDSN(dsn string, l login, database string) (string, error) {
	dsn, err := edit.WithDatabase(dsn, database)
	if err != nil {
		return "", err
	}
	return edit.WithLogin(dsn, l.name, l.password)
}

// databaseDSN is dsn with another database.
func databaseDSN(dsn, database string) (string, error) { return edit.WithDatabase(dsn, database) }
