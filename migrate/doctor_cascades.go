package migrate

import (
	"context"
	"fmt"
	"regexp"
	"strings"
)

// Foreign keys that change rows.
const (
	CodeCascadeUncaptured Code = "cascade-uncaptured" // it changes an audited table and leaves no entry
	CodeCascadeAcross     Code = "cascade-across-tenants"
)

// excluding is the audit plugin: it says which tables it leaves alone.
type excluding interface {
	Excludes(schema, table string) bool
}

// isAudited reports whether the app means the table to be audited. With the tenancy
// plugin alone it audits none, and a handle without plugins says nothing, so all are.
func (d *doctor) isAudited(g *guarded) bool {
	if p, ok := d.plugins[pluginPrefix+"audit"].(excluding); ok {
		return !p.Excludes(g.Schema, g.Name)
	}
	return d.plugins[pluginPrefix+"tenancy"] == nil
}

// cascade is a foreign key that changes the rows that refer.
type cascade struct {
	Name       string
	To         string
	Action     string
	Definition string
	Comment    string
	Across     bool // the app can set it off, and it is not confined
}

// cascadesSQL reads those of a table. Across is one whose other table row-level security
// does not keep apart, and of which the app may delete rows, or change the key.
const cascadesSQL = `
	SELECT o.conname AS "Name", o.confrelid::regclass AS "To", pg_get_constraintdef(o.oid) AS "Definition", coalesce(obj_description(o.oid, 'pg_constraint'), '') AS "Comment",
		concat_ws(' and ', CASE WHEN o.confdeltype IN ('c', 'n', 'd') THEN 'deleted' END, CASE WHEN o.confupdtype IN ('c', 'n', 'd') THEN 'given another key' END) AS "Action",
		NOT o.confrelid = ANY ($2::bigint[]::oid[]) AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = o.confrelid AND a.attname = $4 AND NOT a.attisdropped)
			AND CASE WHEN $3::text = '' THEN false ELSE o.confdeltype IN ('c', 'n', 'd') AND has_table_privilege($3::text::name, o.confrelid, 'DELETE')
				OR o.confupdtype IN ('c', 'n', 'd') AND EXISTS (SELECT FROM unnest(o.confkey) k (num) WHERE has_column_privilege($3::text::name, o.confrelid, k.num, 'UPDATE')) END AS "Across"
	FROM pg_constraint o
	WHERE o.conrelid = $1::bigint::oid AND o.contype = 'f' AND o.conparentid = 0 AND (o.confdeltype IN ('c', 'n', 'd') OR o.confupdtype IN ('c', 'n', 'd'))
		AND coalesce((to_jsonb(o) ->> 'conenforced')::boolean, true)
	ORDER BY 1`

// checkCascades looks at keys by which rows change in silence: without an entry, or in
// every tenant at once, for what a foreign key does it does as the table's owner, past
// all policies.
func (d *doctor) checkCascades(ctx context.Context) error {
	for _, t := range d.modeled {
		list, err := readRows[cascade](ctx, d.tx, cascadesSQL, t.OID, d.set.oids(), d.app, d.column)
		if err != nil {
			return err
		}
		var by []string
		for _, c := range list {
			if c.Across && d.set.byOID(t.OID) != nil {
				d.report(c.across(t.guarded))
			} else {
				by = append(by, fmt.Sprintf("%s when rows of %s are %s", c.Name, c.To, c.Action))
			}
		}
		if len(by) == 0 || t.found || !d.isAudited(t.guarded) {
			continue
		}
		fix, err := d.captureSQL(ctx, t)
		if err != nil {
			return err
		}
		d.report(Finding{CodeCascadeUncaptured, SeverityError, "table " + t.String(),
			"foreign keys change or delete its rows, and no trigger captures it, so that they leave no entry: " + strings.Join(by, ", "), fix})
	}
	return nil
}

// captureSQL is that of CaptureByTrigger, with a row's columns by their names where no
// model is known.
func (d *doctor) captureSQL(ctx context.Context, t *audited) (string, error) {
	virtual, err := d.virtualOf(ctx, t)
	if err != nil {
		return "", err
	}
	t.virtual = virtual
	f, err := d.captureFunction(t, nil)
	if err != nil {
		return "", err
	}
	text, err := d.remake(ctx, f)
	if err != nil {
		return "", err
	}
	list := []string{text, f.close()}
	for _, member := range t.members {
		for _, want := range captureTriggers {
			list = append(list, want.sql(member, ident(f.schema, f.name)))
		}
	}
	return texts(list...), nil
}

// keyActions are what a foreign key's definition says that it does.
var keyActions = regexp.MustCompile(` ON (UPDATE|DELETE) (CASCADE|SET NULL|SET DEFAULT)( \([^)]*\))?`)

// across makes the key anew while the owner sees every row, for the check of the rows
// that are there is else filtered.
func (c cascade) across(g *guarded) Finding {
	list := []string{fmt.Sprintf(`ALTER TABLE %[1]s DROP CONSTRAINT %[2]s, ADD CONSTRAINT %[2]s %[3]s`, g.sql(), ident(c.Name), keyActions.ReplaceAllString(c.Definition, ""))}
	if g.Forced {
		list = []string{`ALTER TABLE ` + g.sql() + ` NO FORCE ROW LEVEL SECURITY`, list[0], `ALTER TABLE ` + g.sql() + ` FORCE ROW LEVEL SECURITY`}
	}
	if c.Comment != "" {
		list = append(list, `COMMENT ON CONSTRAINT `+ident(c.Name)+` ON `+g.sql()+` IS `+literal(c.Comment))
	}
	return Finding{CodeCascadeAcross, SeverityError, "constraint " + g.String() + "." + c.Name,
		fmt.Sprintf("rows of every tenant change when rows of %s are %s, which any tenant may do: row-level security does not bind what a foreign key does", c.To, c.Action), texts(list...)}
}
