package migrate

import (
	"context"
	"fmt"
	"slices"
)

// checkDefault refuses a default of somebody else's: it fills a row before the trigger
// could.
func (r *adoptRun) checkDefault(ctx context.Context, p *protectRun) error {
	f, err := p.readAdoption(ctx, r.table)
	if err != nil {
		return err
	}
	if n, _ := readNote(f.Comment); f.Default == "" || n.Before == ourDefault {
		return nil
	}
	return &ProtectError{Table: r.table.String(), Object: r.table.column, Err: ErrDefault,
		Fix: fmt.Sprintf(`ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT`, r.table.sql(), ident(r.table.column))}
}

// checkBlank refuses a column that holds tenants which are none. Whose such rows are
// nobody but the operator can say.
func (r *adoptRun) checkBlank(ctx context.Context, p *protectRun) error {
	if r.table.Attnum == 0 || !slices.Contains([]string{"text", "varchar"}, r.tenant.name) {
		return nil
	}
	return r.refuseBlank(ctx, p)
}

func (r *adoptRun) refuseBlank(ctx context.Context, p *protectRun) error {
	var rows int64
	err := p.tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT count(*) FROM ONLY %s WHERE %s::text !~ '[^[:space:]]'`,
		r.table.sql(), ident(r.table.column))).Scan(&rows)
	if err == nil && rows > 0 {
		return &AdoptError{Table: r.table.String(), Rows: rows, Err: ErrBlankRows}
	}
	return err
}

// lookForBlank looks again when every row has a tenant: a writer may have given one.
func (r *adoptRun) lookForBlank(ctx context.Context) error {
	return r.transact(ctx, func(p *protectRun) error { return r.refuseBlank(ctx, p) })
}

// checkReaders refuses a role that may write rows and not read where their tenant is:
// NOT NULL would fail its writes.
func (r *adoptRun) checkReaders(ctx context.Context, p *protectRun) error {
	parent := r.source.parent
	if parent == nil || r.table.NotNull {
		return nil
	}
	columns := r.source.refCols
	if parent.Attnum != 0 {
		columns = append(slices.Clone(columns), parent.column)
	}
	blind, err := queryStrings(ctx, p.tx, `SELECT rolname::text FROM pg_roles w
		WHERE NOT rolsuper AND rolname NOT LIKE 'pg\_%' AND has_any_column_privilege(w.oid, $1::bigint::oid, 'INSERT')
			AND has_schema_privilege(w.oid, (SELECT relnamespace FROM pg_class WHERE oid = $1::bigint::oid), 'USAGE')
			AND NOT (has_schema_privilege(w.oid, (SELECT relnamespace FROM pg_class WHERE oid = $2::bigint::oid), 'USAGE')
				AND (has_table_privilege(w.oid, $2::bigint::oid, 'SELECT') OR NOT $1::bigint = $2::bigint
					AND (SELECT bool_and(has_column_privilege(w.oid, attrelid, attnum, 'SELECT')) FROM pg_attribute
						WHERE attrelid = $2::bigint::oid AND attname = ANY ($3::text[]) AND NOT attisdropped)))
		ORDER BY 1 LIMIT 1`, r.table.OID, parent.OID, columns)
	if err != nil || len(blind) == 0 {
		return err
	}
	return &ProtectError{Table: parent.String(), Object: blind[0], Err: ErrParentHidden,
		Fix: fmt.Sprintf(`GRANT USAGE ON SCHEMA %s TO %s; GRANT SELECT ON %s TO %[2]s`, ident(parent.Schema), ident(blind[0]), parent.sql())}
}
