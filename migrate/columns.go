package migrate

import (
	"context"
	"database/sql"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// contractColumn is a column of the two tables as every program that shares them
// has to have it.
type contractColumn struct {
	table, name string
	kind        string // the type, as the catalogue writes it
	null        bool
	def         string // the default of tables that we create, as the catalogue writes it
	// add is what ADD COLUMN says after the type. Where it is empty and the column not
	// nullable, no value would be true of the rows that are there.
	add string
	// free means that our SQL does not touch the column, so that it may have any type
	// that the app's models can live with.
	free bool
}

const (
	kindText      = "text"
	kindBool      = "boolean"
	kindUUID      = "uuid"
	kindJSON      = "jsonb"
	kindTime      = "timestamp with time zone"
	kindLocalTime = "timestamp without time zone"
)

// contract lists the columns in their order. Those of tenants that have to be set take
// a default that is constant or stable, so that PostgreSQL keeps it in the catalogue and
// leaves the rows alone; clock_timestamp() of audit_logs would write every row again.
var contract = []contractColumn{
	{table: models.TenantsTable, name: "id", kind: kindText},
	{table: models.TenantsTable, name: "name", kind: kindText, free: true},
	{table: models.TenantsTable, name: "slug", kind: kindText},
	{table: models.TenantsTable, name: "domain", kind: kindText, null: true},
	{table: models.TenantsTable, name: "logo", kind: kindText, null: true, free: true},
	{table: models.TenantsTable, name: "is_active", kind: kindBool, def: "true", add: "NOT NULL DEFAULT true"},
	{table: models.TenantsTable, name: "plan", kind: kindText, def: "'free'", add: "NOT NULL DEFAULT 'free'", free: true},
	{table: models.TenantsTable, name: "created_at", kind: kindTime, def: "now()", add: "NOT NULL DEFAULT now()"},
	{table: models.TenantsTable, name: "updated_at", kind: kindTime, def: "now()", add: "NOT NULL DEFAULT now()"},
	{table: models.AuditLogsTable, name: "id", kind: kindUUID, def: "gen_random_uuid()"},
	{table: models.AuditLogsTable, name: "actor_id", kind: kindText, null: true},
	{table: models.AuditLogsTable, name: "tenant_id", kind: kindText, null: true},
	{table: models.AuditLogsTable, name: "action", kind: kindText},
	{table: models.AuditLogsTable, name: "resource_type", kind: kindText},
	{table: models.AuditLogsTable, name: "resource_id", kind: kindText, null: true},
	{table: models.AuditLogsTable, name: "ip_address", kind: kindText, null: true},
	{table: models.AuditLogsTable, name: "metadata", kind: kindJSON, null: true},
	{table: models.AuditLogsTable, name: "created_at", kind: kindTime, def: "clock_timestamp()"},
}

func contractOf(table string) (list []contractColumn) {
	for _, c := range contract {
		if c.table == table {
			list = append(list, c)
		}
	}
	return list
}

func (c contractColumn) String() string { return c.table + "." + c.name }

func (c contractColumn) addable() bool { return c.null || c.add != "" }

// sql is the part of ALTER TABLE that adds the column.
func (c contractColumn) sql() string {
	return strings.TrimSpace(`ADD COLUMN ` + c.name + ` ` + c.kind + ` ` + c.add)
}

// liveColumn is a column as a table has it.
type liveColumn struct {
	Name    string `json:"name"`
	Type    string `json:"type"`  // with its length or precision, or the domain's name
	Base    string `json:"base"`  // the type under that, without
	Plain   bool   `json:"plain"` // it is no domain
	NotNull bool   `json:"notnull"`
	Default string `json:"default"`
	// Filled means that the database gives a value where an INSERT gives none, and
	// Fixed that it takes no other.
	Filled bool `json:"filled"`
	Fixed  bool `json:"fixed"`
	// Texts means that text goes into the column and comes out of it without a cast.
	Texts bool `json:"texts"`
}

// byName is the oid of a table along the search_path.
const byName = `to_regclass(quote_ident($1))`

// readColumns reads a table's columns in order, none if there is no table.
func readColumns(ctx context.Context, s session, table string) ([]liveColumn, error) {
	return readColumnsOf(ctx, s, byName, table)
}

// readColumnsOf is readColumns of the oid that is an expression of what.
func readColumnsOf(ctx context.Context, s session, oid string, what any) ([]liveColumn, error) {
	return readRows[liveColumn](ctx, s, `
		WITH RECURSIVE bases (attnum, oid) AS (
			SELECT attnum, atttypid FROM pg_catalog.pg_attribute
				WHERE attrelid = `+oid+` AND attnum > 0 AND NOT attisdropped
			UNION ALL SELECT b.attnum, t.typbasetype FROM bases b JOIN pg_catalog.pg_type t ON t.oid = b.oid WHERE t.typtype = 'd')
		SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type, format_type(b.oid, NULL) AS base, t.typtype <> 'd' AS plain,
			a.attnotnull AS notnull, coalesce(pg_get_expr(d.adbin, d.adrelid), '') AS default,
			a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL AS filled,
			a.attgenerated <> '' OR a.attidentity = 'a' AS fixed,
			b.oid = 'text'::regtype OR EXISTS (SELECT FROM pg_catalog.pg_cast
					WHERE castsource = b.oid AND casttarget = 'text'::regtype AND castcontext = 'i')
				AND EXISTS (SELECT FROM pg_catalog.pg_cast
					WHERE castsource = 'text'::regtype AND casttarget = b.oid AND castcontext IN ('a', 'i')) AS texts
		FROM pg_catalog.pg_attribute a
		JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		JOIN bases b ON b.attnum = a.attnum
		JOIN pg_catalog.pg_type bt ON bt.oid = b.oid AND bt.typtype <> 'd'
		LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = `+oid+` AND a.attnum > 0 AND NOT a.attisdropped
		ORDER BY a.attnum`, what)
}

func findColumn(list []liveColumn, name string) *liveColumn {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// fits says whether our SQL works with a column of that type.
func (c contractColumn) fits(live *liveColumn) bool {
	switch {
	case c.free || live.Base == c.kind:
		return true
	case c.kind == kindText:
		return live.Texts
	case c.kind == kindTime:
		return live.Base == kindLocalTime
	case c.kind == kindJSON:
		return live.Base == "json"
	}
	return false
}

// missingColumns returns those that Up may add to a table that exists. Others that it
// lacks, and types that our SQL cannot work with, are a [TableError].
func missingColumns(ctx context.Context, s session, t table) (missing []contractColumn, err error) {
	live, err := readColumns(ctx, s, t.name)
	if err != nil {
		return nil, err
	}
	refused := &TableError{Table: t.name}
	for _, c := range contractOf(t.name) {
		has := findColumn(live, c.name)
		switch {
		case has == nil && c.addable():
			missing = append(missing, c)
		case has == nil:
			refused.Missing = append(refused.Missing, c.name)
		case !c.fits(has):
			refused.Unfit = append(refused.Unfit, c.typeDifference(has))
		}
	}
	if len(refused.Missing)+len(refused.Unfit) > 0 {
		return nil, refused
	}
	return missing, nil
}

// addColumnsSQL adds the columns of one table, under one short lock.
func addColumnsSQL(list []contractColumn) string {
	parts := make([]string, len(list))
	for i, c := range list {
		parts[i] = c.sql()
	}
	return `ALTER TABLE ` + list[0].table + ` ` + strings.Join(parts, ", ")
}

// addColumns adds the missing columns of one table in one transaction. Such a column is
// a line in the catalogue: no row is touched, and none is written again.
func (r *upRun) addColumns(ctx context.Context, conn *sql.Conn, list []contractColumn) error {
	err := r.cfg.briefly(ctx, conn, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, addColumnsSQL(list))
		return err
	})
	if err != nil {
		return err
	}
	for _, c := range list {
		r.done.Added = append(r.done.Added, c.String())
	}
	return nil
}
