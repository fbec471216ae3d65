package demo

import (
	"errors"
	"net/url"
	"strings"
)

// errDSN does not say more: the parsers' own errors may quote a password.
var errDSN = errors.New("reading " + urlVariable + ": it is neither a postgres:// URL nor keywords and values")

// loginDSN is dsn with another database and another login.
func loginDSN(dsn, database, role, password string) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		// Of a repeated keyword the last one counts.
		return dsn + " dbname=" + database + " user=" + role + " password=" + password, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errDSN
	}
	query := u.Query()
	for _, key := range []string{"dbname", "database", "user", "password"} { // in the query they would win
		query.Del(key)
	}
	u.User, u.Path, u.RawQuery = url.UserPassword(role, password), "/"+database, query.Encode()
	return u.String(), nil
}
