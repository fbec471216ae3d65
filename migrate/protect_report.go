package migrate

import (
	"context"

	"github.com/courtroll/courtroll/internal/plan"
)

// report lists what runs or reads with somebody else's rights than the app's, and
// what else leaves a gap. It changes nothing.
func (r *protectRun) report(ctx context.Context) error {
	for _, g := range r.set.owned() {
		if !g.NotNull {
			r.reportf("table "+g.String(), "column %q allows NULL, and such rows are nobody's and no foreign key confines them: make it NOT NULL", g.column)
		}
	}
	found, err := readRows[Report](ctx, r.tx, reportViews+` UNION ALL `+reportFunctions+` UNION ALL `+reportExclusions+
		` UNION ALL `+reportSchemas+` ORDER BY 1, 2`, r.set.oids(), oidsOf(r.set.owned()), r.cfg.AppRole, r.ownFunctions(ctx))
	if err != nil {
		return err
	}
	r.done.Reported = append(r.done.Reported, found...)
	return r.reportShared(ctx)
}

// reportShared lists the shared tables that the app cannot read: Protect grants
// on what it protects alone.
func (r *protectRun) reportShared(ctx context.Context) error {
	for _, model := range r.cfg.Shared {
		name, err := plan.TableName(r.db, model)
		if err != nil {
			return err
		}
		closed, err := queryStrings(ctx, r.tx, `SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND (c.relname = $1 OR n.nspname || '.' || c.relname = $1)
			AND NOT has_table_privilege($2::text::name, c.oid, 'SELECT')`, name, r.cfg.AppRole)
		if err != nil {
			return err
		}
		for _, table := range closed {
			r.reportf("shared table "+table, "%q may not read it: GRANT SELECT ON %s TO %[1]s", r.cfg.AppRole, table)
		}
	}
	return nil
}

// ownFunctions are ours, which the report leaves out. That they exist was checked.
func (r *protectRun) ownFunctions(ctx context.Context) []int64 {
	list, _ := r.functions(ctx)
	oids := make([]int64, len(list))
	for i, f := range list {
		oids[i] = f.OID
	}
	return oids
}

const (
	// Views of views count: the chain runs with the rights of each owner.
	reportViews = `
		SELECT format('%s %s.%s', CASE c.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, n.nspname, c.relname) AS "Object",
			CASE c.relkind WHEN 'm' THEN 'it keeps rows of all tenants that its owner saw, and no policy covers it'
			ELSE 'it reads with its owner''s rights: WITH (security_invoker = true) makes the reader''s count' END AS "Reason"
		FROM (WITH RECURSIVE seen (oid) AS (
				SELECT unnest($1::bigint[]::oid[])
				UNION SELECT w.ev_class FROM seen JOIN pg_depend d ON d.refobjid = seen.oid AND d.refclassid = 'pg_class'::regclass
					AND d.classid = 'pg_rewrite'::regclass JOIN pg_rewrite w ON w.oid = d.objid)
			SELECT oid FROM seen) s
		JOIN pg_class c ON c.oid = s.oid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'm' OR c.relkind = 'v' AND NOT EXISTS (SELECT FROM pg_options_to_table(c.reloptions)
			WHERE option_name = 'security_invoker' AND option_value::boolean)`

	reportFunctions = `
		SELECT format('function %s', p.oid::regprocedure), 'SECURITY DEFINER: it runs with the rights of ' || quote_ident(pg_get_userbyid(p.proowner))
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.prosecdef AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_t%'
			AND p.oid <> ALL ($4::bigint[]::oid[])
			AND NOT ((p.prorettype = 'trigger'::regtype OR p.proname = '` + purgeFunction + `') AND coalesce(obj_description(p.oid, 'pg_proc'), '') LIKE '` + notePrefix + `{%')`

	reportExclusions = `
		SELECT format('constraint %s.%s.%s', n.nspname, c.relname, o.conname), 'an exclusion constraint without the tenant column spans tenants'
		FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE o.contype = 'x' AND o.conrelid = ANY ($2::bigint[]::oid[]) AND o.conindid <> 0`

	reportSchemas = `
		SELECT DISTINCT format('schema %s', n.nspname), 'the app''s role may create objects in it'
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = ANY ($1::bigint[]::oid[]) AND has_schema_privilege($3::text::name, n.oid, 'CREATE')`
)
