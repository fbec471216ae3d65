package tenancy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
)

// Verify compares the models and the database with what the plugin on db knows,
// for an app to call when it starts, after its migrations. It takes the models
// that are not in Config.Models, and learns them. The error joins a
// [StatementError] for each fault, in the order of the tables' names:
//
//   - [ErrUnclassified] for a model, or the join table of a many2many, that is
//     neither tenant-owned nor shared; it names the tenant-owned table that the
//     model hangs on, if there is one;
//   - [ErrNoModel] for a table in the search path that has the tenant column, and
//     no model;
//   - [ErrNotExpected] for a tenant-owned table that row-level security confines,
//     without Config.RowLevelSecurity;
//   - [ErrTenantColumn] for a tenant-owned model whose table has no tenant column,
//     or one of another type, or one that takes two ids for the same (citext, char,
//     a nondeterministic collation), and for a shared table that has one.
//
// With Config.RowLevelSecurity it proves that the policies confine this login,
// table by table. It demands the restrictive policy of migrate's Protect, and does
// what a leak would: in a transaction that it rolls back it creates rows of made-up
// tenants and looks at them as others, which advances sequences and runs triggers.
// What was proven before is forgotten first. The faults are
//
//   - [ErrUnconfinedRole] for a login that row-level security does not bind;
//   - [ErrUnprotected] for a tenant-owned table that it does not confine.
//
// A model's table is the one that its name means in the search path, or in the
// schema that it names. A table that is not there is no fault. But for that proof
// Verify reads the
// catalogue alone. It needs no tenant in ctx. Where the plugin is not on db, the error is
// [ErrNotInstalled]; where its callbacks were displaced, [ErrDisplaced].
func Verify(ctx context.Context, db *gorm.DB, models ...any) error {
	p, ok := db.Plugins[PluginName].(*Plugin)
	if !ok {
		return ErrNotInstalled
	}
	schemas, err := p.parse(db, append(slices.Clone(p.config.Models), models...))
	if err != nil {
		return err
	}
	columns, err := p.tenantColumns(db.WithContext(context.WithValue(ctx, contextKey{}, scope{})), schemas)
	if err != nil {
		return err
	}
	faults := append(p.checkSchemas(schemas, columns), p.checkTables(columns)...)
	if p.config.RowLevelSecurity {
		unprotected, err := p.probeTables(ctx, db, columns)
		if err != nil {
			return err
		}
		faults = append(faults, unprotected...)
	}
	return joined(faults)
}

// parse returns the schemas of the models and of those that they refer to, by their tables.
func (p *Plugin) parse(db *gorm.DB, models []any) (map[string]*schema.Schema, error) {
	found := map[string]*schema.Schema{}
	var add func(s *schema.Schema)
	add = func(s *schema.Schema) {
		if s == nil || found[s.Table] != nil {
			return
		}
		found[s.Table] = s
		p.registry.Learn(s) // a join model of SetupJoinTable may be new
		for _, rel := range s.Relationships.Relations {
			add(rel.FieldSchema)
			add(rel.JoinTable)
		}
	}
	for _, model := range models {
		s, err := plan.Parse(db, model)
		if err != nil {
			return nil, fmt.Errorf("tenancy: %w", err)
		}
		add(s)
	}
	return found, nil
}

// column is a tenant column as the database has it.
type column struct {
	Schema  string
	Table   string
	Type    string // empty where the table has none
	Visible bool   // its name alone means it
	Active  bool   // row-level security binds this login
}

func (c column) qualified() string { return c.Schema + "." + c.Table }

// columns are tenant columns by the names that may be used for their tables.
type columns map[string]column

// of returns the column of a model's table.
func (c columns) of(s *schema.Schema) (column, bool) {
	in, exists := c[s.Table]
	return in, exists
}

// tenantColumns returns the tables that an unqualified name can mean, and those
// of models that name a schema, with the type of their tenant columns. A
// partition is part of its table.
func (p *Plugin) tenantColumns(db *gorm.DB, schemas map[string]*schema.Schema) (columns, error) {
	named := []string{""}
	for table := range schemas {
		if strings.Contains(table, ".") {
			named = append(named, table)
		}
	}
	var rows []column
	err := db.Raw(`SELECT n.nspname AS schema, c.relname AS "table", pg_catalog.pg_table_is_visible(c.oid) AS visible,
			pg_catalog.row_security_active(c.oid) AS active,
			CASE WHEN co.collisdeterministic IS FALSE THEN 'nondeterministic' ELSE coalesce(b.typname, t.typname, '') END AS type
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = ? AND NOT a.attisdropped
		LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
		LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
		WHERE c.relkind IN ('r', 'p', 'f') AND NOT c.relispartition AND (pg_catalog.pg_table_is_visible(c.oid) OR n.nspname || '.' || c.relname IN ?)
		AND c.relnamespace NOT IN ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)`,
		p.registry.Column(), named).Scan(&rows).Error
	found := columns{}
	for _, row := range rows {
		if row.Visible {
			found[row.Table] = row
		}
		if slices.Contains(named, row.qualified()) {
			found[row.qualified()] = row
		}
	}
	return found, err
}

func (p *Plugin) checkSchemas(schemas map[string]*schema.Schema, columns columns) []*StatementError {
	var faults []*StatementError
	for _, s := range schemas {
		name := plan.Unqualified(s.Table)
		table, _ := p.registry.Lookup(name)
		in, exists := columns.of(s)
		switch {
		case table.Class == plan.Unclassified:
			faults = append(faults, &StatementError{Table: name, Err: p.unclassified(s, schemas)})
		case table.Class == plan.Owned && table.Column == p.registry.Column() && exists && !table.Fits(in.Type):
			faults = append(faults, &StatementError{Table: name, Err: ErrTenantColumn})
		}
	}
	return faults
}

// unclassified says on which tenant-owned table a model hangs: it has a foreign
// key to it, or that one's model says that it has this one.
func (p *Plugin) unclassified(s *schema.Schema, schemas map[string]*schema.Schema) error {
	var parents []string
	note := func(parent *schema.Schema) {
		name := plan.Unqualified(parent.Table)
		if table, _ := p.registry.Lookup(name); table.Class == plan.Owned && !slices.Contains(parents, name) {
			parents = append(parents, name)
		}
	}
	for _, rel := range s.Relationships.Relations {
		if rel.Type == schema.BelongsTo {
			note(rel.FieldSchema)
		}
	}
	for _, parent := range schemas {
		for _, rel := range parent.Relationships.Relations {
			if rel.FieldSchema == s && (rel.Type == schema.HasOne || rel.Type == schema.HasMany) || rel.JoinTable == s {
				note(parent)
			}
		}
	}
	if len(parents) == 0 {
		return ErrUnclassified
	}
	slices.Sort(parents)
	return fmt.Errorf("hangs on tenant-owned %s: %w", strings.Join(parents, ", "), ErrUnclassified)
}

func (p *Plugin) checkTables(columns columns) []*StatementError {
	var faults []*StatementError
	for name, in := range columns {
		switch table, known := p.registry.Lookup(name); {
		case in.Active && !p.config.RowLevelSecurity && table.HasTenant():
			faults = append(faults, &StatementError{Table: name, Err: ErrNotExpected})
		case in.Type == "", name != in.Table: // the latter is a model's
		case !known:
			faults = append(faults, &StatementError{Table: name, Err: ErrNoModel})
		case table.Class == plan.Shared:
			faults = append(faults, &StatementError{Table: name, Err: ErrTenantColumn})
		}
	}
	return faults
}

func joined(faults []*StatementError) error {
	slices.SortFunc(faults, func(a, b *StatementError) int { return strings.Compare(a.Table, b.Table) })
	errs := make([]error, len(faults))
	for i, fault := range faults {
		errs[i] = fault
	}
	return errors.Join(errs...)
}
