package migrate

import (
	"context"
	"slices"
)

// lockOrder puts tables into the order in which everybody locks them, each once: that
// of the app's writes, which lock the row before its parent's. Locked the other way
// round they would wait for each other.
func (r *protectRun) lockOrder(ctx context.Context, tables ...*guarded) ([]*guarded, error) {
	tables = locked(slices.Clone(tables)...)
	keys, err := readRows[struct {
		From int64 `json:"from"`
		To   int64 `json:"to"`
	}](ctx, r.tx, `SELECT DISTINCT conrelid::bigint AS "from", confrelid::bigint AS "to" FROM pg_constraint WHERE contype = 'f'
		AND conrelid <> confrelid AND conrelid = ANY ($1::bigint[]::oid[]) AND confrelid = ANY ($1::bigint[]::oid[]) ORDER BY 1, 2`, oidsOf(tables))
	if err != nil {
		return nil, err
	}
	var order []*guarded
	for len(tables) > 0 {
		isReferenced := func(g *guarded) bool {
			for _, k := range keys {
				if k.To == g.OID && slices.Contains(oidsOf(tables), k.From) {
					return true
				}
			}
			return false
		}
		next := max(0, slices.IndexFunc(tables, func(g *guarded) bool { return !isReferenced(g) })) // 0 in a circle
		order, tables = append(order, tables[next]), slices.Delete(tables, next, next+1)
	}
	return order, nil
}

// lockOrdered takes the locks of all tables before the first of them is altered.
func (r *protectRun) lockOrdered(ctx context.Context, mode string, tables ...*guarded) error {
	order, err := r.lockOrder(ctx, tables...)
	if err != nil {
		return err
	}
	return r.lockTables(ctx, mode, order...)
}

// lockProtected locks what Protect will alter, if it will: the keys' tables, and those
// whose row-level security is not forced yet.
func (r *protectRun) lockProtected(ctx context.Context, keys bool) error {
	var list []*guarded
	for _, g := range r.set.list {
		if keys && g.class == owned || !g.Forced {
			list = append(list, g)
		}
	}
	return r.lockOrdered(ctx, `ACCESS EXCLUSIVE`, list...)
}

// lockUnprotected locks the tables on which Unprotect finds something of ours.
func (r *protectRun) lockUnprotected(ctx context.Context) error {
	names, err := readRows[guarded](ctx, r.tx, `SELECT DISTINCT o AS oid FROM (
		SELECT polrelid::bigint AS o FROM pg_policy WHERE obj_description(oid, 'pg_policy') LIKE $2
		UNION SELECT t::bigint FROM pg_constraint, unnest(ARRAY[conrelid, confrelid]) t WHERE obj_description(oid, 'pg_constraint') LIKE $2
		UNION SELECT indrelid::bigint FROM pg_index WHERE obj_description(indexrelid, 'pg_class') LIKE $2) q
		WHERE o = ANY ($1::bigint[])`, r.set.oids(), notePrefix+`{%`)
	if err != nil {
		return err
	}
	var ours []*guarded
	for _, g := range names {
		ours = append(ours, r.set.byOID(g.OID))
	}
	return r.lockOrdered(ctx, `ACCESS EXCLUSIVE`, ours...)
}
