package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/courtroll/courtroll/internal/plan"
)

// DropAdoption takes away what fills the tenant column for a program that does not
// know it: the trigger of [Migrator.Adopt], its function, and the default of a
// Constant; on the tables of the models and those of [Rules.Models]. It is run when
// the old version is gone, for its writes fail from then on, and may be run again. Of
// an adoption that is not finished it is the way to give up: the column stays, NULL in
// the rows that the old version goes on writing.
//
// Everything is one transaction, which takes ACCESS EXCLUSIVE locks on the tables that
// have the trigger, as [Config.TableLockTimeout] says. [ErrLocked] means that an Adopt
// is running.
func (m *Migrator) DropAdoption(ctx context.Context, models ...any) error {
	_, err := m.protection(ctx, models, (*protectRun).dropAdoption)
	return err
}

func (r *protectRun) dropAdoption(ctx context.Context, models []any) error {
	var free bool
	if err := r.tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, adoptLockKey).Scan(&free); err != nil || !free {
		return cmpError(err, ErrLocked)
	}
	if err := r.findAdopted(ctx, models); err != nil {
		return err
	}
	if err := r.leaveSearchPath(ctx); err != nil {
		return err
	}
	if err := r.checkOwner(ctx); err != nil {
		return err
	}
	list, found, err := r.adoptions(ctx)
	if err != nil || len(list) == 0 {
		return err
	}
	if err := r.lockOrdered(ctx, `ACCESS EXCLUSIVE`, list...); err != nil {
		return err
	}
	for i, g := range list {
		if err := r.dropTrigger(ctx, g, found[i]); err != nil {
			return err
		}
	}
	return nil
}

// cmpError is the first of two errors that is one.
func cmpError(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

func (r *protectRun) findAdopted(ctx context.Context, models []any) error {
	registry, err := plan.NewRegistry(r.db, r.cfg.Rules)
	if err != nil {
		return err
	}
	for _, model := range slices.Concat(models, r.cfg.Models) {
		s, err := plan.Parse(r.db, model)
		if err != nil {
			return err
		}
		g, err := r.lookup(ctx, s.Table, registry.Column())
		if err != nil {
			return err
		}
		if g == nil {
			return &ProtectError{Table: s.Table, Err: ErrNoTable}
		}
		r.set.list = append(r.set.list, g)
	}
	r.set.list = locked(r.set.list...)
	return nil
}

// adoptions are the tables that have our trigger or its function.
func (r *protectRun) adoptions(ctx context.Context) (list []*guarded, found []*adoptFunction, err error) {
	for _, g := range r.set.list {
		f, err := r.readAdoption(ctx, g)
		if err != nil {
			return nil, nil, err
		}
		if _, ours := readNote(f.Comment); ours {
			list, found = append(list, g), append(found, f)
		}
	}
	return list, found, nil
}

func (r *protectRun) dropTrigger(ctx context.Context, g *guarded, f *adoptFunction) error {
	var statements []string
	if f.Ours {
		statements = append(statements, fmt.Sprintf(`DROP TRIGGER %s ON %s`, ident(adoptTrigger), g.sql()))
	}
	statements = append(statements, fmt.Sprintf(`DROP FUNCTION %s()`, ident(g.Schema, g.adoptFunction())))
	if n, _ := readNote(f.Comment); n.Before == ourDefault && f.Default != "" {
		statements = append(statements, fmt.Sprintf(`ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT`, g.sql(), ident(g.column)))
	}
	for _, statement := range statements {
		if err := r.exec(ctx, "%s", statement); err != nil {
			return err
		}
	}
	return nil
}
