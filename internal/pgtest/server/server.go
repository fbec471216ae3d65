// Package server finds or starts a PostgreSQL server.
package server
