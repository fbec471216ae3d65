package tenancy

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
)

// The probe does what a leak would: it creates a row of a made-up tenant and
// looks at it as another one, in a transaction that is rolled back.
type probe struct {
	tx      gorm.ConnPool
	table   string // quoted
	column  string // quoted
	own     string // two made-up tenants
	foreign string
}

// probeTables returns a fault for each table that row-level security does not
// confine, and remembers the others.
func (p *Plugin) probeTables(ctx context.Context, db *gorm.DB, columns columns) (faults []*StatementError, err error) {
	p.proven.Clear()
	defer p.registry.Forget() // what was concluded from the proofs before
	nobody := context.WithValue(ctx, contextKey{}, scope{})
	pool := db.Config.ConnPool
	if p.router != nil {
		pool = p.router.app
	}
	if unconfined, err := p.isUnconfined(nobody, pool); err != nil {
		return nil, err
	} else if unconfined {
		return []*StatementError{{Err: ErrUnconfinedRole}}, nil
	}
	conn, err := stmtpool.Begin(nobody, pool, nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.(gorm.TxCommitter).Rollback() }() //nolint:forcetypeassert // what began is a transaction
	for name, in := range columns {
		table, _ := p.registry.Lookup(name)
		if !table.HasTenant() {
			continue
		}
		confined, err := p.probe(nobody, conn, table, in)
		if err != nil {
			return nil, fmt.Errorf("tenancy: probing table %q: %w", name, err)
		}
		if !confined {
			faults = append(faults, &StatementError{Table: name, Err: ErrUnprotected})
			continue
		}
		p.proven.Store(name, true)
		p.proven.Store(in.qualified(), true)
	}
	return faults, nil
}

func (p *Plugin) probe(ctx context.Context, tx gorm.ConnPool, table plan.Table, in column) (bool, error) {
	own, foreign := madeUp(table)
	q := probe{
		tx: tx, own: own, foreign: foreign,
		table: pgx.Identifier{in.Schema, in.Table}.Sanitize(), column: pgx.Identifier{table.Column}.Sanitize(),
	}
	for _, step := range []func(context.Context) (bool, error){q.hasFloor, q.refusesForeign, q.hides, q.hidesOthers} {
		if confined, err := q.attempt(ctx, step); !confined || err != nil {
			return false, err
		}
	}
	return true, nil
}

// madeUp returns the ids of two tenants that are unlikely to exist: integers near
// the end of their range, short texts that no one would choose.
func madeUp(table plan.Table) (own, foreign string) {
	n := rand.Int64N(1 << 10) //nolint:gosec // likely to be free is enough
	if table.IsText() {
		return fmt.Sprintf("~%02x", n%200), fmt.Sprintf("~%02x", n%200+1)
	}
	for _, end := range []int64{math.MaxInt64, math.MaxInt32, math.MaxInt16} {
		own, foreign = strconv.FormatInt(end-n-1, 10), strconv.FormatInt(end-n, 10)
		if _, err := table.Value(foreign); err == nil {
			return own, foreign
		}
	}
	const format = "ffffffff-ffff-4fff-bfff-%012x"
	return fmt.Sprintf(format, n), fmt.Sprintf(format, n+1)
}

// attempt runs a step and takes back what it did.
func (q probe) attempt(ctx context.Context, step func(context.Context) (bool, error)) (bool, error) {
	if err := q.exec(ctx, `SAVEPOINT courtroll_probe`); err != nil {
		return false, err
	}
	confined, err := step(ctx)
	return confined, errors.Join(err, q.exec(ctx, `ROLLBACK TO SAVEPOINT courtroll_probe`))
}

func (q probe) exec(ctx context.Context, query string, args ...any) error {
	_, err := q.tx.ExecContext(ctx, query, args...)
	return err
}

func (q probe) as(ctx context.Context, tenant string) error {
	return q.exec(ctx, `SELECT set_config('`+models.TenantSetting+`', $1, true)`, tenant)
}

// hasFloor looks for the restrictive policy that migrate's Protect makes. Rows
// show what policies let through at one time; that no other time, command or
// row lets more through only their shape can tell.
func (q probe) hasFloor(ctx context.Context) (bool, error) {
	rows, err := q.tx.QueryContext(ctx, `SELECT pg_catalog.pg_get_expr(polqual, polrelid), coalesce(pg_catalog.pg_get_expr(polwithcheck, polrelid), '')
		FROM pg_catalog.pg_policy WHERE polrelid = $1::regclass AND NOT polpermissive AND polcmd = '*' AND polqual IS NOT NULL
		AND pg_catalog.row_security_active($1::regclass::oid)
		AND EXISTS (SELECT FROM unnest(polroles) AS r WHERE r = 0 OR pg_catalog.pg_has_role(r, 'USAGE'))`, q.table)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	found := false
	for rows.Next() {
		var using, check string
		if err := rows.Scan(&using, &check); err != nil {
			return false, err
		}
		found = found || q.isFloor(using) && (check == "" || q.isFloor(check))
	}
	return found, rows.Err()
}

var noise = strings.NewReplacer("::character varying", "", "::text", "", "::uuid", "", "::smallint", "", "::integer", "", "::bigint", "",
	"pg_catalog.", "", "(", "", ")", "", " ", "", `"`, "")

var alias = regexp.MustCompile(` AS "?\w+"?`)

// isFloor reports whether an expression, as the server prints it, compares the
// tenant column with the setting and does nothing else.
func (q probe) isFloor(expression string) bool {
	return noise.Replace(alias.ReplaceAllString(expression, "")) ==
		noise.Replace(q.column)+`=SELECTNULLIFcurrent_setting'`+models.TenantSetting+`',true,''`
}

// refusesForeign creates a row of another tenant. Policies are checked before
// constraints, so that no value has to be found for other columns; whether a
// trigger refuses it before that is left open.
func (q probe) refusesForeign(ctx context.Context) (bool, error) {
	if err := q.as(ctx, q.own); err != nil {
		return false, err
	}
	err := q.exec(ctx, `INSERT INTO `+q.table+` (`+q.column+`) VALUES ($1)`, q.foreign)
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return false, nil
	case !errors.As(err, &pg):
		return false, err
	}
	const constraints = "23"
	return !strings.HasPrefix(pg.Code, constraints), nil
}

// hides creates a row of its own tenant and looks at it as another one, and as
// none. Where a constraint does not let it, the steps after it have to do.
func (q probe) hides(ctx context.Context) (bool, error) {
	if err := q.as(ctx, q.own); err != nil {
		return false, err
	}
	columns, values, err := q.row(ctx)
	if err != nil {
		return false, err
	}
	if err := q.exec(ctx, `SAVEPOINT courtroll_probe_row`); err != nil {
		return false, err
	}
	if err := q.exec(ctx, `INSERT INTO `+q.table+` (`+columns+`) VALUES (`+values+`)`, q.own); err != nil {
		return true, q.exec(ctx, `ROLLBACK TO SAVEPOINT courtroll_probe_row`)
	}
	for _, tenant := range []string{q.foreign, ""} {
		if err := q.as(ctx, tenant); err != nil {
			return false, err
		}
		if seen, err := q.exists(ctx, q.column+` = $1`, q.own); seen || err != nil {
			return false, err
		}
	}
	return true, nil
}

// row returns the columns that have to be given, with constants for all but the
// tenant column.
func (q probe) row(ctx context.Context) (columns, values string, err error) {
	rows, err := q.tx.QueryContext(ctx, `SELECT quote_ident(a.attname), CASE
			WHEN t.typcategory IN ('N', 'B') THEN '0' WHEN t.typcategory = 'D' THEN 'now()' WHEN t.typname = 'uuid' THEN 'gen_random_uuid()'
			WHEN t.typname LIKE 'json%' THEN '''{}''' WHEN t.typcategory = 'A' THEN '''{}''' ELSE '''~''' END || '::' || format_type(a.atttypid, a.atttypmod)
		FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped AND a.attnotnull
		AND NOT a.atthasdef AND a.attidentity = '' AND quote_ident(a.attname) <> $2 AND '"' || a.attname || '"' <> $2`, q.table, q.column)
	if err != nil {
		return "", "", err
	}
	defer rows.Close()
	columns, values = q.column, "$1"
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return "", "", err
		}
		columns, values = columns+", "+name, values+", "+strings.Replace(value, "0::boolean", "false", 1)
	}
	return columns, values, rows.Err()
}

// hidesOthers looks for rows of tenants that exist.
func (q probe) hidesOthers(ctx context.Context) (bool, error) {
	for _, tenant := range []string{q.own, ""} {
		if err := q.as(ctx, tenant); err != nil {
			return false, err
		}
		if seen, err := q.exists(ctx, `true`); seen || err != nil {
			return false, err
		}
	}
	return true, nil
}

func (q probe) exists(ctx context.Context, condition string, args ...any) (seen bool, err error) {
	err = q.tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM `+q.table+` WHERE `+condition+`)`, args...).Scan(&seen)
	return seen, err
}
