package migrate

import (
	"context"
	"fmt"
	"strings"
)

// ensureTwin builds the foreign key that Protect will put in the place of another.
// Each step may be the last before a crash; its note says that it is finished.
func (r *adoptRun) ensureTwin(ctx context.Context, l *link) error {
	twin, err := r.findTwin(ctx, l)
	if err != nil || twin != nil && twin.proven() {
		return err
	}
	if twin == nil {
		if err := r.addTwin(ctx, l); err != nil {
			return err
		}
	}
	err = r.exec(ctx, `ALTER TABLE `+l.from.sql()+` VALIDATE CONSTRAINT `+ident(l.twinName()))
	if sqlState(err) == stateForeignKey {
		return r.dropTwin(ctx, l, refusedRows(err, l.from, l.Name))
	}
	if err != nil {
		return err
	}
	return r.transact(ctx, func(p *protectRun) error {
		return p.comment(ctx, `CONSTRAINT `+ident(l.twinName())+` ON `+l.from.sql(), note{})
	})
}

func (r *adoptRun) findTwin(ctx context.Context, l *link) (twin *link, err error) {
	err = r.transact(ctx, func(p *protectRun) error {
		p.set.list = []*guarded{l.from, l.to}
		have, err := p.readLinks(ctx)
		twin = l.twin(have)
		return err
	})
	return twin, err
}

// addTwin looks before it adds the key: the app's writes would fail where rows
// violate it already.
func (r *adoptRun) addTwin(ctx context.Context, l *link) error {
	err := r.transact(ctx, func(p *protectRun) error {
		var rows int64
		if err := p.tx.QueryRowContext(ctx, l.violations()).Scan(&rows); err != nil {
			return err
		}
		if rows > 0 {
			return &ProtectError{Table: l.from.String(), Object: l.Name, Err: ErrRowsViolate, Fix: fmt.Sprintf("%d rows refer to another tenant's", rows)}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.transact(ctx, func(p *protectRun) error {
		if err := p.lockOrdered(ctx, `SHARE ROW EXCLUSIVE`, l.from, l.to); err != nil {
			return err
		}
		return p.exec(ctx, `ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID`, l.from.sql(), ident(l.twinName()), l.sql())
	})
}

// violations counts the rows that refer to another tenant's.
func (l *link) violations() string {
	on := make([]string, len(l.Cols))
	for i := range l.Cols {
		on[i] = `p.` + ident(l.RefCols[i]) + ` = f.` + ident(l.Cols[i])
	}
	return fmt.Sprintf(`SELECT count(*) FROM ONLY %s AS f JOIN ONLY %s AS p ON %s WHERE p.%s IS DISTINCT FROM f.%s`,
		l.from.sql(), l.to.sql(), strings.Join(on, ` AND `), ident(l.to.column), ident(l.from.column))
}

// dropTwin takes back what would go on to refuse the app's writes.
func (r *adoptRun) dropTwin(ctx context.Context, l *link, because error) error {
	err := r.transact(ctx, func(p *protectRun) error {
		if err := p.lockOrdered(ctx, `ACCESS EXCLUSIVE`, l.from, l.to); err != nil {
			return err
		}
		return p.exec(ctx, `ALTER TABLE %s DROP CONSTRAINT %s`, l.from.sql(), ident(l.twinName()))
	})
	if err != nil {
		return fmt.Errorf("%w (%w)", because, err)
	}
	return because
}
