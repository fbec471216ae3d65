package lifecycle

import "slices"

// link is a foreign key.
type link struct {
	Name       string   `json:"name"`
	Child      int64    `json:"child"`
	Parent     int64    `json:"parent"`
	ChildName  string   `json:"child_name"`
	Columns    []string `json:"columns"`
	References []string `json:"refs"`
	// Cut is a column that takes the reference away when it is NULL, empty if none does.
	Cut      string `json:"cut"`
	Restrict bool   `json:"restrict"`
	// Harms is a key by which a row's deletion deletes or changes those that refer to it.
	Harms    bool `json:"harms"`
	Cascades bool `json:"cascades"`
}

// A key MATCH FULL is taken away by all of its columns alone: that is left to whoever
// has one. The tenant column never changes.
const linkSQL = `SELECT k.conname AS name, k.conrelid::bigint AS child, k.confrelid::bigint AS parent,
		n.nspname || '.' || c.relname AS child_name, k.confdeltype = 'r' AS restrict,
		k.confdeltype IN ('c', 'n', 'd') AS harms, k.confdeltype = 'c' AS cascades,
		(SELECT json_agg(a.attname ORDER BY o) FROM unnest(k.conkey) WITH ORDINALITY u(num, o)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num) AS columns,
		(SELECT json_agg(a.attname ORDER BY o) FROM unnest(k.confkey) WITH ORDINALITY u(num, o)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num) AS refs,
		coalesce((SELECT a.attname FROM unnest(k.conkey) WITH ORDINALITY u(num, o)
			JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num
			WHERE NOT a.attnotnull AND a.attname <> $1 AND (k.confmatchtype <> 'f' OR cardinality(k.conkey) = 1) ORDER BY o LIMIT 1), '') AS cut
	FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE k.contype = 'f' AND k.conparentid = 0 ORDER BY 1, 2`

// link finds the keys among the tables, and those that cross from one tenant to
// another. One from elsewhere to a tenant's row is [ErrChild].
func (v *inventory) link(c catalogue) error {
	all, err := read[link](c, linkSQL, c.column)
	if err != nil {
		return err
	}
	parts, err := read[part](c, parentsSQL)
	if err != nil {
		return err
	}
	whole := func(oid int64) int64 { // the listed table that the rows are of
		i := slices.IndexFunc(parts, func(p part) bool { return p.Child == oid && v.byOID(p.Parent) != nil })
		if i < 0 || v.byOID(oid) != nil {
			return oid
		}
		return parts[i].Parent
	}
	var children, cascading []string
	for _, l := range all {
		l.Child, l.Parent = whole(l.Child), whole(l.Parent)
		child, parent := v.byOID(l.Child), v.byOID(l.Parent)
		switch {
		case parent == nil:
			continue
		case child == nil:
			children = append(children, l.ChildName)
			continue
		case child == v.register && parent != v.register && l.Cascades:
			cascading = append(cascading, parent.Name)
		case child != v.register && parent != v.register:
			v.links = append(v.links, l)
		}
		if v.crosses(l) {
			v.outer = append(v.outer, l)
		}
	}
	slices.Sort(children)
	slices.Sort(cascading)
	if err := faultOf(slices.Compact(children), ErrChild); err != nil {
		return err
	}
	return faultOf(slices.Compact(cascading), ErrRegisterKey)
}

// graph is which table refers to which, by their indices.
type graph struct {
	tables []*table
	reach  [][]bool // over any number of keys
}

func newGraph(tables []*table, links []link) graph {
	g := graph{tables: tables, reach: make([][]bool, len(tables))}
	for i := range g.reach {
		g.reach[i] = make([]bool, len(tables))
	}
	for _, l := range links {
		if l.Child != l.Parent {
			g.reach[g.index(l.Child)][g.index(l.Parent)] = true
		}
	}
	for k := range tables {
		for i := range tables {
			for j := range tables {
				g.reach[i][j] = g.reach[i][j] || g.reach[i][k] && g.reach[k][j]
			}
		}
	}
	return g
}

func (g graph) index(oid int64) int {
	return slices.IndexFunc(g.tables, func(t *table) bool { return t.OID == oid })
}

// inCircle reports whether both tables lie on one.
func (g graph) inCircle(a, b int) bool { return g.reach[a][b] && g.reach[b][a] }

// parentsFirst returns the tables so that one comes after those that it refers to; of a
// circle, in the order of their names.
func (g graph) parentsFirst() (order []*table) {
	done := make([]bool, len(g.tables))
	ready := func(i int) bool {
		for j := range g.tables {
			if g.reach[i][j] && !g.reach[j][i] && !done[j] {
				return false
			}
		}
		return !done[i]
	}
	for range g.tables {
		for i := range g.tables {
			if ready(i) {
				done[i], order = true, append(order, g.tables[i])
				break
			}
		}
	}
	return order
}

// circles returns the tables that lie on circles.
func (g graph) circles() (names []string) {
	for i, t := range g.tables {
		if g.inCircle(i, i) {
			names = append(names, t.Name)
		}
	}
	return names
}

// cuts returns keys to set NULL so that no circle of tables is left, or [ErrCycle].
func (v *inventory) cuts() (cut, left []link, err error) {
	left = slices.Clone(v.links)
	for {
		g := newGraph(v.tables, left)
		if len(g.circles()) == 0 {
			return cut, left, nil
		}
		i := slices.IndexFunc(left, func(l link) bool {
			return l.Cut != "" && l.Child != l.Parent && g.inCircle(g.index(l.Child), g.index(l.Parent))
		})
		if i < 0 {
			return nil, nil, faultOf(g.circles(), ErrCycle)
		}
		cut, left = append(cut, left[i]), slices.Delete(left, i, i+1)
	}
}

// self returns a table's keys to itself.
func (v *inventory) self(t *table) (own []link) {
	for _, l := range v.links {
		if l.Child == t.OID && l.Parent == t.OID {
			own = append(own, l)
		}
	}
	return own
}
