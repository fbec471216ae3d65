package migrate

import (
	"context"
	"time"

	"github.com/courtroll/courtroll/internal/pace"
)

// notNullState is how far the column is.
type notNullState struct {
	NotNull   bool `json:"notnull"`
	HasCheck  bool `json:"hascheck"`
	Validated bool `json:"validated"`
}

func (r *adoptRun) checkName() string { return objectName("adopt", r.table.Name) }

func (r *adoptRun) readNotNull(ctx context.Context) (state notNullState, err error) {
	err = r.transact(ctx, func(p *protectRun) error {
		f, err := p.readAdoption(ctx, r.table)
		if err != nil {
			return err
		}
		list, err := readRows[notNullState](ctx, p.tx, `SELECT true AS hascheck, convalidated AS validated FROM pg_constraint
			WHERE conrelid = $1::bigint::oid AND contype = 'c' AND conname = $2`, r.table.OID, r.checkName())
		if len(list) > 0 {
			state = list[0]
		}
		state.NotNull = f.NotNull
		return err
	})
	return state, err
}

// ensureNotNull goes by way of a constraint, which is validated without a lock that
// hinders anybody, and makes the scan of SET NOT NULL needless.
func (r *adoptRun) ensureNotNull(ctx context.Context) error {
	for n := 0; ; n++ {
		state, err := r.readNotNull(ctx)
		switch {
		case err != nil || state.NotNull && !state.HasCheck:
			return err
		case state.NotNull || state.Validated:
			return r.setNotNull(ctx)
		case n >= patience:
			return &AdoptError{Table: r.table.String(), Err: ErrStillWritten}
		case state.HasCheck:
			err = r.validate(ctx)
		default:
			err = r.addCheck(ctx)
		}
		if err != nil {
			return err
		}
	}
}

// addCheck adds the constraint when no row is without a tenant, and no transaction is
// left that could still write one: one that still sees the parent without a tenant.
func (r *adoptRun) addCheck(ctx context.Context) error {
	for _, step := range []func(context.Context) error{r.fill, r.beQuiet, r.outlast, r.lookForBlank} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	r.at("not null", 0, 3)
	return r.alter(ctx, `ADD CONSTRAINT `+ident(r.checkName())+` CHECK (`+ident(r.table.column)+` IS NOT NULL) NOT VALID`)
}

// validate reads the table. Rows that were in flight when it was filled last may
// violate the constraint: they are filled now. An update of one by the old version
// would fail where no trigger fills it, so there the constraint goes first.
func (r *adoptRun) validate(ctx context.Context) error {
	r.at("not null", 1, 3)
	err := r.exec(ctx, `ALTER TABLE `+r.table.sql()+` VALIDATE CONSTRAINT `+ident(r.checkName()))
	if sqlState(err) != stateCheck {
		return err
	}
	if r.adoption.Func != nil {
		return r.alter(ctx, `DROP CONSTRAINT `+ident(r.checkName()))
	}
	return r.fill(ctx)
}

func (r *adoptRun) setNotNull(ctx context.Context) error {
	r.at("not null", 2, 3)
	err := r.alter(ctx, `ALTER COLUMN `+ident(r.table.column)+` SET NOT NULL`, `DROP CONSTRAINT `+ident(r.checkName()))
	if err == nil {
		r.at("not null", 3, 3)
	}
	return err
}

// alter runs ALTER TABLE in one short transaction.
func (r *adoptRun) alter(ctx context.Context, actions ...string) error {
	return r.transact(ctx, func(p *protectRun) error {
		if err := p.lockTables(ctx, `ACCESS EXCLUSIVE`, r.table); err != nil {
			return err
		}
		for _, action := range actions {
			if err := p.exec(ctx, `ALTER TABLE %s %s`, r.table.sql(), action); err != nil {
				return err
			}
		}
		return nil
	})
}

// outlast waits until the transactions of this database have ended which may still
// see it as it was before. One of READ COMMITTED that rests between two statements,
// and whose state this login may read, sees nothing old.
func (r *adoptRun) outlast(ctx context.Context) error {
	const old = `SELECT l.virtualtransaction FROM pg_locks l JOIN pg_stat_activity s ON s.pid = l.pid
		WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid() AND s.usesysid IS NOT NULL
			AND s.datname = current_database() AND (s.state IS NULL OR s.backend_xmin IS NOT NULL)`
	list, err := queryStrings(ctx, r.conn, old)
	began := time.Now()
	for pause := lockPollMin; err == nil && len(list) > 0; pause = min(2*pause, lockPollMax) {
		r.at("wait for older transactions", 0, int64(len(list)))
		r.cfg.Logger.DebugContext(ctx, "waiting for older transactions", "waited", time.Since(began))
		if err := pace.Sleep(ctx, jitter(pause)); err != nil {
			return err
		}
		list, err = queryStrings(ctx, r.conn, old+` AND l.virtualtransaction = ANY ($1::text[])`, list)
	}
	return err
}
