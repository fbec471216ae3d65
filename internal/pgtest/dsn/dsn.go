// Package dsn edits the URLs, or the keywords and values, that PostgreSQL's
// clients connect with. What is not edited stays as it is.
package dsn

import (
	"cmp"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// WithDatabase is dsn with another database.
func WithDatabase(dsn, database string) (string, error) {
	return edit(dsn, "dbname="+quoted(database), func(u *url.URL, query url.Values) {
		remove(query, "dbname", "database")
		u.Path = "/" + database
	})
}

// WithLogin is dsn with another role.
func WithLogin(dsn, user, password string) (string, error) {
	return edit(dsn, "user="+quoted(user)+" password="+quoted(password), func(u *url.URL, query url.Values) {
		remove(query, "user", "password")
		u.User = url.UserPassword(user, password)
	})
}

// WithAddress is dsn with another server, which has no TLS. The host may be the
// directory of a socket.
func WithAddress(dsn, host string, port int) (string, error) {
	number := strconv.Itoa(port)
	return edit(dsn, "host="+quoted(host)+" port="+number+" sslmode=disable", func(u *url.URL, query url.Values) {
		remove(query, "host", "port")
		query.Set("sslmode", "disable")
		if strings.HasPrefix(host, "/") {
			u.Host = ""
			query.Set("host", host)
			query.Set("port", number)
		} else {
			u.Host = net.JoinHostPort(host, number)
		}
	})
}

// edit appends keywords, since of a repeated one the last counts, or changes a
// URL.
func edit(dsn, keywords string, change func(*url.URL, url.Values)) (string, error) {
	if !strings.HasPrefix(dsn, "postgres://") && !strings.HasPrefix(dsn, "postgresql://") {
		return dsn + " " + keywords, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("reading the server's URL: %w", err)
	}
	query := u.Query()
	u.Path = cmp.Or(u.Path, "/") // with neither path nor host it would lose its slashes
	change(u, query)
	u.RawQuery = query.Encode()
	return u.String(), nil
}

// remove takes keys out of the query, where they would win.
func remove(query url.Values, keys ...string) {
	for _, key := range keys {
		query.Del(key)
	}
}

// quoted is a value as it stands behind a keyword.
func quoted(value string) string {
	if value != "" && !strings.ContainsAny(value, ` \'`) {
		return value
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value) + "'"
}
