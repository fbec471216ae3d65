// Package pgtest gives each test a PostgreSQL database of its own.
package pgtest
