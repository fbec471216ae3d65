// Package migrate owns the DDL of courtroll's two tables.
package migrate
