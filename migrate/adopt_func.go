package migrate

import (
	"context"
	"fmt"
	"time"
)

// unstamped are rows without a tenant, as Func is given them, and which versions of
// them these are.
type unstamped struct {
	at, xmin []string
	rows     []map[string]any
}

// funcBatch reads rows, asks Func, and writes what did not change meanwhile.
func (r *adoptRun) funcBatch(ctx context.Context, from, to int64) (s sweep, err error) {
	var list unstamped
	err = r.transact(ctx, func(p *protectRun) error {
		list, err = r.readUnstamped(ctx, p, from, to)
		return err
	})
	if err != nil || len(list.rows) == 0 {
		return s, err
	}
	s.nulls = int64(len(list.rows))
	tenants, err := r.adoption.Func(ctx, list.rows)
	if err != nil {
		return s, fmt.Errorf("asking Adoption.Func: %w", err)
	}
	if len(tenants) != len(list.rows) {
		return s, &AdoptError{Table: r.table.String(), Rows: int64(len(list.rows) - len(tenants)), Err: ErrTenantValue}
	}
	err = r.transact(ctx, func(p *protectRun) error {
		lock, err := r.rowLock(ctx, p)
		if err != nil {
			return err
		}
		err = p.tx.QueryRowContext(ctx, r.stampSQL(lock, from, to), list.at, list.xmin, tenants).Scan(&s.seen, &s.filled, &s.bad)
		if err == nil && s.bad > 0 {
			return &AdoptError{Table: r.table.String(), Rows: s.bad, Err: ErrTenantValue}
		}
		return err
	})
	return s, err
}

func (r *adoptRun) readUnstamped(ctx context.Context, p *protectRun, from, to int64) (list unstamped, err error) {
	rows, err := p.tx.QueryContext(ctx, fmt.Sprintf(`SELECT courtroll_row.ctid::text, courtroll_row.xmin::text, courtroll_row.*
		FROM ONLY %s AS courtroll_row WHERE %s IS NULL AND %s`, r.table.sql(), ident(r.table.column), within("courtroll_row", from, to)))
	if err != nil {
		return list, err
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return list, err
	}
	for rows.Next() {
		values, targets := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return list, err
		}
		list.add(names, values)
	}
	return list, rows.Err()
}

// add adds a row, whose first two columns say where and which it is.
func (u *unstamped) add(names []string, values []any) {
	at, _ := values[0].(string)
	xmin, _ := values[1].(string)
	row := make(map[string]any, len(names)-2)
	for i := 2; i < len(names); i++ {
		row[names[i]] = values[i]
	}
	u.at, u.xmin, u.rows = append(u.at, at), append(u.xmin, xmin), append(u.rows, row)
}

// stampSQL writes the tenants of those rows of which nobody made another version:
// of the same place and the same writer.
func (r *adoptRun) stampSQL(lock string, from, to int64) string {
	return fmt.Sprintf(`WITH v AS MATERIALIZED (
	SELECT * FROM unnest($1::text[]::tid[], $2::text[]::xid[], $3::text[]) AS v (at, writer, tenant)
), b AS MATERIALIZED (
	SELECT courtroll_row.ctid AS at, v.tenant FROM ONLY %[1]s AS courtroll_row JOIN v ON v.at = courtroll_row.ctid AND v.writer = courtroll_row.xmin
	WHERE courtroll_row.%[2]s IS NULL AND %[3]s FOR %[4]s OF courtroll_row SKIP LOCKED
), u AS (
	UPDATE ONLY %[1]s AS courtroll_row SET %[2]s = b.tenant::%[5]s FROM b
	WHERE courtroll_row.ctid = b.at AND %[3]s AND %[6]s RETURNING courtroll_row.%[2]s IS NOT NULL AS filled
) SELECT (SELECT count(*) FROM b), (SELECT count(*) FROM u WHERE filled), (SELECT count(*) FROM v AS b WHERE (%[6]s) IS NOT TRUE)`,
		r.table.sql(), ident(r.table.column), within("courtroll_row", from, to), lock, r.tenant.sql, r.tenant.valid("b.tenant"))
}

// beQuiet waits until for long enough no row without a tenant has come: of Func there
// is no trigger, and NOT NULL would fail the app's writes.
func (r *adoptRun) beQuiet(ctx context.Context) error {
	if r.adoption.Func == nil || r.adoption.Quiet < 0 {
		return nil
	}
	filled := r.done.Filled
	if err := sleep(ctx, r.quiet()); err != nil {
		return err
	}
	if err := r.fill(ctx); err != nil {
		return err
	}
	if late := r.done.Filled - filled; late > 0 {
		return &AdoptError{Table: r.table.String(), Rows: late, Err: ErrStillWritten}
	}
	return nil
}

func (r *adoptRun) quiet() time.Duration {
	if r.adoption.Quiet == 0 {
		return DefaultQuiet
	}
	return r.adoption.Quiet
}
