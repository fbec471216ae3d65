package migrate

import (
	"context"
	"fmt"
	"strings"
)

// adoptTrigger sorts behind every name of letters and digits: triggers fire in the
// order of their names, and the last one sees what the others made of the row.
const adoptTrigger = "~courtroll_adopt"

// ourDefault is what [note.Before] says where the column's default is ours.
const ourDefault = "default"

// adoptFunction is the trigger's function and the trigger, as the catalogue has them.
type adoptFunction struct {
	Comment string `json:"comment"`
	State   string `json:"state"`   // of the function, empty if there is none
	Trigger string `json:"trigger"` // its definition, empty if there is none
	Ours    bool   `json:"ours"`    // the trigger calls the function
	Attnum  int    `json:"attnum"`
	NotNull bool   `json:"notnull"`
	Default string `json:"default"` // of the column, empty if there is none
}

func (g *guarded) adoptFunction() string { return objectName("adopt", g.Name) }

func (r *protectRun) readAdoption(ctx context.Context, g *guarded) (*adoptFunction, error) {
	list, err := readRows[adoptFunction](ctx, r.tx, `
		SELECT coalesce(obj_description(p.oid, 'pg_proc'), '') AS comment,
			CASE WHEN p.oid IS NULL THEN '' ELSE json_build_array(p.prosrc, p.prosecdef, p.proconfig, p.provolatile, l.lanname,
				p.prorettype::regtype)::text END AS state,
			coalesce(pg_get_triggerdef(t.oid) || ' ' || t.tgenabled::text, '') AS trigger, coalesce(t.tgfoid = p.oid, false) AS ours,
			coalesce(a.attnum, 0) AS attnum, coalesce(a.attnotnull, false) AND NOT EXISTS (SELECT FROM pg_constraint o
				WHERE o.conrelid = c.oid AND o.contype = 'n' AND o.conkey = ARRAY[a.attnum] AND NOT o.convalidated) AS notnull,
			coalesce(pg_get_expr(d.adbin, d.adrelid), nullif(a.attidentity::text, ''), '') AS default
		FROM pg_class c
		LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped
		LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
		LEFT JOIN pg_trigger t ON t.tgrelid = c.oid AND t.tgname = $3
		LEFT JOIN pg_proc p ON p.pronamespace = c.relnamespace AND p.proname = $4 AND p.pronargs = 0
		LEFT JOIN pg_language l ON l.oid = p.prolang
		WHERE c.oid = $1::bigint::oid`, g.OID, g.column, adoptTrigger, g.adoptFunction())
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &ProtectError{Table: g.String(), Err: ErrNoTable}
	}
	return &list[0], nil
}

// check refuses what has our names and is not ours.
func (f *adoptFunction) check(g *guarded) error {
	if _, ours := readNote(f.Comment); f.State != "" && !ours {
		return &ProtectError{Table: g.String(), Object: g.adoptFunction(), Err: ErrCaptureTaken}
	}
	if f.Trigger != "" && !f.Ours {
		return &ProtectError{Table: g.String(), Object: adoptTrigger, Err: ErrCaptureTaken}
	}
	return nil
}

// ensureColumn adds the column, and in the same transaction what fills it: there is
// no moment at which a row could be written without.
func (r *adoptRun) ensureColumn(ctx context.Context) error {
	r.at("add column", 0, 1)
	var isDone bool
	err := r.transact(ctx, func(p *protectRun) error {
		f, err := p.readAdoption(ctx, r.table)
		if err == nil {
			err = f.check(r.table)
		}
		isDone = err == nil && r.columnDone(f)
		return err
	})
	if err != nil || isDone {
		return err
	}
	err = r.transact(ctx, func(p *protectRun) error {
		if err := p.lockTables(ctx, `ACCESS EXCLUSIVE`, r.table); err != nil {
			return err
		}
		return r.addColumn(ctx, p)
	})
	if err == nil {
		r.at("add column", 1, 1)
	}
	return err
}

// columnDone reports whether nothing is to be done. Of a column that is NOT NULL the
// trigger may have been dropped, by DropAdoption.
func (r *adoptRun) columnDone(f *adoptFunction) bool {
	n, _ := readNote(f.Comment)
	isRight := n.Made == hash(r.function()) && n.State == f.hash()
	switch {
	case f.Attnum == 0:
		return false
	case r.adoption.Func != nil || f.NotNull && f.Trigger == "":
		return f.Trigger == "" && f.Default == ""
	}
	return f.Trigger != "" && isRight
}

func (f *adoptFunction) hash() string { return hash(f.State + f.Trigger + f.Default) }

func (r *adoptRun) addColumn(ctx context.Context, p *protectRun) error {
	f, err := p.readAdoption(ctx, r.table)
	if err != nil {
		return err
	}
	if err := f.check(r.table); err != nil {
		return err
	}
	old, _ := readNote(f.Comment)
	made := note{Made: hash(r.function()), Before: old.Before}
	if old.State != "" && old.State != f.hash() {
		p.done.Drifted = append(p.done.Drifted, r.table.String()+"."+adoptTrigger)
	}
	if f.Trigger != "" {
		if err := p.exec(ctx, `DROP TRIGGER %s ON %s`, ident(adoptTrigger), r.table.sql()); err != nil {
			return err
		}
	}
	if made.Before, err = r.alterColumn(ctx, p, f, made.Before); err != nil {
		return err
	}
	if r.adoption.Func != nil {
		if f.State == "" {
			return nil
		}
		return p.exec(ctx, `DROP FUNCTION %s()`, ident(r.table.Schema, r.table.adoptFunction()))
	}
	return r.addTrigger(ctx, p, made)
}

// alterColumn makes the column and, of a Constant, its default, with which a column
// that is new gets the value in every row without touching any. One of an earlier
// Adoption goes, since it would beat the trigger.
func (r *adoptRun) alterColumn(ctx context.Context, p *protectRun, f *adoptFunction, before string) (string, error) {
	value := ""
	if r.adoption.Constant != "" {
		value, before = ` DEFAULT `+r.literal(r.adoption.Constant), ourDefault
	}
	switch {
	case f.Attnum == 0:
		return before, p.exec(ctx, `ALTER TABLE %s ADD COLUMN %s %s%s`, r.table.sql(), ident(r.table.column), r.tenant.sql, value)
	case value != "":
		return before, p.exec(ctx, `ALTER TABLE %s ALTER COLUMN %s SET%s`, r.table.sql(), ident(r.table.column), value)
	case f.Default != "":
		return "", p.exec(ctx, `ALTER TABLE %s ALTER COLUMN %s DROP DEFAULT`, r.table.sql(), ident(r.table.column))
	}
	return "", nil
}

func (r *adoptRun) addTrigger(ctx context.Context, p *protectRun, made note) error {
	when := ` WHEN (NEW.` + ident(r.table.column) + ` IS NULL)`
	if r.source.parent != nil { // which follows a row to another parent
		when = ""
	}
	function := ident(r.table.Schema, r.table.adoptFunction())
	for _, statement := range []string{
		r.function(),
		`CREATE TRIGGER ` + ident(adoptTrigger) + ` BEFORE INSERT OR UPDATE ON ` + r.table.sql() +
			` FOR EACH ROW` + when + ` EXECUTE FUNCTION ` + function + `()`,
		`ALTER TABLE ` + r.table.sql() + ` ENABLE ALWAYS TRIGGER ` + ident(adoptTrigger),
	} {
		if err := p.exec(ctx, "%s", statement); err != nil {
			return err
		}
	}
	f, err := p.readAdoption(ctx, r.table)
	if err != nil {
		return err
	}
	made.State = f.hash()
	return p.comment(ctx, `FUNCTION `+function+`()`, made)
}

// literal is a tenant as SQL.
func (r *adoptRun) literal(tenant string) string {
	return literal(tenant) + `::` + r.tenant.sql
}

// function is the statement that makes the trigger's function. An error in it would
// be one of the app's write: it leaves the tenant to the backfill instead, which
// meets the same error, or does not have the app's rights.
func (r *adoptRun) function() string {
	body, path := r.constantBody(), captureSearchPath
	switch {
	case r.adoption.SQL != "":
		body, path = r.sqlBody(), r.source.path
	case r.source.parent != nil:
		body = r.parentBody()
	}
	return fmt.Sprintf(`CREATE OR REPLACE FUNCTION %s() RETURNS trigger
LANGUAGE plpgsql VOLATILE SECURITY INVOKER
SET search_path = %s
AS %s`, ident(r.table.Schema, r.table.adoptFunction()), path, literal(body))
}

func (r *adoptRun) constantBody() string {
	return fmt.Sprintf(`
BEGIN
	NEW.%s := %s;
	RETURN NEW;
END`, ident(r.table.column), r.literal(r.adoption.Constant))
}

// sqlBody reads the row dynamically: a plan that is kept would fail the app's writes
// once another column is dropped.
func (r *adoptRun) sqlBody() string {
	query := fmt.Sprintf(`SELECT (%s)::text FROM (SELECT ($1).*) AS %s`, r.adoption.SQL, ident(r.table.Name))
	return fmt.Sprintf(`
#variable_conflict use_variable
DECLARE
	v_tenant text;
BEGIN
	EXECUTE %[1]s INTO v_tenant USING NEW;
	IF %[2]s THEN
		NEW.%[3]s := v_tenant;
	END IF;
	RETURN NEW;
EXCEPTION WHEN OTHERS THEN
	RETURN NEW;
END`, literal(query), r.tenant.valid("v_tenant"), ident(r.table.column))
}

// parentBody leaves a row alone whose writer gave it a tenant.
func (r *adoptRun) parentBody() string {
	tenant := ident(r.table.column)
	orphans := `NULL`
	if r.adoption.Orphans != "" {
		orphans = r.literal(r.adoption.Orphans)
	}
	return fmt.Sprintf(`
#variable_conflict use_column
DECLARE
	v_tenant %[1]s;
BEGIN
	IF NEW.%[2]s IS NOT NULL THEN
		IF TG_OP = 'INSERT' THEN
			RETURN NEW;
		ELSIF NEW.%[2]s IS DISTINCT FROM OLD.%[2]s OR ROW(%[3]s) IS NOT DISTINCT FROM ROW(%[4]s) THEN
			RETURN NEW;
		END IF;
	END IF;
	IF %[7]s AND NEW.%[2]s IS NULL THEN
		NEW.%[2]s := %[8]s;
		RETURN NEW;
	END IF;
	BEGIN
		SELECT courtroll_parent.%[2]s INTO v_tenant FROM %[5]s AS courtroll_parent WHERE %[6]s;
	EXCEPTION WHEN OTHERS THEN
		v_tenant := NULL;
	END;
	NEW.%[2]s := coalesce(v_tenant, NEW.%[2]s);
	RETURN NEW;
END`, r.tenant.sql, tenant, r.each(`NEW.%s`, `, `), r.each(`OLD.%s`, `, `), r.source.parent.sql(),
		r.matches("NEW"), r.orphaned("NEW"), orphans)
}

// each renders the parent's columns of the row.
func (r *adoptRun) each(format, sep string) string {
	list := make([]string, len(r.source.cols))
	for i, c := range r.source.cols {
		list[i] = fmt.Sprintf(format, ident(c))
	}
	return strings.Join(list, sep)
}

// matches is the condition that courtroll_parent is the parent of a row.
func (r *adoptRun) matches(row string) string {
	list := make([]string, len(r.source.cols))
	for i, c := range r.source.cols {
		list[i] = `courtroll_parent.` + ident(r.source.refCols[i]) + ` = ` + row + `.` + ident(c)
	}
	return strings.Join(list, ` AND `)
}

// orphaned is the condition that a row refers to no parent: one column is enough, as
// with a foreign key. One that refers to itself has no other.
func (r *adoptRun) orphaned(row string) string {
	none := r.each(row+`.%s IS NULL`, ` OR `)
	if r.source.parent.OID != r.table.OID {
		return `(` + none + `)`
	}
	list := make([]string, len(r.source.cols))
	for i, c := range r.source.cols {
		list[i] = row + `.` + ident(r.source.refCols[i]) + ` = ` + row + `.` + ident(c)
	}
	return `(` + none + ` OR ` + strings.Join(list, ` AND `) + `)`
}
