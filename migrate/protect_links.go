package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// link is a foreign key between two protected tables, as it is, or, with OID 0, as
// a GORM association says that it should be.
type link struct {
	OID        int64    `json:"oid"`
	Name       string   `json:"name"`
	From       int64    `json:"from"`
	To         int64    `json:"to"`
	Cols       []string `json:"cols"`
	RefCols    []string `json:"refcols"`
	SetCols    []string `json:"setcols"` // those that ON DELETE SET … sets, if not all
	OnDelete   string   `json:"ondelete"`
	OnUpdate   string   `json:"onupdate"`
	Full       bool     `json:"full"`     // MATCH FULL
	Nullable   []string `json:"nullable"` // those of Cols that may be NULL
	Timing     string   `json:"timing"`
	Valid      bool     `json:"valid"`
	Enforced   bool     `json:"enforced"`
	Index      int64    `json:"index"` // that it refers to
	Definition string   `json:"definition"`
	Comment    string   `json:"comment"`
	// FromName, ToName and HasTenant say what is known of the two tables' names and
	// of their having the tenant column, be they protected or not.
	FromName  string `json:"fromname"`
	ToName    string `json:"toname"`
	HasTenant bool   `json:"hastenant"`

	from, to *guarded
	ready    *link // what Adopt built to replace it
}

// actions are the catalogue's letters.
var actions = map[string]string{"a": "NO ACTION", "r": "RESTRICT", "c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT"}

// sets reports whether an action overwrites the columns of the key.
func sets(action string) bool { return action == "n" || action == "d" }

// confined reports whether the key includes the tenant on both sides.
func (l *link) confined() bool {
	at := slices.Index(l.Cols, l.from.column)
	return at >= 0 && l.RefCols[at] == l.to.column
}

// sql is the key with the tenant in front, without its name. The tenant column is
// left out of what ON DELETE sets, for a row never loses its tenant.
func (l *link) sql() string {
	cols, refCols := l.Cols, l.RefCols
	if !l.confined() {
		cols, refCols = withTenant(l.from.column, cols), withTenant(l.to.column, refCols)
	}
	text := fmt.Sprintf(`FOREIGN KEY (%s) REFERENCES %s (%s)`, idents(cols...), l.to.sql(), idents(refCols...))
	if l.Full && len(l.Cols) > 1 {
		text += ` MATCH FULL`
	}
	if l.OnUpdate != "a" {
		text += ` ON UPDATE ` + actions[l.OnUpdate]
	}
	if l.OnDelete != "a" {
		text += ` ON DELETE ` + actions[l.OnDelete]
	}
	if set := l.setColumns(); sets(l.OnDelete) {
		text += ` (` + idents(set...) + `)`
	}
	return text + l.Timing
}

func (l *link) setColumns() []string {
	set := l.SetCols
	if len(set) == 0 {
		set = l.Cols
	}
	return slices.DeleteFunc(slices.Clone(set), func(c string) bool { return c == l.from.column })
}

// check refuses what has no form that keeps its meaning.
func (l *link) check() error {
	var reason string
	switch {
	case sets(l.OnUpdate):
		reason = "ON UPDATE " + actions[l.OnUpdate] + " would change the tenant column: use another action"
	case l.Full && len(l.Cols) > 1 && len(l.Nullable) > 0 && !l.confined():
		reason = "MATCH FULL refuses a tenant beside columns that are NULL: use MATCH SIMPLE, or make the columns NOT NULL"
	case sets(l.OnDelete) && len(l.setColumns()) == 0:
		reason = "ON DELETE " + actions[l.OnDelete] + " would change the tenant column alone"
	case slices.Contains(l.Cols, l.from.column) != slices.Contains(l.RefCols, l.to.column), slices.Contains(l.Cols, l.from.column) && !l.confined():
		reason = "it refers to another column by the tenant column, or to the tenant column by another"
	default:
		return nil
	}
	return &ProtectError{Table: l.from.String(), Object: l.Name, Err: ErrForeignKey, Fix: reason}
}

const foreignKeys = `
	SELECT o.oid::bigint AS oid, o.conname AS name, o.conrelid::bigint AS from, o.confrelid::bigint AS to,
		ARRAY(SELECT a.attname::text FROM unnest(o.conkey) WITH ORDINALITY k (num, n)
			JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.num ORDER BY k.n) AS cols,
		ARRAY(SELECT a.attname::text FROM unnest(o.confkey) WITH ORDINALITY k (num, n)
			JOIN pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.num ORDER BY k.n) AS refcols,
		ARRAY(SELECT a.attname::text FROM unnest(o.confdelsetcols) WITH ORDINALITY k (num, n)
			JOIN pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.num ORDER BY k.n) AS setcols,
		o.confdeltype AS ondelete, o.confupdtype AS onupdate, o.confmatchtype = 'f' AS full,
		ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = o.conrelid AND a.attnum = ANY (o.conkey) AND NOT a.attnotnull) AS nullable,
		o.convalidated AS valid, coalesce(to_jsonb(o) ->> 'conenforced', 'true')::boolean AS enforced, o.conindid::bigint AS index,
		CASE WHEN o.condeferrable THEN ' DEFERRABLE' ELSE '' END || CASE WHEN o.condeferred THEN ' INITIALLY DEFERRED' ELSE '' END AS timing,
		pg_get_constraintdef(o.oid) AS definition, coalesce(obj_description(o.oid, 'pg_constraint'), '') AS comment,
		(SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = o.conrelid) AS fromname,
		(SELECT format('%s.%s', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = o.confrelid) AS toname,
		(SELECT count(DISTINCT a.attrelid) = CASE WHEN o.conrelid = o.confrelid THEN 1 ELSE 2 END FROM pg_attribute a
			WHERE a.attrelid IN (o.conrelid, o.confrelid) AND a.attname = $2 AND NOT a.attisdropped) AS hastenant
	FROM pg_constraint o
	WHERE o.contype = 'f' AND (o.conrelid = ANY ($1::bigint[]::oid[]) OR o.confrelid = ANY ($1::bigint[]::oid[]))
	ORDER BY fromname, o.conname`

// readLinks returns the foreign keys from and to the app's tables.
func (r *protectRun) readLinks(ctx context.Context) ([]*link, error) {
	owned := r.set.owned()
	column := ""
	if len(owned) > 0 {
		column = owned[0].column
	}
	list, err := readRows[*link](ctx, r.tx, foreignKeys, oidsOf(owned), column)
	for _, l := range list {
		l.from, l.to = r.set.byOID(l.From), r.set.byOID(l.To)
	}
	return list, err
}

// isOurs reports whether both tables are the app's and protected.
func (l *link) isOurs() bool {
	return l.from != nil && l.to != nil && l.from.class == owned && l.to.class == owned
}

// proven reports whether the key is confined and was made by us. Any other may hold
// rows that nobody checked: one that was added where row-level security was forced
// is marked as valid though the check saw no row.
func (l *link) proven() bool {
	_, noted := readNote(l.Comment)
	return noted && l.confined()
}

// plannedLinks returns the keys to replace and those to add. A key between a
// protected table and another of a tenant column is reported.
func (r *protectRun) plannedLinks(ctx context.Context) ([]*link, error) {
	have, err := r.readLinks(ctx)
	if err != nil {
		return nil, err
	}
	var list []*link
	for _, l := range have {
		switch {
		case l.isOurs() && l.proven(), l.isTwin(have):
		case l.isOurs():
			l.ready = l.twin(have)
			list = append(list, l)
		case l.HasTenant && !slices.Contains(l.Cols, r.set.owned()[0].column):
			r.reportf("constraint "+l.FromName+"."+l.Name,
				"a foreign key to %s, of which one side is not protected, may point at another tenant's row: protect both tables together", l.ToName)
		}
	}
	list = append(list, r.missingLinks(have)...)
	for _, l := range list {
		if err := l.check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (r *protectRun) dropLink(ctx context.Context, l *link) error {
	if l.OID == 0 {
		return nil
	}
	return r.exec(ctx, `ALTER TABLE %s DROP CONSTRAINT %s`, l.from.sql(), ident(l.Name))
}

// addLinks adds the keys while the owner sees every row: under FORCE the check of
// the rows that are there would be filtered, and find nothing.
func (r *protectRun) addLinks(ctx context.Context, links []*link) error {
	if len(links) == 0 {
		return nil
	}
	var tables []*guarded
	for _, l := range links {
		tables = append(tables, l.from, l.to)
	}
	return r.unforced(ctx, tables, func() error {
		for _, l := range links {
			if err := r.replaceLink(ctx, l); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *protectRun) replaceLink(ctx context.Context, l *link) error {
	taken, err := r.takeTwin(ctx, l)
	if err == nil && !taken {
		err = r.addLink(ctx, l, l.sql())
	}
	if err != nil {
		return err
	}
	return r.comment(ctx, l.object(), note{Original: l.Definition, Comment: l.Comment})
}

func (l *link) object() string { return `CONSTRAINT ` + ident(l.Name) + ` ON ` + l.from.sql() }

// addLink adds a key and validates it apart, so that a violation is told from
// other errors.
func (r *protectRun) addLink(ctx context.Context, l *link, definition string) error {
	definition, unchecked := strings.CutSuffix(definition, ` NOT VALID`)
	if err := r.exec(ctx, `ALTER TABLE %s ADD CONSTRAINT %s %s NOT VALID`, l.from.sql(), ident(l.Name), definition); err != nil || unchecked {
		return err
	}
	err := r.exec(ctx, `ALTER TABLE %s VALIDATE CONSTRAINT %s`, l.from.sql(), ident(l.Name))
	if err != nil {
		return refusedRows(err, l.from, l.Name)
	}
	return nil
}

// unforced runs fn while the owner of the tables sees all of their rows.
func (r *protectRun) unforced(ctx context.Context, tables []*guarded, fn func() error) error {
	var forced []*guarded
	for _, g := range tables {
		if g.Forced && !slices.Contains(oidsOf(forced), g.OID) {
			forced = append(forced, g)
		}
	}
	for _, g := range forced {
		if err := r.exec(ctx, `ALTER TABLE %s NO FORCE ROW LEVEL SECURITY`, g.sql()); err != nil {
			return err
		}
	}
	if err := fn(); err != nil {
		return err
	}
	for _, g := range forced {
		if err := r.exec(ctx, `ALTER TABLE %s FORCE ROW LEVEL SECURITY`, g.sql()); err != nil {
			return err
		}
	}
	return nil
}
