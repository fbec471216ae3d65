package pgtest

import (
	"fmt"
	"net/url"
	"strings"
)

// loginDSN is dsn with another role and another database.
func loginDSN(dsn string, l login, database string) (string, error) {
	return editDSN(dsn, database, &l)
}

// databaseDSN is dsn with another database.
func databaseDSN(dsn, database string) (string, error) { return editDSN(dsn, database, nil) }

func editDSN(dsn, database string, l *login) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return editKeywords(dsn, database, l), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("reading the server's URL: %w", err)
	}
	query := u.Query()
	drop := []string{"dbname", "database"} // in the query they would win
	if l != nil {
		drop = append(drop, "user", "password")
		u.User = url.UserPassword(l.name, l.password)
	}
	for _, key := range drop {
		query.Del(key)
	}
	u.Path, u.RawQuery = "/"+database, query.Encode()
	return u.String(), nil
}

// editKeywords appends, since of a repeated keyword the last one counts.
func editKeywords(dsn, database string, l *login) string {
	dsn += " dbname=" + database
	if l != nil {
		dsn += " user=" + l.name + " password=" + l.password
	}
	return dsn
}
