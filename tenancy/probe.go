package tenancy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
)

// The probe does what a leak would: it creates a row of a made-up tenant and
// looks at it as another one. What the catalogue says of policies, owners and
// roles is not asked. It runs in a transaction that is rolled back.
type probe struct {
	tx       gorm.ConnPool
	table    string // quoted
	column   string // quoted
	own      string // two made-up tenants
	foreign  string
	isTenant bool // the table is that of the tenants, to which an app adds none
}

// probeTables adds a fault for each table that row-level security does not
// confine, and remembers the others.
func (p *Plugin) probeTables(ctx context.Context, db *gorm.DB, columns map[string]column) (faults []*StatementError, err error) {
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
	for name := range columns {
		table, _ := p.registry.Lookup(name)
		if !table.HasTenant() {
			continue
		}
		confined, err := p.probe(nobody, conn, db, table)
		if err != nil {
			return nil, fmt.Errorf("tenancy: probing table %q: %w", name, err)
		}
		if confined {
			p.proven.Store(name, true)
		} else {
			p.proven.Delete(name)
			faults = append(faults, &StatementError{Table: name, Err: ErrUnprotected})
		}
	}
	p.registry.Forget()
	return faults, nil
}

func (p *Plugin) probe(ctx context.Context, tx gorm.ConnPool, db *gorm.DB, table plan.Table) (bool, error) {
	own, foreign := madeUp(table)
	q := probe{
		tx: tx, own: own, foreign: foreign, isTenant: table.Name == models.TenantsTable,
		table:  db.Statement.Quote(clause.Table{Name: table.Name}),
		column: db.Statement.Quote(clause.Column{Name: table.Column}),
	}
	for _, step := range []func(context.Context) (bool, error){q.refusesForeign, q.hides, q.hidesOthers, q.plansFilter} {
		if confined, err := q.attempt(ctx, step); !confined || err != nil {
			return false, err
		}
	}
	return true, nil
}

// madeUp returns the ids of two tenants that are unlikely to exist.
func madeUp(table plan.Table) (own, foreign string) {
	n := rand.IntN(1<<14) + 1<<14 //nolint:gosec // likely to be free is enough
	for _, format := range []string{"00000000-0000-4000-8000-%012x", "%d"} {
		own, foreign = fmt.Sprintf(format, n-1), fmt.Sprintf(format, n)
		if _, err := table.Value(own); err == nil && !table.IsText() {
			return own, foreign
		}
	}
	return fmt.Sprintf("~%x", n-1), fmt.Sprintf("~%x", n)
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

// refusesForeign creates a row of another tenant. Policies are checked before
// constraints, so that no value has to be found for other columns.
func (q probe) refusesForeign(ctx context.Context) (bool, error) {
	if err := q.as(ctx, q.own); err != nil {
		return false, err
	}
	err := q.exec(ctx, `INSERT INTO `+q.table+` (`+q.column+`) VALUES ($1)`, q.foreign)
	if q.isTenant {
		return err != nil, nil
	}
	return isDenied(err), nil
}

// isDenied reports whether policies or privileges refused a statement.
func isDenied(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501"
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

// plansFilter looks for the setting in the server's own plan for this login:
// the one proof where a table is empty and takes no row.
func (q probe) plansFilter(ctx context.Context) (bool, error) {
	rows, err := q.tx.QueryContext(ctx, `EXPLAIN (VERBOSE, COSTS OFF) SELECT FROM `+q.table)
	if err != nil {
		return false, err
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line sql.NullString
		if err := rows.Scan(&line); err != nil {
			return false, err
		}
		plan.WriteString(line.String)
	}
	return strings.Contains(plan.String(), models.TenantSetting), rows.Err()
}
