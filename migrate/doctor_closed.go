package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
)

func revokeAll(object string, roles []string) string {
	return `REVOKE ALL ON ` + object + ` FROM ` + grantees(roles) + ` CASCADE;`
}

// grantees writes roles as GRANT and REVOKE have them.
func grantees(roles []string) string {
	quoted := make([]string, len(roles))
	for i, role := range roles {
		if quoted[i] = ident(role); role == public {
			quoted[i] = public
		}
	}
	return strings.Join(quoted, ", ")
}

// closed takes a relation from those who were let at it, and from its owner, if he is one
// of them.
func (d *doctor) closed(object, owner string, open []string) string {
	if !slices.Contains(open, owner) {
		return revokeAll(object, open)
	}
	if d.rights.owner == "" {
		return "-- give it to a role that no login of the app's is a member of"
	}
	return "ALTER TABLE " + object + " OWNER TO " + ident(d.rights.owner) + "; " + revokeAll(object, open)
}

// renamedTenant reports a table whose tenant column has another name: our policies, which
// went with the column, say which one it is.
func (d *doctor) renamedTenant(ctx context.Context, t *guarded) (bool, error) {
	list, err := queryStrings(ctx, d.tx, `SELECT a.attname::text FROM pg_policy p
		JOIN pg_depend e ON e.classid = 'pg_policy'::regclass AND e.objid = p.oid AND e.refclassid = 'pg_class'::regclass AND e.refobjid = p.polrelid
		JOIN pg_attribute a ON a.attrelid = p.polrelid AND a.attnum = e.refobjsubid AND e.refobjsubid > 0
		WHERE p.polrelid = $1::bigint::oid AND p.polname = 'courtroll_floor' GROUP BY 1`, t.OID)
	if err != nil || len(list) != 1 {
		return false, err
	}
	d.renamed = append(d.renamed, t.OID)
	d.report(Finding{CodeTenantMissing, SeverityError, "table " + t.String(),
		fmt.Sprintf("its column %s is called %s: statements that filter by the tenant fail, and policies go by a column that no model knows", d.column, list[0]),
		"ALTER TABLE " + t.sql() + " RENAME COLUMN " + ident(list[0]) + " TO " + ident(d.column) + ";"})
	return true, nil
}

// formerly finds a protected table that no statement finds by its model's name, and that
// had it once: its primary key still does.
func (d *doctor) formerly(ctx context.Context, table string) (*guarded, error) {
	home, name := plan.Split(table)
	list, err := queryStrings(ctx, d.tx, `SELECT c.oid::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_constraint o ON o.conrelid = c.oid AND o.contype = 'p' AND o.conname = $1::text || '_pkey'
		WHERE c.relkind = 'r' AND c.relname <> $1 AND ($2::text = '' OR n.nspname = $2::text) AND c.oid <> ALL ($3::bigint[]::oid[])
			AND EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polname = 'courtroll_floor')`, name, home, d.set.oids())
	if err != nil || len(list) != 1 {
		return nil, err
	}
	t, err := d.lookupOID(ctx, `$1::text::oid`, list[0], d.column)
	if err != nil || t == nil || t.Attnum == 0 {
		return nil, err
	}
	return t, nil
}

// reportRenamed takes the table that was renamed for the model's. What may stand in its
// place is a view.
func (d *doctor) reportRenamed(s *schema.Schema, view, t *guarded) {
	if t == nil {
		return
	}
	name := plan.Unqualified(s.Table)
	d.add(s.Table, t)
	d.renamed = append(d.renamed, t.OID)
	rename := "ALTER TABLE " + t.sql() + " RENAME TO " + ident(name) + ";"
	if view == nil {
		d.report(Finding{CodeNoTable, SeverityWarning, "table " + s.Table,
			fmt.Sprintf("the login finds no table of model %s along its search_path: it is called %s", s.Name, t), rename})
		return
	}
	d.renamed = append(d.renamed, view.OID)
	d.report(Finding{CodeTableKind, SeverityError, "relation " + view.String(),
		fmt.Sprintf("it is a view in the place of the table, which is called %s: statements go through it, and with its owner's rights unless it has security_invoker", t),
		"ALTER VIEW " + view.sql() + " SET (security_invoker = true); ALTER VIEW " + view.sql() + " RENAME TO " + ident(name+"_aside") + "; " + rename})
}

// checkPrimary reports a primary key of other columns than the model's, which is unique
// across tenants by what they write.
func (d *doctor) checkPrimary(g *guarded, u *unique) {
	if !u.Primary || slices.Contains(u.Columns, g.column) {
		return
	}
	var key []string
	for _, s := range d.set.schemas {
		if d.set.byName[s.Table] != g {
			continue
		}
		if slices.Equal(sorted(s.PrimaryFieldDBNames), sorted(u.Columns)) {
			return
		}
		key = s.PrimaryFieldDBNames
	}
	if len(key) == 0 {
		return
	}
	fix := fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %[2]s PRIMARY KEY (%[3]s); CREATE UNIQUE INDEX ON %[1]s (%[4]s);",
		g.sql(), ident(u.Constraint), idents(key...), idents(withTenant(g.column, u.Columns)...))
	d.report(Finding{CodeUniqueNoTenant, SeverityError, "constraint " + g.String() + "." + u.Constraint,
		fmt.Sprintf("the primary key is of %s, and the model's of %s: it is unique across tenants, so that a value that one tenant has is refused to the others, who so learn of it. The fix leaves it unique within a tenant",
			strings.Join(u.Columns, ", "), strings.Join(key, ", ")), fix})
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// checkServers looks for foreign servers that lead back into this database, and that the
// app may use with somebody's password: dblink takes it, and so does a table of its own.
func (d *doctor) checkServers(ctx context.Context) error {
	type use struct{ Server, SQL, Role string }
	list, err := readRows[use](ctx, d.tx, `
		SELECT s.srvname AS "Server", quote_ident(s.srvname) AS "SQL", coalesce(g.rolname::text, '`+public+`') AS "Role"
		FROM pg_foreign_server s CROSS JOIN LATERAL aclexplode(s.srvacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
		WHERE x.grantee <> s.srvowner AND EXISTS (SELECT FROM pg_options_to_table(s.srvoptions) o WHERE o.option_name = 'dbname' AND o.option_value = current_database())
			AND EXISTS (SELECT FROM pg_user_mappings m WHERE m.srvid = s.oid AND (m.umuser = 0 OR m.usename = ANY ($1::text[]))) ORDER BY 1, 3`,
		[]string{d.app, d.rights.session})
	for _, u := range list {
		if d.reachedByApp(u.Role) && !slices.Contains(d.cfg.TrustedRoles, u.Role) {
			d.report(Finding{CodeForeignTable, SeverityError, "foreign server " + u.Server,
				fmt.Sprintf("it leads to a database of this one's name with the login of a user mapping, and %s may use it: that login's policies count, and no tenant is set", u.Role),
				"REVOKE ALL ON FOREIGN SERVER " + u.SQL + " FROM " + grantees([]string{u.Role}) + " CASCADE;"})
		}
	}
	return err
}

// checkLentFunctions looks for functions that triggers, defaults, checks, policies or
// indexes of our tables call, and that a login of the app's owns: who owns one replaces its
// text, which then runs with the rights of whoever writes the table next.
func (d *doctor) checkLentFunctions(ctx context.Context) error {
	type lent struct{ Name, Owner, Tables string }
	list, err := readRows[lent](ctx, d.tx, `
		SELECT p.oid::regprocedure::text AS "Name", pg_get_userbyid(p.proowner) AS "Owner", string_agg(DISTINCT format('%s.%s', n.nspname, c.relname), ', ') AS "Tables"
		FROM pg_depend e JOIN pg_proc p ON p.oid = e.refobjid
		LEFT JOIN pg_trigger t ON e.classid = 'pg_trigger'::regclass AND t.oid = e.objid
		LEFT JOIN pg_attrdef f ON e.classid = 'pg_attrdef'::regclass AND f.oid = e.objid
		LEFT JOIN pg_constraint o ON e.classid = 'pg_constraint'::regclass AND o.oid = e.objid
		LEFT JOIN pg_policy y ON e.classid = 'pg_policy'::regclass AND y.oid = e.objid
		LEFT JOIN pg_index i ON e.classid = 'pg_class'::regclass AND i.indexrelid = e.objid
		JOIN pg_class c ON c.oid IN (t.tgrelid, f.adrelid, o.conrelid, y.polrelid, i.indrelid) JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE e.refclassid = 'pg_proc'::regclass AND c.oid = ANY ($1::bigint[]::oid[]) AND pg_get_userbyid(p.proowner) = ANY ($2::text[])
			AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE '`+notePrefix+`{%' GROUP BY p.oid ORDER BY 1`, d.set.oids(), []string{d.app, d.rights.session})
	for _, f := range list {
		if !d.confinedLogin(f.Owner) || d.rights.owner == "" {
			continue
		}
		d.report(Finding{CodeRoleOwner, SeverityError, "function " + f.Name,
			fmt.Sprintf("%s owns it, and may replace its text, which runs with the rights of whoever writes %s next: the owner's, or those of who sees every tenant", d.called(f.Owner), f.Tables),
			"ALTER ROUTINE " + f.Name + " SECURITY INVOKER; ALTER ROUTINE " + f.Name + " OWNER TO " + ident(d.rights.owner) + "; -- and read it first"})
	}
	return err
}
