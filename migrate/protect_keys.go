package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxName is how many bytes of a name PostgreSQL keeps.
const maxName = 63

// objectName names what we make: readable, and told apart by a hash where it would
// be cut.
func objectName(parts ...string) string {
	name := "courtroll_" + strings.Join(parts, "_")
	if len(name) <= maxName {
		return name
	}
	return strings.ToValidUTF8(name[:maxName-17], "") + "_" + hash(name)
}

// ensureKeys goes in the one order that works: a unique index cannot go while a
// foreign key stands on it, and a foreign key cannot come before its index.
func (r *protectRun) ensureKeys(ctx context.Context) error {
	links, err := r.plannedLinks(ctx)
	if err != nil {
		return err
	}
	uniques, err := r.plannedUniques(ctx, links)
	if err != nil {
		return err
	}
	if err := r.lockProtected(ctx, len(links)+len(uniques) > 0); err != nil {
		return err
	}
	for _, l := range links {
		if err := r.dropLink(ctx, l); err != nil {
			return err
		}
	}
	for _, u := range uniques {
		if err := r.scopeUnique(ctx, u); err != nil {
			return err
		}
	}
	if err := r.ensureIndexes(ctx, links); err != nil {
		return err
	}
	return r.addLinks(ctx, links)
}

// ensureIndexes makes the keys that foreign keys refer to, and then an index that
// begins with the tenant column where none does: a key may be one.
func (r *protectRun) ensureIndexes(ctx context.Context, links []*link) error {
	for _, l := range links {
		if err := r.ensureKey(ctx, l.to, l.RefCols); err != nil {
			return err
		}
	}
	for _, g := range r.set.owned() {
		if err := r.ensureLeading(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// ensureKey makes the tenant and the columns a key of the table, unless an index
// makes them one already. The order of its columns does not matter to a foreign key.
func (r *protectRun) ensureKey(ctx context.Context, g *guarded, columns []string) error {
	have, err := r.readIndexes(ctx, g)
	if err != nil {
		return err
	}
	want := withTenant(g.column, columns)
	if slices.ContainsFunc(have, func(u *unique) bool { return u.isKey(want) }) {
		return nil
	}
	name, create := keyName(g, columns), `CREATE UNIQUE INDEX`
	if at := slices.IndexFunc(have, func(u *unique) bool { return u.Name == name }); at >= 0 { // made by somebody else in its place
		if err := r.dropUnique(ctx, have[at]); err != nil {
			return err
		}
	}
	if r.drafts { // of another text, that may have run before
		create += ` IF NOT EXISTS`
	}
	if err := r.exec(ctx, `%s %s ON %s (%s)`, create, ident(name), g.sql(), idents(want...)); err != nil {
		return refusedRows(err, g, name)
	}
	return r.comment(ctx, `INDEX `+ident(g.Schema, name), note{})
}

// keyName has a hash where the same name could stand for another table and columns.
func keyName(g *guarded, columns []string) string {
	parts := append([]string{"key", g.Name}, columns...)
	if !strings.Contains(g.Name+strings.Join(columns, ""), "_") {
		return objectName(parts...)
	}
	name := strings.ToValidUTF8("courtroll_"+strings.Join(parts, "_"), "")
	return strings.ToValidUTF8(name[:min(len(name), maxName-17)], "") + "_" + hash(strings.Join(parts, "\x00"))
}

func withTenant(column string, columns []string) []string {
	if slices.Contains(columns, column) {
		return columns
	}
	return append([]string{column}, columns...)
}

func (r *protectRun) ensureLeading(ctx context.Context, g *guarded) error {
	have, err := r.readIndexes(ctx, g)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(have, func(u *unique) bool { return u.leads(g.column) }) {
		return nil
	}
	name := objectName("tenant", g.Name)
	if err := r.exec(ctx, `CREATE INDEX %s ON %s (%s)`, ident(name), g.sql(), ident(g.column)); err != nil {
		return err
	}
	return r.comment(ctx, `INDEX `+ident(g.Schema, name), note{})
}

// unique is an index, most of them unique, as the catalogue has it.
type unique struct {
	OID        int64    `json:"oid"`
	Name       string   `json:"name"`
	Definition string   `json:"definition"`
	Prefix     string   `json:"prefix"`  // of the definition, up to the first column
	Columns    []string `json:"columns"` // of its key; null stands for an expression
	Unique     bool     `json:"isunique"`
	Primary    bool     `json:"isprimary"`
	Immediate  bool     `json:"immediate"`
	Partial    bool     `json:"partial"`
	Valid      bool     `json:"valid"`
	Method     string   `json:"method"`
	Replica    bool     `json:"replica"`
	Comment    string   `json:"comment"`
	// Constraint is the name of the constraint that it makes, ConDef what follows
	// that name, and Timing the end of it.
	Constraint string `json:"constraint"`
	ConDef     string `json:"condef"`
	Timing     string `json:"timing"`
	ConComment string `json:"concomment"`

	table *guarded
}

// isKey reports whether a foreign key may refer to these columns by the index.
func (u *unique) isKey(columns []string) bool {
	return u.Unique && u.Valid && u.Immediate && !u.Partial && len(u.Columns) == len(columns) &&
		!slices.ContainsFunc(columns, func(c string) bool { return !slices.Contains(u.Columns, c) })
}

// leads reports whether the index finds the rows of a tenant.
func (u *unique) leads(column string) bool {
	return u.Valid && !u.Partial && u.Method == "btree" && u.Columns[0] == column
}

// object is the index or its constraint as COMMENT ON has it.
func (u *unique) object() string {
	if u.Constraint != "" {
		return `CONSTRAINT ` + ident(u.Constraint) + ` ON ` + u.table.sql()
	}
	return `INDEX ` + ident(u.table.Schema, u.Name)
}

// note returns our note on the index or its constraint.
func (u *unique) note() (note, bool) {
	if u.Constraint != "" {
		return readNote(u.ConComment)
	}
	return readNote(u.Comment)
}

func (r *protectRun) readIndexes(ctx context.Context, g *guarded) ([]*unique, error) {
	list, err := readRows[*unique](ctx, r.tx, `
		SELECT i.indexrelid::bigint AS oid, c.relname AS name, pg_get_indexdef(c.oid) AS definition,
			format('CREATE UNIQUE INDEX %I ON %I.%I USING %s (', c.relname, tn.nspname, t.relname, am.amname) AS prefix,
			ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (num, n)
				LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.num AND k.num > 0
				WHERE k.n <= i.indnkeyatts ORDER BY k.n) AS columns,
			i.indisunique AS isunique, i.indisprimary AS isprimary, i.indimmediate AS immediate, i.indpred IS NOT NULL AS partial,
			i.indisvalid AND i.indisready AS valid, am.amname AS method, i.indisreplident AS replica,
			coalesce(obj_description(c.oid, 'pg_class'), '') AS comment, coalesce(o.conname, '') AS constraint,
			coalesce(pg_get_constraintdef(o.oid), '') AS condef,
			CASE WHEN o.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN o.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS timing,
			coalesce(obj_description(o.oid, 'pg_constraint'), '') AS concomment
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am am ON am.oid = c.relam
		JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace tn ON tn.oid = t.relnamespace
		LEFT JOIN pg_constraint o ON o.conindid = c.oid AND o.contype IN ('p', 'u') AND o.conrelid = i.indrelid
		WHERE i.indrelid = $1::bigint::oid AND i.indislive ORDER BY c.relname`, g.OID)
	for _, u := range list {
		u.table = g
	}
	return list, err
}

// plannedUniques returns the unique indexes that span tenants and can be scoped.
func (r *protectRun) plannedUniques(ctx context.Context, links []*link) ([]*unique, error) {
	var list []*unique
	for _, g := range r.set.owned() {
		have, err := r.readIndexes(ctx, g)
		if err != nil {
			return nil, err
		}
		for _, u := range have {
			if !u.Unique || u.Primary || slices.Contains(u.Columns, g.column) {
				continue
			}
			if err := r.checkUnique(ctx, u, links); err != nil {
				return nil, err
			}
			list = append(list, u)
		}
	}
	return list, nil
}

// checkUnique refuses to replace what would not stay so, or what others stand on.
func (r *protectRun) checkUnique(ctx context.Context, u *unique, links []*link) error {
	if u.Constraint != "" && len(u.Columns) == 1 && r.taggedUnique(u.table, u.Columns[0]) {
		return &ProtectError{Table: u.table.String(), Object: u.Constraint, Err: ErrUniqueTag,
			Fix: fmt.Sprintf("of column %q, then AutoMigrate again", u.Columns[0])}
	}
	if u.Replica {
		return &ProtectError{Table: u.table.String(), Object: u.Name, Err: ErrUniqueInUse, Fix: "it is the table's REPLICA IDENTITY: set another"}
	}
	if !strings.HasPrefix(u.Definition, u.Prefix) {
		return &ProtectError{Table: u.table.String(), Object: u.Name, Err: ErrUniqueInUse, Fix: "its definition cannot be read: drop it"}
	}
	users, err := readRows[struct {
		OID  int64  `json:"oid"`
		Name string `json:"name"`
	}](ctx, r.tx, `SELECT oid::bigint AS oid, format('%I of table %I', conname, conrelid::regclass) AS name
		FROM pg_constraint WHERE contype = 'f' AND conindid = $1::bigint::oid ORDER BY 2`, u.OID)
	if err != nil {
		return err
	}
	for _, user := range users {
		if !slices.ContainsFunc(links, func(l *link) bool { return l.OID == user.OID }) {
			return &ProtectError{Table: u.table.String(), Object: u.Name, Err: ErrUniqueInUse,
				Fix: "the foreign key " + user.Name + " refers to it: protect that table too, or refer to the primary key"}
		}
	}
	return nil
}

// taggedUnique reports whether a model has GORM's tag unique on the column.
func (r *protectRun) taggedUnique(g *guarded, column string) bool {
	for _, s := range r.set.schemas {
		if r.set.byName[s.Table] != g {
			continue
		}
		if f := s.FieldsByDBName[column]; f != nil && f.Unique {
			return true
		}
	}
	return false
}

// scopeUnique puts the tenant column in front, and leaves the rest of the
// definition as the server writes it.
func (r *protectRun) scopeUnique(ctx context.Context, u *unique) error {
	n := note{Original: u.Definition, Comment: u.Comment}
	if u.Constraint != "" {
		n = note{Original: u.ConDef, Comment: u.ConComment}
	}
	if err := r.dropUnique(ctx, u); err != nil {
		return err
	}
	taken, err := r.takeScoped(ctx, u)
	if err != nil {
		return err
	}
	if !taken {
		if err := r.exec(ctx, "%s", u.Prefix+ident(u.table.column)+`, `+u.rest()); err != nil {
			return refusedRows(err, u.table, u.Name)
		}
	}
	if u.Constraint != "" {
		// The index takes the constraint's name, which it has already.
		err := r.exec(ctx, `ALTER TABLE %s ADD CONSTRAINT %s UNIQUE USING INDEX %s%s`, u.table.sql(), ident(u.Constraint), ident(u.Name), u.Timing)
		if err != nil {
			return err
		}
	}
	return r.comment(ctx, u.object(), n)
}

func (r *protectRun) dropUnique(ctx context.Context, u *unique) error {
	if u.Constraint != "" {
		return r.exec(ctx, `ALTER TABLE %s DROP CONSTRAINT %s`, u.table.sql(), ident(u.Constraint))
	}
	return r.exec(ctx, `DROP INDEX %s`, ident(u.table.Schema, u.Name))
}

// refusedRows names what rows violate, and leaves out the server's detail, which
// quotes them.
func refusedRows(err error, g *guarded, object string) error {
	if state := sqlState(err); state == stateForeignKey || state == stateUnique {
		return &ProtectError{Table: g.String(), Object: object, Err: ErrRowsViolate}
	}
	return err
}
