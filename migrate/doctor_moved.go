package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/courtroll/courtroll/models"
)

// CodeTableMoved is a table that lies in another schema than what we made for it.
const CodeTableMoved Code = "table-moved"

// findMoved finds tables that were moved to another schema since our functions were made
// for them. That is one finding, and not one for each function and trigger that is not
// beside its table, so the rest is examined as if it still lay there.
func (d *doctor) findMoved(ctx context.Context) error {
	tables := slices.Clone(d.set.list)
	for _, t := range d.modeled {
		tables = append(tables, t.guarded)
	}
	homes := map[int64]string{}
	for _, g := range tables {
		home, known := homes[g.OID]
		if !known {
			list, err := d.homeOf(ctx, g)
			if err != nil {
				return err
			}
			if len(list) == 1 && list[0] != g.Schema {
				home = list[0]
				d.reportMoved(g, home)
			}
			homes[g.OID] = home
		}
		if home != "" {
			g.Schema = home
		}
	}
	return nil
}

// homeOf returns the schemas of what we made for a table: what its triggers call, or the
// functions that go by tenants, if they are all in one.
func (d *doctor) homeOf(ctx context.Context, g *guarded) ([]string, error) {
	if g.class == register {
		return queryStrings(ctx, d.tx, `SELECT n.nspname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			WHERE p.proname = ANY ($1::text[]) GROUP BY 1 HAVING count(DISTINCT p.proname) = 3`, []string{models.ResolveFunction, models.RecordFunction, models.AdmitFunction})
	}
	return queryStrings(ctx, d.tx, `SELECT DISTINCT n.nspname::text FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE t.tgrelid = $1::bigint::oid AND t.tgname = ANY ($2::text[]) AND p.proname = ANY ($3::text[])`,
		g.OID, ourTriggerNames(), []string{guardFunction, clockFunction, captureName(g.Name)})
}

func (d *doctor) reportMoved(g *guarded, home string) {
	severity := SeverityWarning
	if g.class != owned {
		severity = SeverityError
	}
	d.report(Finding{CodeTableMoved, severity, "table " + g.String(),
		fmt.Sprintf("it was moved out of schema %s, where the functions are that were made for it: they, and whoever has no other search_path, do not find it", home),
		"ALTER TABLE " + g.sql() + " SET SCHEMA " + ident(home) + ";"})
}
