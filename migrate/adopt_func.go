package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

// unstamped are rows without a tenant, as Func is given them, and which versions of
// them these are: their places count only while the table keeps its file, which VACUUM
// FULL and CLUSTER write anew.
type unstamped struct {
	file     int64
	at, xmin []string
	rows     []map[string]any
}

// funcBatch reads rows, asks Func, and writes what did not change meanwhile.
func (r *adoptRun) funcBatch(ctx context.Context, from, to int64) (s sweep, err error) {
	var list unstamped
	err = r.transact(ctx, func(p *protectRun) error {
		if list, err = r.readUnstamped(ctx, p, from, to); err == nil {
			list.file, err = r.file(ctx, p)
		}
		if err != nil || len(list.rows) == 0 {
			return err
		}
		return p.tx.QueryRowContext(ctx, `SELECT count(*) FROM ONLY `+r.table.sql()+` AS courtroll_row WHERE `+within("courtroll_row", from, to)).Scan(&s.rows)
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
		return s, &AdoptError{Table: r.table.String(), Rows: max(1, int64(len(list.rows)-len(tenants))), Err: ErrTenantValue}
	}
	err = r.transact(ctx, func(p *protectRun) error {
		err := r.stamp(ctx, p, list, tenants, within("courtroll_row", from, to), &s)
		if err == nil && s.bad > 0 {
			return &AdoptError{Table: r.table.String(), Rows: s.bad, Err: ErrTenantValue}
		}
		return err
	})
	return s, err
}

// stamp leaves the rows to the next sweep where the table has another file by now.
func (r *adoptRun) stamp(ctx context.Context, p *protectRun, list unstamped, tenants []string, within string, s *sweep) error {
	if _, err := p.tx.ExecContext(ctx, `LOCK TABLE ONLY `+r.table.sql()+` IN ROW EXCLUSIVE MODE`); err != nil {
		return err
	}
	if file, err := r.file(ctx, p); err != nil || file != list.file {
		return err
	}
	lock, err := r.rowLock(ctx, p)
	if err != nil {
		return err
	}
	return p.tx.QueryRowContext(ctx, r.stampSQL(lock, within), list.at, list.xmin, tenants).Scan(&s.seen, &s.filled, &s.bad)
}

// file tells one file of the table from another. The transaction holds a lock on the
// table, behind which it stays.
func (r *adoptRun) file(ctx context.Context, p *protectRun) (file int64, err error) {
	err = p.tx.QueryRowContext(ctx, `SELECT pg_relation_filenode($1::bigint::oid::regclass)::bigint`, r.table.OID).Scan(&file)
	return file, err
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
func (r *adoptRun) stampSQL(lock, within string) string {
	return fmt.Sprintf(`WITH v AS MATERIALIZED (
	SELECT * FROM unnest($1::text[]::tid[], $2::text[]::xid[], $3::text[]) AS v (at, writer, tenant)
), b AS MATERIALIZED (
	SELECT courtroll_row.ctid AS at, v.tenant FROM ONLY %[1]s AS courtroll_row JOIN v ON v.at = courtroll_row.ctid AND v.writer = courtroll_row.xmin
	WHERE courtroll_row.%[2]s IS NULL AND %[3]s FOR %[4]s OF courtroll_row SKIP LOCKED
), u AS (
	UPDATE ONLY %[1]s AS courtroll_row SET %[2]s = b.tenant::%[5]s FROM b
	WHERE courtroll_row.ctid = b.at AND %[3]s AND %[6]s RETURNING courtroll_row.%[2]s IS NOT NULL AS filled
) SELECT (SELECT count(*) FROM b), (SELECT count(*) FROM u WHERE filled), (SELECT count(*) FROM v AS b WHERE (%[6]s) IS NOT TRUE)`,
		r.table.sql(), ident(r.table.column), within, lock, r.tenant.sql, r.tenant.valid("b.tenant"))
}

// beQuiet waits until for long enough no row without a tenant has come: of Func there
// is no trigger, and NOT NULL would fail the app's writes.
func (r *adoptRun) beQuiet(ctx context.Context) error {
	if r.adoption.Func == nil || r.adoption.Quiet < 0 {
		return nil
	}
	filled := r.done.Filled
	if err := pace.Sleep(ctx, r.quiet()); err != nil {
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
