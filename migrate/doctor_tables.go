package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// findAll finds the tables along the search_path of the login. What cannot be found, or
// is not as it must be, is a finding.
func (d *doctor) findAll(ctx context.Context, given []any) error {
	d.set = tableSet{byName: map[string]*guarded{}}
	for _, own := range []struct {
		name, column string
		class        class
	}{{models.TenantsTable, "id", register}, {models.AuditLogsTable, models.DefaultTenantColumn, auditTrail}} {
		t, err := d.lookup(ctx, own.name, own.column)
		if err != nil {
			return err
		}
		if t == nil || t.Attnum == 0 {
			d.report(Finding{CodeNotUp, SeverityError, "table " + own.name, "the login finds no such table with a column " + own.column +
				" along its search_path: without it there is no register or no trail", "-- run Migrator.Up as the owner, and give the login the owner's search_path"})
			continue
		}
		t.class = own.class
		d.add(own.name, t)
	}
	return d.findModeled(ctx, given)
}

// add differs from Protect's in that it refuses nothing.
func (d *doctor) add(name string, t *guarded) {
	d.set.list = append(d.set.list, t)
	d.set.byName[name] = t
}

func (d *doctor) findModeled(ctx context.Context, given []any) error {
	var err error
	if d.registry, err = plan.NewRegistry(d.db, d.cfg.Rules); err != nil {
		return err
	}
	d.column = d.registry.Column()
	if err := d.findShared(ctx); err != nil {
		return err
	}
	all := slices.Concat(given, d.cfg.Models)
	d.modelled = len(all) > 0
	for _, model := range all {
		s, err := plan.Parse(d.db, model)
		if err != nil {
			return err
		}
		d.registry.Learn(s)
		if err := d.findTable(ctx, s, s); err != nil {
			return err
		}
	}
	return d.findUnmodeled(ctx)
}

// findShared finds the tables that are declared shared.
func (d *doctor) findShared(ctx context.Context) error {
	for _, shared := range d.cfg.Shared {
		name, err := plan.QualifiedName(d.db, shared)
		if err != nil {
			return err
		}
		t, err := d.lookup(ctx, name, d.column)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		if t.Attnum > 0 {
			d.later = append(d.later, func(ctx context.Context) error {
				return d.reportOpen(ctx, t, CodeSharedTenant, fmt.Sprintf("it is declared shared and has the column %s, and the app reaches it: rows of tenants that everybody sees", d.column),
					"until it is off Rules.Shared and Protect was run")
			})
		}
		d.shared = append(d.shared, t)
	}
	return nil
}

// findTable finds a model's table, and those of the models that it refers to. Of is the
// model that it came with.
func (d *doctor) findTable(ctx context.Context, s, of *schema.Schema) error {
	if s == nil || slices.Contains(d.set.schemas, s) {
		return nil
	}
	d.set.schemas = append(d.set.schemas, s)
	name := plan.Unqualified(s.Table)
	if name != models.TenantsTable && name != models.AuditLogsTable {
		if err := d.classify(ctx, s, of); err != nil {
			return err
		}
	}
	for _, rel := range sortedRelations(s) {
		for _, other := range []*schema.Schema{rel.FieldSchema, rel.JoinTable} {
			if err := d.findTable(ctx, other, s); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *doctor) classify(ctx context.Context, s, of *schema.Schema) error {
	t, err := d.lookup(ctx, s.Table, d.column)
	if err != nil {
		return err
	}
	if t == nil || t.Kind == "v" {
		if other, err := d.formerly(ctx, s.Table); err != nil || other != nil {
			d.reportRenamed(s, t, other)
			return err
		}
	}
	if t == nil {
		d.report(Finding{CodeNoTable, SeverityWarning, "table " + s.Table,
			fmt.Sprintf("the login finds no table of model %s along its search_path, so nobody can say what protects it", s.Name),
			"-- run AutoMigrate as the owner, and give the login the owner's search_path"})
		return nil
	}
	if known, _ := d.registry.Lookup(s.Table); known.Class == plan.Shared {
		return nil
	}
	switch {
	case d.set.byOID(t.OID) != nil:
		d.set.byName[s.Table] = d.set.byOID(t.OID)
		return nil
	case t.Attnum > 0:
		d.add(s.Table, t)
		return nil
	}
	d.later = append(d.later, func(ctx context.Context) error { return d.reportUnowned(ctx, s, of, t) })
	return nil
}

// reportUnowned reports a model's table without the tenant column, if the login gets at it.
func (d *doctor) reportUnowned(ctx context.Context, s, of *schema.Schema, t *guarded) error {
	if f := s.FieldsByDBName[d.column]; f != nil {
		renamed, err := d.renamedTenant(ctx, t)
		if err != nil || renamed {
			return err
		}
		d.report(Finding{CodeTenantMissing, SeverityError, "table " + t.String(),
			fmt.Sprintf("model %s has the column %s and the table has not: nothing says whose a row is", s.Name, d.column),
			"-- a column whose rows belong to somebody: AutoMigrate and Migrator.Adopt as the owner, then Protect"})
		return nil
	}
	why := fmt.Sprintf("its model %s has no column %s and is not declared shared, and the app reaches it: every tenant meets the same rows", s.Name, d.column)
	if of != s {
		why = fmt.Sprintf("it hangs on model %s, has no column %s and is not declared shared, and the app reaches it: every tenant meets the same rows", of.Name, d.column)
	}
	return d.reportOpen(ctx, t, CodeUnclassified, why, "until it has the column, or stands in Rules.Shared")
}

// reportOpen reports a table that the app gets at, and should not until something is done.
func (d *doctor) reportOpen(ctx context.Context, t *guarded, code Code, why, until string) error {
	open, err := d.openTo(ctx, t.OID)
	if d.confinedLogin(t.Owner) && d.reachedByApp(t.Owner) {
		open = append(open, t.Owner)
	}
	if err == nil && len(open) > 0 {
		d.report(Finding{code, SeverityError, "table " + t.String(), why, d.closed(t.sql(), t.Owner, open) + " -- " + until})
	}
	return err
}

// findUnmodeled finds tables that have the tenant column and no model. Where nobody says
// what the app's are, those that the login cannot get at are another's.
func (d *doctor) findUnmodeled(ctx context.Context) error {
	list, err := queryStrings(ctx, d.tx, `
		SELECT c.oid::text
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $1 AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND c.oid <> ALL ($2::bigint[]::oid[])
			AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\_t%'
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid AND i.inhparent = ANY ($2::bigint[]::oid[])
				OR i.inhparent = c.oid AND i.inhrelid = ANY ($2::bigint[]::oid[]))
			AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid AND e.deptype = 'e')
			AND ($3::boolean OR EXISTS (SELECT FROM pg_catalog.pg_policy p WHERE p.polrelid = c.oid AND p.polname LIKE 'courtroll\_%')
				OR pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND (pg_catalog.has_table_privilege(c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') OR pg_catalog.has_any_column_privilege(c.oid, 'SELECT, INSERT, UPDATE')))
		ORDER BY n.nspname, c.relname`, d.column, append(d.set.oids(), oidsOf(d.shared)...), d.modelled)
	if err != nil {
		return err
	}
	for _, oid := range list {
		t, err := d.lookupOID(ctx, `$1::text::oid`, oid, d.column)
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		if !d.modelled {
			d.add(t.String(), t)
			continue
		}
		d.later = append(d.later, func(ctx context.Context) error {
			if d.impostors[t.OID] {
				return nil // it has a finding of its own
			}
			return d.reportOpen(ctx, t, CodeNoModel, fmt.Sprintf("it has the column %s and no model, so nobody protects it, and the app reaches it", d.column),
				"until its model is among those that Protect and Doctor are given")
		})
	}
	return nil
}

// checkTables looks at what the tables are, and at their tenant columns.
func (d *doctor) checkTables(ctx context.Context) error {
	for _, report := range d.later {
		if err := report(ctx); err != nil {
			return err
		}
	}
	for _, g := range d.set.list {
		if err := d.checkKind(ctx, g); err != nil {
			return err
		}
		if g.class == owned && !g.NotNull {
			d.report(Finding{CodeTenantNull, SeverityError, "column " + g.String() + "." + g.column,
				"it allows NULL: such rows are nobody's, no foreign key confines them, and nobody sees them again",
				"ALTER TABLE " + g.sql() + " ALTER COLUMN " + ident(g.column) + " SET NOT NULL;"})
		}
		if !g.fits() {
			if err := d.tenantType(ctx, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// tenantType reports a type that takes two ids for the same. Our policies stand in the
// way of another one, so the fix makes them anew.
func (d *doctor) tenantType(ctx context.Context, g *guarded) error {
	found, _, err := d.readPolicies(ctx, g)
	if err != nil {
		return err
	}
	before, _ := d.before(g, found)
	text := *g
	text.Type = "text"
	var drop, create []string
	for _, p := range d.policies(&text) {
		if _, exists := found[p.name]; exists {
			drop = append(drop, "DROP POLICY "+ident(p.name)+" ON "+g.sql()+";")
			create = append(create, p.fix(&text, before))
		}
	}
	alter := "ALTER TABLE " + g.sql() + " ALTER COLUMN " + ident(g.column) + ` TYPE text COLLATE pg_catalog."default";`
	d.report(Finding{CodeTenantType, SeverityError, "column " + g.String() + "." + g.column,
		"its type or collation takes two ids for the same, or is none that an id converts to: text, varchar, uuid or an integer of a deterministic collation can be trusted",
		strings.Join(slices.Concat(drop, []string{alter}, create), " ")})
	return nil
}

// checkKind reports relations whose rows are reached by another name, past the policies.
func (d *doctor) checkKind(ctx context.Context, g *guarded) error {
	if g.Kind != "r" {
		d.report(Finding{CodeTableKind, SeverityError, "relation " + g.String(),
			"it is no ordinary table: policies do not reach the partitions of a table, nor what is behind a view or a foreign table",
			"-- make it an ordinary table, then Protect"})
		return nil
	}
	if !g.Inherits {
		return nil
	}
	type heir struct {
		OID             int64
		Name, Statement string
		Other           string
	}
	list, err := readRows[heir](ctx, d.tx, `
		SELECT CASE c.oid WHEN $1::bigint::oid THEN i.inhparent ELSE c.oid END::bigint AS "OID", CASE c.oid WHEN $1::bigint::oid THEN i.inhparent ELSE c.oid END::regclass AS "Other", format('%s.%s', n.nspname, c.relname) AS "Name", CASE WHEN c.relispartition
			THEN format('ALTER TABLE %s DETACH PARTITION %s;', i.inhparent::regclass, i.inhrelid::regclass)
			ELSE format('ALTER TABLE %s NO INHERIT %s;', i.inhrelid::regclass, i.inhparent::regclass) END AS "Statement"
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_class p ON p.oid = i.inhparent
		WHERE $1::bigint::oid IN (i.inhrelid, i.inhparent) ORDER BY 1`, g.OID)
	for _, h := range list {
		open, err := d.openTo(ctx, h.OID)
		if err != nil {
			return err
		}
		if len(open) > 0 && d.set.byOID(h.OID) == nil { // by itself it is a table that nobody protects
			h.Statement += " REVOKE ALL ON " + h.Other + " FROM " + grantees(open) + " CASCADE;"
		}
		d.report(Finding{CodeTableKind, SeverityError, "table " + h.Name,
			"it inherits, or is inherited from, by a table of the app's: the policies of the one do not bind whoever names the other", h.Statement})
	}
	return err
}

// openTo returns the roles through which the app has a privilege on a relation, PUBLIC
// among them.
func (d *doctor) openTo(ctx context.Context, oid int64) ([]string, error) {
	return queryStrings(ctx, d.tx, `SELECT DISTINCT coalesce(g.rolname, '`+public+`')::text FROM pg_catalog.pg_class c
		CROSS JOIN LATERAL (SELECT x.grantee FROM pg_catalog.aclexplode(c.relacl) x
			UNION SELECT x.grantee FROM pg_catalog.pg_attribute a, pg_catalog.aclexplode(a.attacl) x WHERE a.attrelid = c.oid AND NOT a.attisdropped) acl
		LEFT JOIN pg_catalog.pg_roles g ON g.oid = acl.grantee
		WHERE c.oid = $1::bigint::oid AND acl.grantee <> c.relowner
			AND (acl.grantee = 0 OR CASE WHEN $2::text <> '' THEN pg_catalog.pg_has_role($2::text::name, g.oid, 'MEMBER') END) ORDER BY 1`, oid, d.app)
}
