package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
)

// tenantType is the type of the tenant column.
type tenantType struct {
	name string // "varchar", as pg_type has it
	sql  string // "character varying(36)"
	max  int    // of its characters, 0 without a limit
}

// valid is the condition that a text is a tenant. NULL is none.
func (t tenantType) valid(value string) string {
	integer := func(bits uint) string {
		return fmt.Sprintf(`CASE WHEN %s ~ '^-?[0-9]{1,19}$' THEN %[1]s::numeric BETWEEN %[2]d AND %[3]d ELSE false END`,
			value, int64(-1)<<(bits-1), int64(1)<<(bits-1)-1)
	}
	switch t.name {
	case "uuid":
		return value + ` ~* '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'`
	case "int2":
		return integer(16)
	case "int4":
		return integer(32)
	case "int8":
		return integer(64)
	}
	if t.max > 0 {
		return fmt.Sprintf(`(%s ~ '[^[:space:]]' AND length(%[1]s) <= %d)`, value, t.max)
	}
	return value + ` ~ '[^[:space:]]'`
}

// tenantSource is where the tenant comes from, beside what the Adoption says.
type tenantSource struct {
	parent        *guarded
	cols, refCols []string // of the row, and of its parent
	path          string   // the search_path of SQL
}

// find reads all that could stop the run, before it changes anything.
func (r *adoptRun) find(ctx context.Context) error {
	if err := inTransaction(ctx, r.conn, func(tx *sql.Tx) error {
		return r.findNames(ctx, &protectRun{cfg: r.cfg, db: r.db, tx: tx})
	}); err != nil {
		return err
	}
	err := r.transact(ctx, func(p *protectRun) error {
		for _, check := range []func(context.Context, *protectRun) error{
			r.checkTable, r.findType, r.checkDefault, r.checkBlank, r.checkValues, r.findParent, r.checkReaders, r.checkRows, r.checkTriggers,
		} {
			if err := check(ctx, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && r.adoption.SQL != "" {
		return r.checkSQL(ctx)
	}
	return err
}

// findNames looks up what has a name in this login's search_path.
func (r *adoptRun) findNames(ctx context.Context, p *protectRun) (err error) {
	registry, err := plan.NewRegistry(r.db, r.cfg.Rules)
	if err != nil {
		return err
	}
	if r.table, err = p.lookup(ctx, r.model.Table, registry.Column()); err != nil {
		return err
	}
	if r.table == nil {
		return &ProtectError{Table: r.model.Table, Err: ErrNoTable}
	}
	path, err := queryStrings(ctx, p.tx, `SELECT quote_ident(s) FROM unnest(current_schemas(false)) WITH ORDINALITY AS c (s, n) ORDER BY n`)
	if err != nil {
		return err
	}
	r.source.path = strings.Join(append(path, "pg_temp"), ", ")
	return r.findRelation(ctx, p)
}

// findRelation finds the parent by the model's association.
func (r *adoptRun) findRelation(ctx context.Context, p *protectRun) (err error) {
	rel := r.relation()
	if rel == nil {
		return nil
	}
	for _, ref := range rel.References {
		if ref.ForeignKey.DBName == r.table.column || ref.PrimaryKey == nil {
			continue
		}
		r.source.cols = append(r.source.cols, ref.ForeignKey.DBName)
		r.source.refCols = append(r.source.refCols, ref.PrimaryKey.DBName)
	}
	r.source.parent, err = p.lookup(ctx, rel.FieldSchema.Table, r.table.column)
	return err
}

// relation is the belongs-to association that Parent names, itself or by its column.
func (r *adoptRun) relation() *schema.Relationship {
	for _, rel := range sortedRelations(r.model) {
		if rel.Type != schema.BelongsTo {
			continue
		}
		byColumn := func(ref *schema.Reference) bool { return ref.ForeignKey.DBName == r.adoption.Parent }
		if rel.Name == r.adoption.Parent || slices.ContainsFunc(rel.References, byColumn) {
			return rel
		}
	}
	return nil
}

func (r *adoptRun) checkTable(ctx context.Context, p *protectRun) error {
	if r.table.Kind != "r" || r.table.Inherits {
		return &ProtectError{Table: r.table.String(), Err: ErrTableKind}
	}
	if r.model.FieldsByDBName[r.table.column] == nil {
		return &ProtectError{Table: r.table.String(), Err: ErrNotOwned}
	}
	p.set.list = []*guarded{r.table}
	return p.checkOwner(ctx)
}

var typeLength = regexp.MustCompile(`\((\d+)\)`)

// findType finds the type of the tenant column, or of the model's field where there
// is none yet.
func (r *adoptRun) findType(ctx context.Context, p *protectRun) error {
	field := r.model.FieldsByDBName[r.table.column]
	given := r.db.Dialector.DataTypeOf(field)
	type column struct{ Type, SQL string }
	list, err := readRows[column](ctx, p.tx, `
		SELECT CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname::text ELSE '' END AS "Type", w.sql AS "SQL"
		FROM (SELECT atttypid AS oid, format_type(atttypid, atttypmod) AS sql, attgenerated <> '' AS generated FROM pg_attribute
				WHERE attrelid = $1::bigint::oid AND attnum = $2 AND $2 > 0
			UNION ALL SELECT to_regtype($3)::oid, $3, false WHERE $2 = 0) w
		JOIN pg_type t ON t.oid = w.oid WHERE NOT w.generated`, r.table.OID, r.table.Attnum, given)
	if err != nil {
		return err
	}
	if len(list) == 0 || !r.table.Deterministic || !slices.Contains([]string{"text", "varchar", "uuid", "int2", "int4", "int8"}, list[0].Type) {
		return &ProtectError{Table: r.table.String(), Object: r.table.column, Err: ErrTenantType}
	}
	r.tenant = tenantType{name: list[0].Type, sql: list[0].SQL}
	if length := typeLength.FindStringSubmatch(r.tenant.sql); length != nil {
		r.tenant.max, err = strconv.Atoi(length[1])
	}
	return err
}

// checkValues refuses a Constant or Orphans that the column would not take.
func (r *adoptRun) checkValues(ctx context.Context, p *protectRun) error {
	for name, value := range map[string]string{"Constant": r.adoption.Constant, "Orphans": r.adoption.Orphans} {
		bad, err := queryStrings(ctx, p.tx, `SELECT 'yes' WHERE NOT `+r.tenant.valid(`$1::text`), value)
		if err != nil {
			return err
		}
		if value != "" && len(bad) > 0 {
			return &ProtectError{Table: r.table.String(), Object: name, Err: ErrTenantValue}
		}
	}
	return nil
}

// findParent finds the parent by the foreign key, which is what counts where the
// model says something else, and checks that it knows its tenant.
func (r *adoptRun) findParent(ctx context.Context, p *protectRun) error {
	if r.adoption.Parent == "" {
		return nil
	}
	links, err := readRows[*link](ctx, p.tx, foreignKeys, []int64{r.table.OID}, r.table.column)
	if err != nil {
		return err
	}
	for _, l := range links {
		cols, refCols := l.without(r.table.column)
		if l.From != r.table.OID || !slices.Equal(cols, r.source.cols) && !slices.Equal(cols, []string{r.adoption.Parent}) {
			continue
		}
		r.source.cols, r.source.refCols = cols, refCols
		if r.source.parent, err = p.lookup(ctx, l.ToName, r.table.column); err != nil {
			return err
		}
	}
	return r.checkParent(ctx, p)
}

// without returns the key's columns but for the tenant's.
func (l *link) without(tenant string) (cols, refCols []string) {
	for i, c := range l.Cols {
		if c != tenant {
			cols, refCols = append(cols, c), append(refCols, l.RefCols[i])
		}
	}
	return cols, refCols
}

func (r *adoptRun) checkParent(ctx context.Context, p *protectRun) error {
	parent := r.source.parent
	if parent == nil || len(r.source.cols) == 0 {
		return &ProtectError{Table: r.table.String(), Object: r.adoption.Parent, Err: ErrNoParent}
	}
	isSelf := parent.OID == r.table.OID
	if !isSelf && (parent.Attnum == 0 || !parent.NotNull) {
		return &ProtectError{Table: parent.String(), Err: ErrParentFirst}
	}
	if !isSelf && parent.Type != r.tenant.name {
		return &ProtectError{Table: parent.String(), Object: parent.column, Err: ErrTenantType, Fix: "make it the type of " + r.table.String()}
	}
	indexes, err := p.readIndexes(ctx, parent)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(indexes, func(u *unique) bool { return u.isKey(r.source.refCols) }) {
		return &ProtectError{Table: r.table.String(), Object: r.adoption.Parent, Err: ErrNoParent,
			Fix: fmt.Sprintf("several rows of %s may have the same %s", parent, strings.Join(r.source.refCols, ", "))}
	}
	return nil
}

// checkRows refuses to work where this login does not see every row.
func (r *adoptRun) checkRows(ctx context.Context, p *protectRun) error {
	tables := []*guarded{r.table}
	if r.source.parent != nil {
		tables = append(tables, r.source.parent)
	}
	for _, g := range tables {
		hidden, err := queryStrings(ctx, p.tx, `SELECT 'yes' WHERE row_security_active($1::bigint::oid)`, g.OID)
		if err != nil {
			return err
		}
		if len(hidden) > 0 {
			return &ProtectError{Table: g.String(), Err: ErrFiltered}
		}
	}
	return nil
}

// checkTriggers refuses what would change a row after our trigger.
func (r *adoptRun) checkTriggers(ctx context.Context, p *protectRun) error {
	if r.adoption.Func != nil {
		return nil
	}
	later, err := queryStrings(ctx, p.tx, `SELECT tgname::text FROM pg_trigger WHERE tgrelid = $1::bigint::oid AND NOT tgisinternal
		AND tgtype & 3 = 3 AND tgtype & 20 <> 0 AND tgname > $2::text::name ORDER BY 1`, r.table.OID, adoptTrigger)
	if err != nil || len(later) == 0 {
		return err
	}
	return &ProtectError{Table: r.table.String(), Object: later[0], Err: ErrTriggerOrder}
}

// adoptProbe exists inside one transaction that is always rolled back.
const adoptProbe = "courtroll_adopt_probe"

// checkSQL has the server read the expression, and say which columns it depends on:
// in a WHERE no aggregate is allowed, which would mean another thing in a trigger.
func (r *adoptRun) checkSQL(ctx context.Context) error {
	tx, err := r.conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, `SET TRANSACTION READ WRITE`); err != nil {
		return err
	}
	view := ident(r.table.Schema, adoptProbe)
	_, err = tx.ExecContext(ctx, fmt.Sprintf(`CREATE VIEW %s AS SELECT 1 AS one FROM ONLY %s AS %s WHERE (%s)::text IS NOT NULL`,
		view, r.table.sql(), ident(r.table.Name), r.adoption.SQL))
	if err != nil {
		return fmt.Errorf("reading Adoption.SQL: %w", err)
	}
	generated, err := queryStrings(ctx, tx, `SELECT a.attname::text FROM pg_rewrite w
		JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = w.oid AND d.refclassid = 'pg_class'::regclass
		JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
		WHERE w.ev_class = to_regclass($1) AND a.attrelid = $2::bigint::oid AND a.attgenerated <> '' ORDER BY 1`, view, r.table.OID)
	if err != nil {
		return err
	}
	if len(generated) > 0 {
		return &ProtectError{Table: r.table.String(), Object: generated[0], Err: ErrGenerated}
	}
	return nil
}
