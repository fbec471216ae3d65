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
