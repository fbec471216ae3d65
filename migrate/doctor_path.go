package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
)

// lookup finds a table as a statement would, and takes a protected one for it where the
// one that a statement finds is another, or where none is found: what stands before it,
// or keeps it from being found, is one finding, and not one for each thing that is
// missing on an impostor.
func (d *doctor) lookup(ctx context.Context, table, column string) (*guarded, error) {
	found, err := d.protectRun.lookup(ctx, table, column)
	if err != nil {
		return nil, err
	}
	home, name := plan.Split(table)
	list, err := queryStrings(ctx, d.tx, `
		SELECT c.oid::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = $1 AND c.relkind IN ('r', 'p') AND ($2::text = '' OR n.nspname = $2::text)
			AND EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polname LIKE 'courtroll\_%')
		ORDER BY c.oid`, name, home)
	if err != nil || len(list) != 1 {
		return found, err
	}
	return d.lookupOID(ctx, `$1::text::oid`, list[0], column)
}

// impostor is a relation that statements find in a table's place.
type impostor struct {
	OID    int64  `json:"oid"`
	Schema string `json:"schema"`
	Name   string `json:"name"`

	table *guarded
}

// path is that of a new session, or else of the one at hand.
func (d *doctor) path() []string {
	if d.fresh != nil {
		return d.fresh.Path
	}
	return d.schemas
}

// unqualified returns the tables that statements name without a schema.
func (d *doctor) unqualified() (list []*guarded) {
	for _, name := range slices.Sorted(maps.Keys(d.set.byName)) {
		if home, _ := plan.Split(name); home == "" && !slices.Contains(list, d.set.byName[name]) {
			list = append(list, d.set.byName[name])
		}
	}
	return list
}

// ahead are the schemas in which a name is looked up before a table's own.
func (d *doctor) ahead(g *guarded) []string {
	path := d.path()
	if i := slices.Index(path, g.Schema); i >= 0 {
		return path[:i]
	}
	return append([]string{}, path...)
}

// findImpostors looks along the search_path for what stands before our tables.
func (d *doctor) findImpostors(ctx context.Context) error {
	d.impostors = map[int64]bool{}
	for _, g := range d.unqualified() {
		list, err := readRows[impostor](ctx, d.tx, `SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relname = $1 AND n.nspname = ANY ($2::text[]) AND n.nspname <> 'pg_catalog' AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') ORDER BY n.nspname`, g.Name, d.ahead(g))
		if err != nil {
			return err
		}
		for _, i := range list {
			d.impostors[i.OID] = true
			i.table = g
			d.standIns = append(d.standIns, i)
		}
	}
	return nil
}

// pathSetting is where the search_path of the handle's login comes from.
func (d *doctor) pathSetting(ctx context.Context) (p preset, known bool, err error) {
	presets, err := d.presetsOf(ctx, d.rights.session)
	if p, known = presets["search_path"]; !known {
		p = preset{Role: d.rights.session, Database: d.database, Name: "search_path"}
	}
	return p, known, err
}

// setPath is the statement that gives the login a search_path without the schemas, and
// with those of our tables.
func (d *doctor) setPath(p preset, without ...string) string {
	path := slices.DeleteFunc(slices.Clone(d.path()), func(s string) bool { return slices.Contains(without, s) })
	for _, g := range d.unqualified() {
		if !slices.Contains(path, g.Schema) {
			path = append(path, g.Schema)
		}
	}
	if d.fresh != nil && d.fresh.Pinned {
		return "-- the DSN sets it: search_path=" + strings.Join(path, ",")
	}
	return p.alter() + " SET search_path = " + idents(path...) + "; -- open sessions keep the old one until they end"
}

// checkPath reports what statements that name our tables find in their place, or could.
func (d *doctor) checkPath(ctx context.Context) error {
	from, known, err := d.pathSetting(ctx)
	if err != nil {
		return err
	}
	var revokes strings.Builder
	blamed, full := []string{}, map[string]bool{}
	for _, i := range d.standIns {
		open, err := d.openTo(ctx, i.OID)
		if err != nil {
			return err
		}
		revoke := ""
		if len(open) > 0 {
			revoke = revokeAll(ident(i.Schema, i.Name), open) + " "
		}
		if full[i.Schema], err = d.holdsMore(ctx, i.Schema); err != nil {
			return err
		}
		if !known || full[i.Schema] {
			d.report(Finding{CodeTableShadowed, SeverityError, "relation " + i.Schema + "." + i.Name,
				fmt.Sprintf("along the login's search_path it stands before %s: statements read and write it instead, and no policy of ours is on it", i.table),
				revoke + "ALTER TABLE " + ident(i.Schema, i.Name) + " RENAME TO " + ident(i.Name+"_aside") + ";"})
			continue
		}
		if blamed = append(blamed, i.Schema); revoke != "" {
			revokes.WriteString(revoke)
		}
	}
	if len(blamed) > 0 {
		slices.Sort(blamed)
		blamed = slices.Compact(blamed)
		d.report(Finding{CodeSearchPath, SeverityError, from.String(), fmt.Sprintf("schema %s, with tables of our tables' names, comes before theirs: statements read and write those instead, and no policy of ours is on them", strings.Join(blamed, ", ")),
			revokes.String() + d.setPath(from, blamed...)})
		return nil
	}
	return d.checkSchemasAhead(ctx, from, known)
}

// holdsMore reports whether a schema has tables that stand before none of ours.
func (d *doctor) holdsMore(ctx context.Context, schema string) (bool, error) {
	oids := make([]int64, 0, len(d.impostors))
	for oid := range d.impostors {
		oids = append(oids, oid)
	}
	list, err := queryStrings(ctx, d.tx, `SELECT 'more' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid <> ALL ($2::bigint[]::oid[]) LIMIT 1`, schema, oids)
	return len(list) > 0, err
}

// home is a schema in which names are looked up.
type home struct {
	OID    int64  `json:"oid"`
	Schema string `json:"schema"`
	Owner  string `json:"owner"`
	Usable bool   `json:"usable"`
}

// homes are the schemas of our tables and those that come before them.
func (d *doctor) homes(ctx context.Context) ([]home, error) {
	names := []string{}
	for _, g := range d.set.list {
		names = append(names, g.Schema)
	}
	for _, g := range d.unqualified() {
		names = append(names, d.ahead(g)...)
	}
	return readRows[home](ctx, d.tx, `SELECT n.oid::bigint AS oid, n.nspname AS schema, pg_get_userbyid(n.nspowner) AS owner, has_schema_privilege(n.oid, 'USAGE') AS usable
		FROM pg_namespace n WHERE n.nspname = ANY ($1::text[]) AND n.nspname <> 'pg_catalog' ORDER BY 2`, names)
}

func (d *doctor) checkSchemasAhead(ctx context.Context, from preset, known bool) error {
	list, err := d.homes(ctx)
	if err != nil {
		return err
	}
	path := d.path()
	if d.fresh != nil {
		if _, another := d.faulty("role", d.fresh.Settings["role"]); another {
			return nil // it is another's path
		}
	}
	for _, h := range list {
		ours := slices.ContainsFunc(d.set.list, func(g *guarded) bool { return g.Schema == h.Schema })
		switch {
		case ours && h.Usable && !slices.Contains(path, h.Schema) && slices.ContainsFunc(d.unqualified(), func(g *guarded) bool { return g.Schema == h.Schema && !slices.Contains(d.renamed, g.OID) }):
			d.report(Finding{CodeSearchPath, SeverityWarning, from.String(),
				fmt.Sprintf("schema %s is not in it, and the login finds none of our tables there", h.Schema), d.setPath(from)})
			return nil
		case ours || d.mayOwn(h.Owner):
		case known:
			d.report(Finding{CodeSearchPath, SeverityWarning, from.String(),
				fmt.Sprintf("schema %s, in which %q may make a table of any name, comes before our tables' schema", h.Schema, h.Owner), d.setPath(from, h.Schema)})
		default:
			d.report(Finding{CodeSearchPath, SeverityWarning, "schema " + h.Schema,
				fmt.Sprintf("%q, which owns it, may make a table of any name in it, and along the search_path it comes before our tables' schema", h.Owner),
				d.giveSchema(h)})
		}
	}
	return nil
}

func (d *doctor) giveSchema(h home) string {
	if d.rights.owner == "" {
		return "-- give it to the owner of the tables"
	}
	text := "ALTER SCHEMA " + ident(h.Schema) + " OWNER TO " + ident(d.rights.owner) + ";"
	if h.Usable {
		text += " GRANT USAGE ON SCHEMA " + ident(h.Schema) + " TO " + ident(d.rights.session) + ";"
	}
	return text
}

// mayOwn reports whether a role can be trusted not to put something in our tables' way.
func (d *doctor) mayOwn(role string) bool {
	return d.rights.roles[role].isFree() || role == "pg_database_owner" || role == d.rights.databaseOwner && !d.confinedLogin(role) || slices.Contains(d.cfg.TrustedRoles, role) ||
		slices.ContainsFunc(d.set.list, func(g *guarded) bool { return g.Owner == role })
}
