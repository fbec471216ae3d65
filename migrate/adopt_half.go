package migrate

import (
	"context"
	"fmt"
)

// checkAdopted refuses tables that an Adopt has not finished, and those that hold rows
// without a tenant which this login still sees: protected, they would vanish.
func (r *protectRun) checkAdopted(ctx context.Context) error {
	for _, g := range r.set.owned() {
		f, err := r.readAdoption(ctx, g)
		if err != nil {
			return err
		}
		if f.NotNull {
			continue
		}
		half, err := r.halfAdopted(ctx, g)
		if err != nil {
			return err
		}
		if _, ours := readNote(f.Comment); half || ours || f.Trigger != "" {
			return &ProtectError{Table: g.String(), Object: g.column, Err: ErrHalfAdopted}
		}
	}
	return nil
}

func (r *protectRun) halfAdopted(ctx context.Context, g *guarded) (half bool, err error) {
	var isHidden bool
	err = r.tx.QueryRowContext(ctx, `SELECT row_security_active($1::bigint::oid), EXISTS (SELECT FROM pg_constraint
		WHERE conrelid = $1::bigint::oid AND contype = 'c' AND conname = $2)`, g.OID, objectName("adopt", g.Name)).Scan(&isHidden, &half)
	if err != nil || half || isHidden {
		return half, err
	}
	err = r.tx.QueryRowContext(ctx, fmt.Sprintf(`SELECT EXISTS (SELECT FROM ONLY %s WHERE %s IS NULL)`, g.sql(), ident(g.column))).Scan(&half)
	return half, err
}
