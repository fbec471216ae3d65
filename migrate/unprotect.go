package migrate

import (
	"context"
	"slices"
)

// unprotect undoes the steps of protect in reverse. Policies and FORCE go first, so
// that the owner sees every row when keys are checked.
func (r *protectRun) unprotect(ctx context.Context, models []any) error {
	if err := r.begin(ctx, models); err != nil {
		return err
	}
	if err := r.checkReferences(ctx); err != nil {
		return err
	}
	if err := r.lockUnprotected(ctx); err != nil {
		return err
	}
	for _, g := range r.set.list {
		if err := r.dropPolicies(ctx, g); err != nil {
			return err
		}
	}
	return r.restoreKeys(ctx)
}

// checkReferences refuses to take away a key on which a foreign key of ours stands
// that stays.
func (r *protectRun) checkReferences(ctx context.Context) error {
	links, err := r.readLinks(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		if _, ours := readNote(l.Comment); ours && l.from == nil {
			return &ProtectError{Table: l.ToName, Err: ErrStillReferenced, Fix: l.FromName}
		}
	}
	return nil
}

// dropPolicies drops ours, and puts row-level security back to what it was.
func (r *protectRun) dropPolicies(ctx context.Context, g *guarded) error {
	found, names, err := r.readPolicies(ctx, g)
	if err != nil {
		return err
	}
	before, wasOurs := r.before(g, found)
	for _, name := range names {
		if _, ours := readNote(found[name].Comment); !ours {
			r.done.Foreign = append(r.done.Foreign, g.String()+"."+name)
			continue
		}
		if err := r.dropPolicy(ctx, g, name); err != nil {
			return err
		}
	}
	if !wasOurs {
		return nil
	}
	return r.unforce(ctx, g, before)
}

func (r *protectRun) unforce(ctx context.Context, g *guarded, before string) error {
	enabled, forced := wasSecured(before)
	if g.Forced && !forced {
		if err := r.exec(ctx, `ALTER TABLE %s NO FORCE ROW LEVEL SECURITY`, g.sql()); err != nil {
			return err
		}
		g.Forced = false
	}
	if g.Secured && !enabled {
		if err := r.exec(ctx, `ALTER TABLE %s DISABLE ROW LEVEL SECURITY`, g.sql()); err != nil {
			return err
		}
		g.Secured = false
	}
	return nil
}

// restoreKeys goes in the order of ensureKeys, for the same reasons.
func (r *protectRun) restoreKeys(ctx context.Context) error {
	links, err := r.ourLinks(ctx)
	if err != nil {
		return err
	}
	for _, l := range links {
		if err := r.dropLink(ctx, l); err != nil {
			return err
		}
	}
	for _, g := range r.set.owned() {
		if err := r.restoreUniques(ctx, g); err != nil {
			return err
		}
	}
	return r.restoreLinks(ctx, links)
}

// ourLinks returns the foreign keys that Protect made or replaced.
func (r *protectRun) ourLinks(ctx context.Context) ([]*link, error) {
	links, err := r.readLinks(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(links, func(l *link) bool {
		_, ours := readNote(l.Comment)
		return !ours || l.from == nil
	}), nil
}

func (r *protectRun) restoreUniques(ctx context.Context, g *guarded) error {
	have, err := r.readIndexes(ctx, g)
	if err != nil {
		return err
	}
	for _, u := range have {
		n, ours := u.note()
		if !ours {
			continue
		}
		if err := r.dropUnique(ctx, u); err != nil {
			return err
		}
		if n.Original == "" {
			continue
		}
		if err := r.restoreUnique(ctx, u, n); err != nil {
			return err
		}
	}
	return nil
}

func (r *protectRun) restoreUnique(ctx context.Context, u *unique, n note) error {
	statement := n.Original
	if u.Constraint != "" {
		statement = `ALTER TABLE ` + u.table.sql() + ` ADD CONSTRAINT ` + ident(u.Constraint) + ` ` + n.Original
	}
	if err := r.exec(ctx, "%s", statement); err != nil {
		return refusedRows(err, u.table, u.Name)
	}
	return r.restoreComment(ctx, u.object(), n.Comment)
}

// restoreLinks checks rows again, so where a table was forced before us, or the
// other one still is, that is lifted meanwhile.
func (r *protectRun) restoreLinks(ctx context.Context, links []*link) error {
	var oids []int64
	for _, l := range links {
		oids = append(oids, l.From, l.To)
	}
	tables, err := readRows[*guarded](ctx, r.tx, `
		SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relforcerowsecurity AS forced
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = ANY ($1::bigint[]::oid[]) ORDER BY 1`, oids)
	if err != nil {
		return err
	}
	return r.unforced(ctx, tables, func() error {
		for _, l := range links {
			n, _ := readNote(l.Comment)
			if n.Original == "" {
				continue
			}
			if err := r.addLink(ctx, l, n.Original); err != nil {
				return err
			}
			if err := r.restoreComment(ctx, l.object(), n.Comment); err != nil {
				return err
			}
		}
		return nil
	})
}
