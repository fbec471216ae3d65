package lifecycle

import (
	"maps"
	"slices"
)

// parentsSQL lists what each partition, and each table that inherits, is part of.
const parentsSQL = `WITH RECURSIVE up (child, parent) AS (
		SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits UNION SELECT u.child, i.inhparent FROM up u JOIN pg_catalog.pg_inherits i ON i.inhrelid = u.parent)
	SELECT u.child::bigint AS child, u.parent::bigint AS parent FROM up u`

type part struct{ Child, Parent int64 }

// distinct leaves out the parts of tables that are listed themselves: whoever reads or
// deletes the whole has their rows, too.
func (c catalogue) distinct(tables []*table) ([]*table, error) {
	parts, err := read[part](c, parentsSQL)
	return slices.DeleteFunc(tables, func(t *table) bool {
		return slices.ContainsFunc(parts, func(p part) bool {
			return p.Child == t.OID && slices.ContainsFunc(tables, func(whole *table) bool { return whole.OID == p.Parent })
		})
	}), err
}

// basesSQL lists the tables below a view, at any depth.
const basesSQL = `WITH RECURSIVE below (oid) AS (
		SELECT $1::bigint::oid UNION SELECT d.refobjid FROM below b JOIN pg_catalog.pg_rewrite w ON w.ev_class = b.oid
			JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_catalog.pg_class'::regclass)
	` + relationSQL + `c.oid IN (SELECT oid FROM below) AND c.relkind NOT IN ('v', 'S', 'c')`

// checkViews fails for a model of a view unless the tables below it are all listed:
// what it shows is theirs then. A materialized view holds rows of its own.
func (c catalogue) checkViews(views map[string]*table, tables []*table) error {
	var hidden []string
	for _, name := range slices.Sorted(maps.Keys(views)) {
		bases, err := read[relation](c, basesSQL, views[name].OID)
		if err != nil {
			return err
		}
		listed := func(base relation) bool {
			return slices.ContainsFunc(tables, func(t *table) bool { return t.OID == base.OID })
		}
		if len(bases) == 0 || slices.ContainsFunc(bases, func(b relation) bool { return !listed(b) }) {
			hidden = append(hidden, name)
		}
	}
	return faultOf(hidden, ErrView)
}
