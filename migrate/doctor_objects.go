package migrate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// overTables is the closure of our tables and of the views over them, and over those.
const overTables = `
	WITH RECURSIVE seen (oid) AS (
		SELECT unnest($1::bigint[]::oid[])
		UNION SELECT w.ev_class FROM seen JOIN pg_depend d ON d.refobjid = seen.oid AND d.refclassid = 'pg_class'::regclass
			AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid AND w.ev_type = '1')`

// statisticNames are the server's tables of statistics, which hold values of rows, and its
// views of them, which show each reader what he may see.
var statisticNames = []string{"pg_statistic", "pg_statistic_ext_data", "pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"}

// statisticViews are somebody's over the tables of statistics, on which the catalogue notes
// no dependency.
func (d *doctor) statisticViews(ctx context.Context) (oids []int64, err error) {
	list, err := queryStrings(ctx, d.tx, `SELECT ev_class::oid::text FROM pg_rewrite WHERE ev_type = '1' AND ev_class >= 16384
		AND ev_action::text ~ format(':relid (%s|%s) ', 'pg_statistic'::regclass::oid, 'pg_statistic_ext_data'::regclass::oid)`)
	for _, oid := range list {
		id, _ := strconv.ParseInt(oid, 10, 64)
		oids = append(oids, id)
	}
	return oids, err
}

// overlying is a view over protected tables.
type overlying struct {
	OID     int64  `json:"oid"`
	Schema  string `json:"schema"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Owner   string `json:"owner"`
	Invoker bool   `json:"invoker"`
}

func (o overlying) String() string { return o.Schema + "." + o.Name }
func (o overlying) sql() string    { return ident(o.Schema, o.Name) }

// checkObjects looks at what reads or writes protected tables with another's rights.
func (d *doctor) checkObjects(ctx context.Context) error {
	statistics, err := d.statisticViews(ctx)
	if err != nil {
		return err
	}
	views, err := readRows[overlying](ctx, d.tx, overTables+`
		SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, pg_get_userbyid(c.relowner) AS owner,
			EXISTS (SELECT FROM pg_options_to_table(c.reloptions) WHERE option_name = 'security_invoker' AND option_value::boolean) AS invoker
		FROM seen JOIN pg_class c ON c.oid = seen.oid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('v', 'm') AND c.oid <> ALL ($2::bigint[]::oid[]) ORDER BY 2, 3`, append(d.set.oids(), statistics...), d.set.oids())
	if err != nil {
		return err
	}
	for _, v := range views {
		if err := d.checkView(ctx, v); err != nil {
			return err
		}
	}
	for _, step := range []func(context.Context) error{d.checkRules, d.checkLoopbacks, d.checkServers, d.checkLeakproof, d.checkLentFunctions} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.checkFunctions(ctx, views)
}

func (d *doctor) checkView(ctx context.Context, v overlying) error {
	if slices.Contains(d.renamed, v.OID) {
		return nil // it stands in a table's place, which is a finding of its own
	}
	readers, err := d.readersOf(ctx, v.OID)
	if err != nil {
		return err
	}
	exposed := slices.ContainsFunc(readers, func(role string) bool { return d.reachedByApp(role) })
	switch {
	case v.Kind == "m" && len(readers) > 0:
		// One that nobody may read but who sees every tenant anyway is how reports are made.
		d.report(Finding{CodeViewMaterialized, SeverityError, "materialized view " + v.String(),
			fmt.Sprintf("it keeps the rows that %q saw, of any tenant, no policy covers it, and %s may read it", v.Owner, strings.Join(readers, ", ")), d.closed(v.sql(), v.Owner, readers)})
	case v.Kind == "v" && !v.Invoker:
		severity := SeverityWarning
		if exposed {
			severity = SeverityError
		}
		d.report(Finding{CodeViewDefiner, severity, "view " + v.String(),
			fmt.Sprintf("it reads protected tables, or statistics of their rows, with the rights of %q and not with its reader's, so the reader's policies do not count", v.Owner),
			"ALTER VIEW " + v.sql() + " SET (security_invoker = true);"})
	}
	return nil
}

// readersOf returns who has a privilege on a relation and should not see every tenant.
func (d *doctor) readersOf(ctx context.Context, oid int64) (readers []string, err error) {
	grants, err := d.readGrants(ctx, tableACL, oid)
	if err != nil {
		return nil, err
	}
	for role := range grants {
		if !d.trustedWith(role) && role != d.cfg.SystemRole {
			readers = append(readers, role)
		}
	}
	owner, err := queryStrings(ctx, d.tx, `SELECT pg_get_userbyid(relowner)::text FROM pg_class WHERE oid = $1::bigint::oid`, oid)
	for _, role := range owner {
		if d.reachedByApp(role) && d.confinedLogin(role) {
			readers = append(readers, role)
		}
	}
	slices.Sort(readers)
	return readers, err
}

// checkRules looks for rules that rewrite statements: what they put in runs with the
// rights of the table's owner, a view's too that has security_invoker. One of audit_logs
// may leave entries out.
func (d *doctor) checkRules(ctx context.Context) error {
	type rule struct{ Name, Table, SQL string }
	list, err := readRows[rule](ctx, d.tx, overTables+`
		SELECT DISTINCT w.rulename AS "Name", format('%s.%s', n.nspname, c.relname) AS "Table", format('DROP RULE %I ON %I.%I;', w.rulename, n.nspname, c.relname) AS "SQL"
		FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE w.ev_type <> '1' AND w.ev_enabled <> 'D'
			AND (w.ev_class IN (SELECT oid FROM seen) OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid
				AND d.refclassid = 'pg_class'::regclass AND d.refobjid IN (SELECT oid FROM seen)))
			AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype = 'e')
		ORDER BY 2, 1`, d.set.oids())
	for _, r := range list {
		d.report(Finding{CodeRule, SeverityError, "rule " + r.Table + "." + r.Name,
			"it puts other statements on protected tables beside, or in the place of, those that are sent, and these run with its owner's rights: the sender's policies do not count", r.SQL})
	}
	return err
}

// checkLoopbacks looks for foreign servers that lead back into this database with
// another login.
func (d *doctor) checkLoopbacks(ctx context.Context) error {
	type foreign struct {
		OID                  int64
		Object, Name, Server string
	}
	list, err := readRows[foreign](ctx, d.tx, `
		SELECT c.oid::bigint AS "OID", format('foreign table %s.%s', n.nspname, c.relname) AS "Object", format('%I.%I', n.nspname, c.relname) AS "Name", s.srvname AS "Server"
		FROM pg_foreign_table f JOIN pg_class c ON c.oid = f.ftrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_foreign_server s ON s.oid = f.ftserver
		WHERE EXISTS (SELECT FROM pg_options_to_table(s.srvoptions) o WHERE o.option_name = 'dbname' AND o.option_value = current_database())
			AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $1 AND NOT a.attisdropped) ORDER BY 2`, d.column)
	if err != nil {
		return err
	}
	for _, f := range list {
		readers, err := d.readersOf(ctx, f.OID)
		if err != nil {
			return err
		}
		if readers = slices.DeleteFunc(readers, func(role string) bool { return !d.reachedByApp(role) }); len(readers) > 0 {
			d.report(Finding{CodeForeignTable, SeverityError, f.Object,
				fmt.Sprintf("it reads a database of this one's name through server %s, with the login of a user mapping, and the app may read it: that login's policies count, and no tenant is set", f.Server),
				revokeAll(f.Name, readers)})
		}
	}
	return nil
}

// checkLeakproof looks for functions that may see rows before the policies do. Of the
// server's own, those that were altered since its catalogue was made.
func (d *doctor) checkLeakproof(ctx context.Context) error {
	list, err := queryStrings(ctx, d.tx, `SELECT p.oid::regprocedure::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.proleakproof AND (p.oid >= 16384 AND n.nspname NOT IN ('pg_catalog', 'information_schema')
				OR p.oid < 16384 AND p.proacl IS NULL AND p.xmin::text::bigint > (SELECT max(i.xmin::text::bigint) FROM pg_init_privs i WHERE i.privtype = 'i'))
			AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e') ORDER BY 1`)
	for _, f := range list {
		d.report(Finding{CodeFunctionLeakproof, SeverityError, "function " + f,
			"it is marked LEAKPROOF: a statement may call it on rows of every tenant before the policies leave them out", "ALTER FUNCTION " + f + " NOT LEAKPROOF;"})
	}
	return err
}
