package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// The codes of indexes, and of what fills the tenant column.
const (
	CodeUniqueNoTenant     Code = "unique-without-tenant"
	CodeExclusionNoTenant  Code = "exclusion-without-tenant"
	CodeTenantIndexMissing Code = "tenant-index-missing"  // none begins with the tenant
	CodeTenantDefault      Code = "tenant-column-default" // a row without a tenant becomes somebody's
)

// checkIndexes looks for indexes that span tenants, and for one that finds a tenant's rows.
func (d *doctor) checkIndexes(ctx context.Context) error {
	for _, g := range d.set.owned() {
		if g.Kind != "r" {
			continue
		}
		have, err := d.readIndexes(ctx, g)
		if err != nil {
			return err
		}
		for _, u := range have {
			d.checkPrimary(g, u)
			if u.Unique && !u.Primary && !slices.Contains(u.Columns, g.column) {
				if err := d.reportUnique(ctx, u); err != nil {
					return err
				}
			}
		}
		if err := d.checkLeading(ctx, g, have); err != nil {
			return err
		}
		if err := d.checkExclusions(ctx, g); err != nil {
			return err
		}
	}
	return d.checkTenantDefaults(ctx)
}

// reportUnique reports a unique index without the tenant. Its fix is what Protect does.
func (d *doctor) reportUnique(ctx context.Context, u *unique) error {
	object := "index " + u.table.Schema + "." + u.Name
	if u.Constraint != "" {
		object = "constraint " + u.table.String() + "." + u.Constraint
	}
	why := "it is unique across tenants: a value that one tenant has is refused to the others, who so learn of it. The fix leaves it unique within a tenant"
	if u.Constraint != "" && len(u.Columns) == 1 && d.taggedUnique(u.table, u.Columns[0]) {
		why += fmt.Sprintf(". AutoMigrate brings it back for the model's tag unique of %s: use uniqueIndex", u.Columns[0])
	}
	fix, err := d.uniqueFix(ctx, u)
	d.report(Finding{CodeUniqueNoTenant, SeverityError, object, why, fix})
	return err
}

// gistExtension lets GiST compare tenants.
const gistExtension = `CREATE EXTENSION IF NOT EXISTS btree_gist; `

// uniqueFix does not touch the foreign keys between the app's tables that stand on the
// index: each is a finding, and stands on another once it is fixed, which sorts first.
func (d *doctor) uniqueFix(ctx context.Context, u *unique) (string, error) {
	users, err := queryStrings(ctx, d.tx, `SELECT format('%s of %s', conname, conrelid::regclass) FROM pg_constraint
		WHERE contype = 'f' AND conindid = $1::bigint::oid AND conrelid <> ALL ($2::bigint[]::oid[]) ORDER BY 1`, u.OID, oidsOf(d.set.owned()))
	switch {
	case err != nil:
		return "", err
	case len(users) > 0:
		return "-- the foreign key " + users[0] + " refers to it: have that refer to the primary key, or Protect that table, too", nil
	case u.Method != "btree": // WITHOUT OVERLAPS
		definition := strings.Replace(u.ConDef, "(", "("+ident(u.table.column)+", ", 1)
		return gistExtension + d.remadeConstraint(u.table, u.Constraint, definition, u.ConComment), nil
	case !strings.HasPrefix(u.Definition, u.Prefix):
		return "-- drop it, and make it anew with the tenant column in front", nil
	}
	return d.drafted(func(r *protectRun) error {
		if err := r.scopeUnique(ctx, u); err != nil || !u.Replica {
			return err
		}
		return r.exec(ctx, `ALTER TABLE %s REPLICA IDENTITY USING INDEX %s`, u.table.sql(), ident(u.Name))
	})
}

// remadeConstraint puts a definition in the place of a constraint's.
func (d *doctor) remadeConstraint(g *guarded, name, definition, comment string) string {
	text := fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s, ADD CONSTRAINT %[2]s %s;", g.sql(), ident(name), definition)
	if comment != "" {
		text += fmt.Sprintf(" COMMENT ON CONSTRAINT %s ON %s IS %s;", ident(name), g.sql(), literal(comment))
	}
	return text
}

// checkLeading leaves out a table whose index is only not valid, or lacks a key, which
// would be one: these are findings of their own.
func (d *doctor) checkLeading(ctx context.Context, g *guarded, have []*unique) error {
	if slices.ContainsFunc(d.findings, func(f Finding) bool { return f.Code == CodeCompositeKeyMissing && f.Object == "table "+g.String() }) {
		return nil
	}
	for _, u := range have {
		if valid := *u; !u.Valid {
			valid.Valid = true
			u = &valid
		}
		if u.leads(g.column) {
			return nil
		}
	}
	name := objectName("tenant", g.Name)
	taken, err := queryStrings(ctx, d.tx, `SELECT 'taken' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2`, g.Schema, name)
	if err != nil {
		return err
	}
	if name = ident(name) + " "; len(taken) > 0 {
		name = "" // the server finds one
	}
	d.report(Finding{CodeTenantIndexMissing, SeverityWarning, "table " + g.String(),
		"no index begins with the tenant column: whatever a tenant asks for, the rows of all tenants are read, and how long it takes tells of them",
		fmt.Sprintf("CREATE INDEX CONCURRENTLY %sON %s (%s);", name, g.sql(), ident(g.column))})
	return nil
}

// exclusion is an exclusion constraint.
type exclusion struct {
	Name       string `json:"name"`
	Definition string `json:"definition"`
	Comment    string `json:"comment"`
	HasTenant  bool   `json:"hastenant"`
	Scoped     bool   `json:"scoped"`    // the tenant is compared for equality
	Extension  bool   `json:"extension"` // GiST needs one for the tenant's type
}

func (d *doctor) checkExclusions(ctx context.Context, g *guarded) error {
	list, err := readRows[exclusion](ctx, d.tx, `
		SELECT o.conname AS name, pg_get_constraintdef(o.oid) AS definition, coalesce(obj_description(o.oid, 'pg_constraint'), '') AS comment,
			$2::int = ANY (o.conkey) AS hastenant,
			EXISTS (SELECT FROM unnest(o.conkey, o.conexclop) k (num, op) JOIN pg_operator p ON p.oid = k.op WHERE k.num = $2 AND p.oprname = '=') AS scoped,
			NOT EXISTS (SELECT FROM pg_opclass p JOIN pg_am m ON m.oid = p.opcmethod AND m.amname = 'gist' WHERE p.opcintype =
				(SELECT CASE atttypid WHEN 'varchar'::regtype THEN 'text'::regtype ELSE atttypid END FROM pg_attribute WHERE attrelid = o.conrelid AND attnum = $2)) AS extension
		FROM pg_constraint o WHERE o.contype = 'x' AND o.conrelid = $1::bigint::oid ORDER BY 1`, g.OID, g.Attnum)
	for _, x := range list {
		if !x.Scoped {
			d.report(Finding{CodeExclusionNoTenant, SeverityError, "constraint " + g.String() + "." + x.Name,
				"it compares rows of different tenants: a row of one tenant keeps another from writing his, who so learns of it. The fix compares those of a tenant", d.exclusionFix(g, x)})
		}
	}
	return err
}

// exclusionFix takes another access method where that of the constraint has no second
// column. Of one that compares tenants by another operator nothing is left.
func (d *doctor) exclusionFix(g *guarded, x exclusion) string {
	if x.HasTenant {
		return fmt.Sprintf("ALTER TABLE %s DROP CONSTRAINT %s;", g.sql(), ident(x.Name))
	}
	definition := strings.Replace(x.Definition, "EXCLUDE USING hash (", "EXCLUDE USING btree (", 1)
	definition = strings.Replace(definition, "EXCLUDE USING spgist (", "EXCLUDE USING gist (", 1)
	definition = strings.Replace(definition, " (", " ("+ident(g.column)+" WITH =, ", 1)
	text := d.remadeConstraint(g, x.Name, definition, x.Comment)
	if x.Extension && strings.HasPrefix(definition, "EXCLUDE USING gist") {
		text = gistExtension + text
	}
	return text
}

// filling is what the server puts into a tenant column that a statement leaves out.
type filling struct {
	Expression string `json:"expression"`
	Identity   bool   `json:"identity"`
	// Reads is a function that reads the session's tenant.
	Reads bool `json:"reads"`
	// Unchecked is a NOT NULL that was not checked, of PostgreSQL 18.
	Unchecked string `json:"unchecked"`
}

// fillsMine is a default that is the session's tenant, or none, as [spelled] leaves it.
var fillsMine = regexp.MustCompile(`^(select)?(nullif|coalesce)?current_setting'` + regexp.QuoteMeta(models.TenantSetting) + `'(,true)?(,'')?(::\w+)?$`)

// checkTenantDefaults looks at the tenant columns' defaults.
func (d *doctor) checkTenantDefaults(ctx context.Context) error {
	for _, g := range d.set.list {
		if g.class == register || g.Kind != "r" {
			continue
		}
		list, err := readRows[filling](ctx, d.tx, `
			SELECT coalesce(pg_get_expr(f.adbin, f.adrelid), '') AS expression, a.attidentity <> '' AS identity,
				EXISTS (SELECT FROM pg_depend e JOIN pg_proc p ON p.oid = e.refobjid WHERE e.classid = 'pg_attrdef'::regclass AND e.objid = f.oid
					AND e.refclassid = 'pg_proc'::regclass AND pg_get_functiondef(p.oid) LIKE '%`+models.TenantSetting+`%') AS reads,
				coalesce((SELECT o.conname FROM pg_constraint o WHERE o.conrelid = a.attrelid AND o.contype = 'n' AND o.conkey = ARRAY[a.attnum] AND NOT o.convalidated), '') AS unchecked
			FROM pg_attribute a LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
			WHERE a.attrelid = $1::bigint::oid AND a.attnum = $2 AND a.attgenerated = ''`, g.OID, g.Attnum)
		if err != nil {
			return err
		}
		for _, f := range list {
			d.reportFilling(g, f)
		}
	}
	return nil
}

func (d *doctor) reportFilling(g *guarded, f filling) {
	object, alter := "column "+g.String()+"."+g.column, "ALTER TABLE "+g.sql()+" ALTER COLUMN "+ident(g.column)
	if fills := f.Identity || f.Expression != "" && !f.Reads && !fillsMine.MatchString(spelled(f.Expression)); fills {
		fix := alter + " DROP DEFAULT;"
		if f.Identity {
			fix = alter + " DROP IDENTITY;"
		}
		d.report(Finding{CodeTenantDefault, SeverityWarning, object,
			"its default is not the session's tenant: a row that is written without a tenant, by who sees all of them, becomes somebody's instead of failing", fix})
	}
	if f.Unchecked != "" && g.class == owned {
		d.report(Finding{CodeTenantNull, SeverityError, object, "its NOT NULL is NOT VALID: rows that were there before may have no tenant, and no foreign key confines such",
			"ALTER TABLE " + g.sql() + " VALIDATE CONSTRAINT " + ident(f.Unchecked) + ";"})
	}
}
