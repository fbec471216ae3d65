package pgpipe

import (
	"context"
	"database/sql/driver"

	"github.com/jackc/pgx/v5/stdlib"
)

type columnsKey struct{}

// OnColumns returns a context for a query, whose rows call f whenever they are
// asked for their columns: by the reader, right before it reads.
func OnColumns(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, columnsKey{}, f)
}

// announcedRows are pgx's, which say when they are about to be read.
type announcedRows struct {
	*stdlib.Rows
	asked func()
}

// Columns implements [driver.Rows].
func (r *announcedRows) Columns() []string {
	r.asked()
	return r.Rows.Columns()
}

// announced returns rows that do what [OnColumns] asks for.
func announced(ctx context.Context, theirs driver.Rows) driver.Rows {
	asked, ok := ctx.Value(columnsKey{}).(func())
	if !ok {
		return theirs
	}
	if pgxs, ok := theirs.(*stdlib.Rows); ok {
		return &announcedRows{pgxs, asked}
	}
	return theirs
}
