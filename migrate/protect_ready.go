package migrate

import (
	"context"
	"slices"
	"strings"
)

// What Adopt has built beforehand lies beside what it will replace, under a name that
// is made from that one's.

func (u *unique) scopedName() string { return objectName("scoped", u.Name) }

// rest is the index's definition from its first column on.
func (u *unique) rest() string { return strings.TrimPrefix(u.Definition, u.Prefix) }

// scopedBy reports whether another index is this one with the tenant in front.
func (u *unique) scopedBy(other *unique) bool {
	return other.Name == u.scopedName() && other.Unique && other.Valid && other.Method == u.Method &&
		len(other.Columns) == len(u.Columns)+1 && other.Columns[0] == u.table.column && strings.HasSuffix(other.rest(), `, `+u.rest())
}

// takeScoped puts the index that Adopt built in the place of one that was dropped,
// and reports whether there is such a one.
func (r *protectRun) takeScoped(ctx context.Context, u *unique) (bool, error) {
	have, err := r.readIndexes(ctx, u.table)
	if err != nil {
		return false, err
	}
	at := slices.IndexFunc(have, func(other *unique) bool { return other.Name == u.scopedName() })
	if at < 0 {
		return false, nil
	}
	if _, ours := have[at].note(); !ours || !u.scopedBy(have[at]) {
		return false, r.dropUnique(ctx, have[at])
	}
	return true, r.exec(ctx, `ALTER INDEX %s RENAME TO %s`, ident(u.table.Schema, u.scopedName()), ident(u.Name))
}

func (l *link) twinName() string { return objectName("link", l.Name) }

// twin returns the key that Adopt built to replace this one.
func (l *link) twin(have []*link) *link {
	at := slices.IndexFunc(have, func(t *link) bool { return t.From == l.From && t.Name == l.twinName() })
	if at < 0 {
		return nil
	}
	return have[at]
}

// isTwin reports whether another key is the one that this one is to replace.
func (l *link) isTwin(have []*link) bool {
	return slices.ContainsFunc(have, func(o *link) bool { return o.From == l.From && o.twinName() == l.Name })
}

// takeTwin puts the key that Adopt built, and whose rows it has checked, in the place
// of one that was dropped, and reports whether there is such a one.
func (r *protectRun) takeTwin(ctx context.Context, l *link) (bool, error) {
	t := l.ready
	if t == nil {
		return false, nil
	}
	if !t.isOurs() || !t.proven() || t.sql() != l.sql() {
		return false, r.dropLink(ctx, t)
	}
	return true, r.exec(ctx, `ALTER TABLE %s RENAME CONSTRAINT %s TO %s`, l.from.sql(), ident(t.Name), ident(l.Name))
}
