package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// class says which of the three shapes of protection a table gets.
type class uint8

const (
	owned      class = iota // an app's table: a row is one tenant's
	auditTrail              // audit_logs: a row is one tenant's, or nobody's
	register                // tenants: a row is a tenant
)

// guarded is a table to protect, as the catalogue has it.
type guarded struct {
	OID           int64  `json:"oid"`
	Schema        string `json:"schema"`
	Name          string `json:"name"`
	Owner         string `json:"owner"`
	Kind          string `json:"kind"`
	Inherits      bool   `json:"inherits"`
	Secured       bool   `json:"secured"` // row-level security is enabled
	Forced        bool   `json:"forced"`
	Attnum        int    `json:"attnum"` // of the tenant column, 0 if there is none
	Type          string `json:"type"`
	NotNull       bool   `json:"notnull"`
	Deterministic bool   `json:"deterministic"`

	class  class
	column string // the one that says whose a row is
}

// fits reports whether the tenant column has a type that tells tenants apart.
func (g *guarded) fits() bool { return g.Deterministic && slices.Contains(tenantTypes, g.Type) }

// sql is the table's name as statements have it.
func (g *guarded) sql() string { return ident(g.Schema, g.Name) }

// String is the table's name as people read it.
func (g *guarded) String() string { return g.Schema + "." + g.Name }

func ident(parts ...string) string { return pgx.Identifier(parts).Sanitize() }

// idents quotes columns and joins them with commas.
func idents(columns ...string) string {
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = ident(c)
	}
	return strings.Join(quoted, ", ")
}

func literal(text string) string { return `'` + strings.ReplaceAll(text, `'`, `''`) + `'` }

// tableSet is what one run is about.
type tableSet struct {
	list    []*guarded // tenants, audit_logs, then the app's in the order given
	schemas []*schema.Schema
	byName  map[string]*guarded // by the name that the models have
}

func (s *tableSet) byOID(oid int64) *guarded {
	for _, t := range s.list {
		if t.OID == oid {
			return t
		}
	}
	return nil
}

// owned returns the app's tables.
func (s *tableSet) owned() []*guarded {
	return slices.DeleteFunc(slices.Clone(s.list), func(t *guarded) bool { return t.class != owned })
}

func (s *tableSet) oids() []int64 { return oidsOf(s.list) }

func oidsOf(list []*guarded) []int64 {
	oids := make([]int64, len(list))
	for i, t := range list {
		oids[i] = t.OID
	}
	return oids
}

// findTables fills the set, and refuses what cannot be protected.
func (r *protectRun) findTables(ctx context.Context, given []any) error {
	r.set = tableSet{byName: map[string]*guarded{}}
	for name, column := range map[string]string{models.TenantsTable: "id", models.AuditLogsTable: models.DefaultTenantColumn} {
		t, err := r.lookup(ctx, name, column)
		if err != nil {
			return err
		}
		if t == nil || t.Attnum == 0 {
			return &ProtectError{Table: name, Err: ErrNotUp}
		}
		t.class = register
		if name == models.AuditLogsTable {
			t.class = auditTrail
		}
		if err := r.add(name, t); err != nil {
			return err
		}
	}
	slices.SortFunc(r.set.list, func(a, b *guarded) int { return cmp.Compare(b.class, a.class) })
	return r.findModels(ctx, given)
}

func (r *protectRun) findModels(ctx context.Context, given []any) error {
	registry, err := plan.NewRegistry(r.db, r.cfg.Rules)
	if err != nil {
		return err
	}
	for _, model := range slices.Concat(given, r.cfg.Models) {
		s, err := plan.Parse(r.db, model)
		if err != nil {
			return err
		}
		registry.Learn(s)
		if err := r.findModel(ctx, registry, s, false); err != nil {
			return err
		}
		for _, rel := range sortedRelations(s) {
			if rel.JoinTable == nil {
				continue
			}
			if err := r.findModel(ctx, registry, rel.JoinTable, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// sortedRelations gives the relations an order, for a map has none.
func sortedRelations(s *schema.Schema) []*schema.Relationship {
	list := plan.Relations(s)
	slices.SortFunc(list, func(a, b *schema.Relationship) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Schema.Table, b.Schema.Table))
	})
	return list
}

// findModel adds a model's table. A join table came with a model and was not
// asked for, so one without the tenant column is no error.
func (r *protectRun) findModel(ctx context.Context, registry *plan.Registry, s *schema.Schema, joins bool) error {
	if !slices.Contains(r.set.schemas, s) {
		r.set.schemas = append(r.set.schemas, s)
	}
	if r.set.byName[s.Table] != nil {
		return nil
	}
	if known, _ := registry.Lookup(s.Table); known.Class == plan.Shared {
		return nil
	}
	t, err := r.lookup(ctx, s.Table, registry.Column())
	switch {
	case err != nil:
		return err
	case t == nil && joins:
		return nil
	case t == nil:
		return &ProtectError{Table: s.Table, Err: ErrNoTable}
	case r.set.byOID(t.OID) != nil:
		r.set.byName[s.Table] = r.set.byOID(t.OID)
		return nil
	case t.Attnum == 0 && joins:
		r.reportf("table "+t.String(), "a join table without the tenant column is not protected: give it a join model that has it")
		return nil
	case t.Attnum == 0:
		return &ProtectError{Table: t.String(), Err: ErrNotOwned}
	}
	return r.add(s.Table, t)
}

// tenantTypes are those of a tenant column, as in pg_type.
var tenantTypes = []string{"text", "varchar", "uuid", "int2", "int4", "int8"}

func (r *protectRun) add(name string, t *guarded) error {
	if t.Kind != "r" || t.Inherits {
		return &ProtectError{Table: t.String(), Err: ErrTableKind}
	}
	if !t.fits() {
		return &ProtectError{Table: t.String(), Object: t.column, Err: ErrTenantType}
	}
	r.set.list = append(r.set.list, t)
	r.set.byName[name] = t
	return nil
}

// lookup finds a table as a statement would, nil if there is none.
func (r *protectRun) lookup(ctx context.Context, table, column string) (*guarded, error) {
	home, name := plan.Split(table)
	quoted := ident(name)
	if home != "" {
		quoted = ident(home, name)
	}
	return r.lookupOID(ctx, `to_regclass($1)`, quoted, column)
}

// lookupOID is lookup of an expression of what.
func (r *protectRun) lookupOID(ctx context.Context, oid, what, column string) (*guarded, error) {
	found, err := readRows[guarded](ctx, r.tx, `
		SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner,
			c.relkind AS kind, c.relrowsecurity AS secured, c.relforcerowsecurity AS forced,
			c.relispartition OR EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE c.oid IN (i.inhparent, i.inhrelid)) AS inherits,
			coalesce(a.attnum, 0) AS attnum, coalesce(a.attnotnull, false) AS notnull,
			CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text ELSE '' END AS type,
			coalesce(co.collisdeterministic, true) AS deterministic
		FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
		LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
		WHERE c.oid = `+oid, what, column)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	found[0].column = column
	return &found[0], nil
}

// readRows reads each row of a query into a T, by the names of its columns.
func readRows[T any](ctx context.Context, s session, query string, args ...any) ([]T, error) {
	lines, err := queryStrings(ctx, s, `SELECT to_json(q)::text FROM (`+query+`) q`, args...)
	if err != nil {
		return nil, err
	}
	list := make([]T, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &list[i]); err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
	}
	return list, nil
}
