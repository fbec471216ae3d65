package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// table is a tenant-owned table of the database, with the model that stands for it.
type table struct {
	relation
	schema *schema.Schema
	owned  plan.Table
}

// model returns a new value of the table's model.
func (t *table) model() any { return reflect.New(t.schema.ModelType).Interface() }

// sql is the table's name as GORM writes it where it makes statements of the model.
func (t *table) sql() string { return quote(strings.Split(t.schema.Table, ".")...) }

func quote(names ...string) string { return pgx.Identifier(names).Sanitize() }

// relation is what the catalogue says of a table.
type relation struct {
	OID  int64    `json:"oid"`
	Name string   `json:"name"` // with its schema
	Keys []string `json:"keys"` // of the primary key
	Kind string   `json:"kind"` // pg_class.relkind
}

// inventory is all that the tenants of an app have, tenants and audit_logs apart.
type inventory struct {
	tables []*table // in the order of their names
	links  []link   // among them
	outer  []link   // among them and tenants, by which one tenant's rows can refer to another's
	// register is the table tenants.
	register *table
}

// take finds the tenant-owned tables of the models, and fails where the catalogue has
// others.
func take(ctx context.Context, db *gorm.DB, plugin *tenancy.Plugin, given []any) (*inventory, error) {
	rules := plugin.Rules()
	rules.Models = slices.Concat(rules.Models, given)
	registry, err := plan.NewRegistry(db, rules)
	if err != nil {
		return nil, err
	}
	owned, err := ownedBy(db, registry, rules.Models)
	if err != nil {
		return nil, err
	}
	c := catalogue{ctx: tenancy.WithTenant(ctx, ""), pool: db.Statement.ConnPool, column: registry.Column()}
	v := &inventory{}
	if v.tables, err = c.locate(owned); err != nil {
		return nil, err
	}
	if err := c.checkForgotten(v.tables); err != nil {
		return nil, err
	}
	if v.register, err = c.registerOf(db, registry); err != nil {
		return nil, err
	}
	return v, v.link(c)
}

// ownedBy returns the tenant-owned tables of models, and of those that they refer to.
func ownedBy(db *gorm.DB, registry *plan.Registry, given []any) (map[string]*table, error) {
	owned, seen := map[string]*table{}, map[*schema.Schema]bool{}
	var visit func(s *schema.Schema)
	visit = func(s *schema.Schema) {
		if s == nil || seen[s] {
			return
		}
		seen[s] = true
		known, _ := registry.Lookup(s.Table)
		if known.Class == plan.Owned && s.FieldsByDBName[known.Column] != nil && known.Name != models.TenantsTable {
			owned[s.Table] = &table{schema: s, owned: known}
		}
		for _, r := range plan.Relations(s) {
			visit(r.FieldSchema)
			visit(r.JoinTable)
		}
	}
	for _, model := range given {
		s, err := plan.Parse(db, model)
		if err != nil {
			return nil, err
		}
		visit(s)
	}
	return owned, nil
}

// catalogue reads what any login may: it needs no tenant.
type catalogue struct {
	ctx    context.Context //nolint:containedctx // of the call, without a tenant
	pool   gorm.ConnPool
	column string
}

// read returns the rows of a query, which gives them as one JSON array.
func read[T any](c catalogue, query string, args ...any) (list []T, err error) {
	var text string
	if err := stmtpool.ScanRow(c.ctx, c.pool, &text, `SELECT coalesce(json_agg(x), '[]')::text FROM (`+query+`) x`, args...); err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	return list, json.Unmarshal([]byte(text), &list)
}

const relationSQL = `SELECT c.oid::bigint AS oid, n.nspname || '.' || c.relname AS name, c.relkind AS kind,
		coalesce((SELECT json_agg(a.attname ORDER BY array_position(i.indkey::int2[], a.attnum)) FROM pg_catalog.pg_index i
			JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary), '[]') AS keys
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE `

// locate finds each model's table: one where several models stand for it, and none of
// what belongs to another one of the tables ([catalogue.distinct]).
func (c catalogue) locate(owned map[string]*table) (tables []*table, err error) {
	var missing []string
	views := map[string]*table{}
	for _, name := range slices.Sorted(maps.Keys(owned)) {
		t := owned[name]
		found, err := read[relation](c, relationSQL+`c.oid = to_regclass($1)`, t.sql())
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0:
			missing = append(missing, name)
			continue
		}
		t.relation = found[0]
		if t.Kind == "v" || t.Kind == "m" {
			views[t.Name] = t
		} else if !slices.ContainsFunc(tables, func(other *table) bool { return other.OID == t.OID }) {
			tables = append(tables, t)
		}
	}
	if err := faultOf(missing, ErrNoTable); err != nil {
		return nil, err
	}
	if tables, err = c.distinct(tables); err != nil {
		return nil, err
	}
	return tables, c.checkViews(views, tables)
}

// checkForgotten looks for tables with the tenant column in all schemas, whoever owns
// them.
func (c catalogue) checkForgotten(tables []*table) error {
	all, err := read[relation](c, relationSQL+`c.relkind IN ('r', 'p', 'f', 'm') AND NOT c.relispartition
		AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.oid IS DISTINCT FROM to_regclass($2)
		AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attname = $1 AND a.attnum > 0 AND NOT a.attisdropped)
		ORDER BY 2`, c.column, models.AuditLogsTable)
	if err != nil {
		return err
	}
	var forgotten []string
	for _, r := range all {
		if !slices.ContainsFunc(tables, func(t *table) bool { return t.OID == r.OID }) {
			forgotten = append(forgotten, r.Name)
		}
	}
	return faultOf(forgotten, ErrForgotten)
}
