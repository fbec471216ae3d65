package pgpipe_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/courtroll/courtroll/internal/pgtest"
)

// sameCase is something done with a pool, and what came of it.
type sameCase struct {
	name string
	do   func(ctx context.Context, r *record, pool *sql.DB)
}

// record is what came of a case.
type record struct{ lines []string }

func (r *record) add(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// fail adds what a caller can tell of an error.
func (r *record) fail(what string, err error) {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		r.add("%s: nil", what)
	case errors.As(err, &pg):
		r.add("%s: %s %s at %d, hint %q, type %T", what, pg.Code, pg.Message, pg.Position, pg.Hint, err)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		r.add("%s: deadline %t canceled %t", what, errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled))
	default:
		r.add("%s: %s, type %T", what, pointer.ReplaceAllString(err.Error(), "0x"), err)
	}
}

func (r *record) exec(ctx context.Context, on execer, query string, args ...any) {
	result, err := on.ExecContext(ctx, query, args...)
	r.fail(query, err)
	if err == nil {
		n, err := result.RowsAffected()
		r.add("affected %d %v", n, err)
	}
}

func (r *record) query(ctx context.Context, on queryer, query string, args ...any) {
	rows, err := on.QueryContext(ctx, query, args...)
	r.fail(query, err)
	if err == nil {
		r.rows(rows)
	}
}

func (r *record) rows(rows *sql.Rows) {
	defer rows.Close()
	columns, err := rows.ColumnTypes()
	r.fail("columns", err)
	for _, c := range columns {
		length, variable := c.Length()
		precision, scale, decimal := c.DecimalSize()
		r.add("column %s %s %v %d %t %d %d %t", c.Name(), c.DatabaseTypeName(), c.ScanType(), length, variable, precision, scale, decimal)
	}
	for n := 0; rows.Next(); n++ {
		values := make([]any, len(columns))
		dest := make([]any, len(columns))
		for i := range values {
			dest[i] = &values[i]
		}
		r.fail("scan", rows.Scan(dest...))
		if n < 5 {
			r.add("row %#v", values)
		}
	}
	r.fail("rows", rows.Err())
	r.add("further results %t", rows.NextResultSet())
}

var pointer = regexp.MustCompile(`0x[0-9a-f]+`)

type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

type queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// TestSameAsPGX does each case with pgx's own driver and with this one, bound and not.
func TestSameAsPGX(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"cache_statement", "cache_describe", "exec"} {
		for _, c := range sameCases {
			t.Run(mode+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				db := pgtest.New(t, schema)
				run := func(ctx context.Context, open func(testing.TB, *pgx.ConnConfig) *sql.DB) []string {
					must(t, db.Owner.Exec(`TRUNCATE plain`).Error)
					pool := open(t, parse(t, db.AppDSN, mode))
					r := &record{}
					c.do(ctx, r, pool)
					if stats := pool.Stats(); stats.InUse > 0 {
						r.add("%d connections are still in use", stats.InUse)
					}
					return r.lines
				}
				want := run(t.Context(), openPGX)
				if len(want) == 0 {
					t.Fatal("the case recorded nothing")
				}
				for name, ctx := range map[string]context.Context{"unbound": t.Context(), "bound": as(t.Context(), "acme")} {
					if diff := cmp.Diff(want, run(ctx, openPipe)); diff != "" {
						t.Errorf("%s: -pgx +this:\n%s", name, diff)
					}
				}
			})
		}
	}
}
