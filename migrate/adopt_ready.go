package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// wanted is an index that Protect will look for.
type wanted struct {
	on   *guarded
	name string
	kind string // INDEX or UNIQUE INDEX
	tail string // what follows ON and the table
	// met reports whether an index of the table serves.
	met func(*unique) bool
}

// ensureReady builds what Protect needs, each without hindering anybody.
func (r *adoptRun) ensureReady(ctx context.Context) error {
	var indexes []wanted
	var links []*link
	err := r.transact(ctx, func(p *protectRun) (err error) {
		if links, err = r.findNeighbours(ctx, p); err != nil {
			return err
		}
		indexes, err = r.wantedIndexes(ctx, p, links)
		return err
	})
	if err != nil {
		return err
	}
	links = slices.DeleteFunc(links, func(l *link) bool { return !l.isOurs() || l.check() != nil })
	total := int64(len(indexes) + len(links))
	for i, w := range indexes {
		r.at("prepare", int64(i), total)
		if err := r.ensureIndex(ctx, w); err != nil {
			return err
		}
	}
	for i, l := range links {
		r.at("prepare", int64(len(indexes)+i), total)
		if err := r.ensureTwin(ctx, l); err != nil {
			return err
		}
	}
	r.at("prepare", total, total)
	return nil
}

// findNeighbours returns the foreign keys from and to the table that include no
// tenant, and puts the tables that are adopted, too, into the set.
func (r *adoptRun) findNeighbours(ctx context.Context, p *protectRun) ([]*link, error) {
	all, err := readRows[*link](ctx, p.tx, foreignKeys, []int64{r.table.OID}, r.table.column)
	if err != nil {
		return nil, err
	}
	names := []string{r.table.String()}
	for _, l := range all {
		names = append(names, l.FromName, l.ToName)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		g, err := p.lookup(ctx, name, r.table.column)
		if err != nil {
			return nil, err
		}
		if err := r.addNeighbour(ctx, p, g); err != nil {
			return nil, err
		}
	}
	for _, l := range all {
		l.from, l.to = p.set.byOID(l.From), p.set.byOID(l.To)
	}
	isDone := func(l *link) bool { return slices.Contains(l.Cols, r.table.column) }
	return slices.DeleteFunc(all, isDone), nil
}

// addNeighbour adds a table that is adopted, and that this login may alter and see.
func (r *adoptRun) addNeighbour(ctx context.Context, p *protectRun, g *guarded) error {
	if g == nil || g.Kind != "r" || g.Inherits || !g.NotNull || g.Type != r.tenant.name {
		return nil
	}
	fit, err := queryStrings(ctx, p.tx, `SELECT 'yes' FROM pg_class WHERE oid = $1::bigint::oid
		AND pg_has_role(relowner, 'USAGE') AND NOT row_security_active(oid)`, g.OID)
	if len(fit) > 0 {
		p.set.list = append(p.set.list, g)
	}
	return err
}

// wantedIndexes are the keys that foreign keys refer to, the leading one, for which a
// key may serve, and the unique ones of each tenant. One that is deferrable is left to
// Protect: a statement may violate it for a while, which an index does not allow.
func (r *adoptRun) wantedIndexes(ctx context.Context, p *protectRun, links []*link) (list []wanted, err error) {
	for _, l := range links {
		if l.isOurs() {
			list = append(list, wantedKey(l.to, l.RefCols))
		} else if l.To == r.table.OID { // from a table that is adopted later
			list = append(list, wantedKey(r.table, l.RefCols))
		}
	}
	g := r.table
	list = append(list, wanted{on: g, name: objectName("tenant", g.Name), kind: `INDEX`, tail: `(` + ident(g.column) + `)`,
		met: func(u *unique) bool { return u.leads(g.column) }})
	have, err := p.readIndexes(ctx, g)
	for _, u := range have {
		if u.Unique && !u.Primary && u.Immediate && u.Method == "btree" && u.Valid && !u.Replica && !slices.Contains(u.Columns, g.column) && strings.HasPrefix(u.Definition, u.Prefix) {
			list = append(list, wanted{on: g, name: u.scopedName(), kind: `UNIQUE INDEX`, met: u.scopedBy,
				tail: `USING ` + u.Method + ` (` + ident(g.column) + `, ` + u.rest()})
		}
	}
	return list, err
}

func wantedKey(g *guarded, columns []string) wanted {
	want := withTenant(g.column, columns)
	return wanted{on: g, name: keyName(g, columns), kind: `UNIQUE INDEX`, tail: `(` + idents(want...) + `)`,
		met: func(u *unique) bool { return u.isKey(want) }}
}

// ensureIndex builds one. Our lock is held, so nobody else is building an invalid one
// of its name: its builder died.
func (r *adoptRun) ensureIndex(ctx context.Context, w wanted) error {
	return r.cfg.untilFree(ctx, func() error {
		u, err := r.findIndex(ctx, w)
		if err != nil || u != nil && w.met(u) {
			return err
		}
		if u != nil && u.Valid {
			return &ProtectError{Table: w.on.String(), Object: w.name, Err: ErrIndexDiffers}
		}
		if u != nil {
			if err := r.exec(ctx, `DROP INDEX CONCURRENTLY `+ident(w.on.Schema, w.name)); err != nil {
				return err
			}
		}
		if err := r.exec(ctx, fmt.Sprintf(`CREATE %s CONCURRENTLY %s ON %s %s`, w.kind, ident(w.name), w.on.sql(), w.tail)); err != nil {
			return refusedRows(err, w.on, w.name)
		}
		_, err = r.findIndex(ctx, w)
		return err
	})
}

// findIndex returns an index that serves, or else the one of the name. Ours gets its
// note, which is what lets Unprotect drop it.
func (r *adoptRun) findIndex(ctx context.Context, w wanted) (found *unique, err error) {
	err = r.transact(ctx, func(p *protectRun) error {
		have, err := p.readIndexes(ctx, w.on)
		if err != nil {
			return err
		}
		found = nil
		for _, u := range have {
			if w.met(u) || u.Name == w.name && found == nil {
				found = u
			}
		}
		if found == nil || !w.met(found) || found.Name != w.name || found.Comment != "" {
			return nil
		}
		return p.comment(ctx, found.object(), note{})
	})
	return found, err
}
