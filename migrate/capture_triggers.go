package migrate

import (
	"context"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// captureSearchPath is that of the trigger functions.
const captureSearchPath = "pg_catalog, pg_temp"

// captureName is the name of a table's function: legible, and with the hash of the
// table's name where that does not fit, or is not one that needs no quotes.
func captureName(table string) string {
	const prefix, most = "courtroll_capture_", 63
	plain := strings.Map(func(c rune) rune {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' {
			return c
		}
		return -1
	}, table)
	if plain == table && len(prefix+plain) <= most {
		return prefix + plain
	}
	return prefix + plain[:min(len(plain), most-len(prefix)-17)] + "_" + hash(table)
}

// captureFunction is one that the catalogue has. State is all that our CREATE
// FUNCTION says, as it is stored: what pg_get_functiondef makes of it may be
// another text after an upgrade.
type captureFunction struct {
	OID     int64    `json:"oid"`
	Comment string   `json:"comment"`
	State   string   `json:"state"`
	Owner   string   `json:"owner"`
	Allowed []string `json:"allowed"` // who may run it, beside its owner

	// What nobody but Doctor asks for.
	Signature string `json:"signature"` // its arguments and its result
	Body      string `json:"body"`      // that of standard SQL, which the server does not keep as text
	Strict    bool   `json:"strict"`    // it is not run where an argument is NULL

	name string // as statements have it
}

// readFunction finds a function, given with the types of its arguments.
func (r *protectRun) readFunction(ctx context.Context, function string) (*captureFunction, error) {
	return r.readFunctionOID(ctx, `to_regprocedure($1)`, function)
}

// readFunctionOID is readFunction of an expression of what.
func (r *protectRun) readFunctionOID(ctx context.Context, oid string, what ...any) (*captureFunction, error) {
	list, err := readRows[captureFunction](ctx, r.tx, `
		SELECT p.oid::bigint AS oid, coalesce(obj_description(p.oid, 'pg_proc'), '') AS comment, 
			json_build_array(p.prosrc, p.prosecdef, p.proconfig, p.provolatile, l.lanname, p.prorettype::regtype)::text AS state,
			pg_get_userbyid(p.proowner) AS owner, p.proisstrict AS strict, coalesce(pg_get_function_sqlbody(p.oid), '') AS body,
			pg_get_function_arguments(p.oid) || ' -> ' || coalesce(pg_get_function_result(p.oid), '') AS signature,
			ARRAY(SELECT DISTINCT coalesce(g.rolname::text, '`+public+`') FROM aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) x
				LEFT JOIN pg_roles g ON g.oid = x.grantee WHERE x.grantee <> p.proowner ORDER BY 1) AS allowed
		FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang WHERE p.oid = `+oid, what...)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// function is a table's as it should be.
func (r *captureRun) function(t *captured) *ownFunction {
	return &ownFunction{
		schema: t.Schema, name: captureName(t.guarded.Name), owner: r.log.Owner, table: t.guarded.String(), body: t.body(),
		declaration: "() RETURNS trigger\nLANGUAGE plpgsql VOLATILE SECURITY DEFINER\nSET search_path = " + captureSearchPath,
	}
}

// ensureFunction makes a table's function what it should be.
func (r *captureRun) ensureFunction(ctx context.Context, t *captured) (*captureFunction, error) {
	f := r.function(t)
	have, err := r.ensureOwn(ctx, f)
	if err != nil {
		return nil, err
	}
	have.name = ident(f.schema, f.name)
	return have, nil
}

// dropFunction drops one that is ours and that no trigger calls.
func (r *protectRun) dropFunction(ctx context.Context, function string) error {
	used, err := queryStrings(ctx, r.tx, `SELECT tgname::text FROM pg_trigger WHERE tgfoid = $1::text::regprocedure`, function)
	if err != nil || len(used) > 0 {
		return err
	}
	return r.exec(ctx, `DROP FUNCTION %s`, function)
}

// captureTrigger is one of the four as it should be.
type captureTrigger struct {
	name, clause string
	kind         int // as in pg_trigger.tgtype
	old, new     string
}

var captureTriggers = []captureTrigger{
	{models.CaptureInsertTrigger, `AFTER INSERT`, 4, "", newRows},
	{models.CaptureUpdateTrigger, `AFTER UPDATE`, 16, oldRows, newRows},
	{models.CaptureDeleteTrigger, `AFTER DELETE`, 8, oldRows, ""},
	{models.CaptureTruncateTrigger, `BEFORE TRUNCATE`, 34, "", ""},
}

// sql is the statement that makes it, of a function's name as statements have it.
func (c captureTrigger) sql(g *guarded, function string) string {
	text := `CREATE TRIGGER ` + ident(c.name) + ` ` + c.clause + ` ON ` + g.sql()
	if c.old+c.new != "" {
		text += ` REFERENCING`
	}
	if c.old != "" {
		text += ` OLD TABLE AS ` + c.old
	}
	if c.new != "" {
		text += ` NEW TABLE AS ` + c.new
	}
	return text + ` FOR EACH STATEMENT EXECUTE FUNCTION ` + function + `()`
}

// presentTrigger is one that the catalogue has under a name of ours.
type presentTrigger struct {
	Name     string `json:"name"`
	Function string `json:"function"` // with its schema and brackets
	OID      int64  `json:"oid"`      // the function's
	Comment  string `json:"comment"`  // the function's
	Kind     int    `json:"kind"`
	Old      string `json:"old"`
	New      string `json:"new"`
	Narrowed bool   `json:"narrowed"` // by a condition or to some columns
	Enabled  bool   `json:"enabled"`
}

func (p presentTrigger) ours() bool {
	_, ours := readNote(p.Comment)
	return ours
}

func (r *captureRun) readTriggers(ctx context.Context, g *guarded) ([]presentTrigger, error) {
	names := make([]string, len(captureTriggers))
	for i, c := range captureTriggers {
		names[i] = c.name
	}
	return readRows[presentTrigger](ctx, r.tx, `
		SELECT t.tgname AS name, t.tgfoid::regprocedure::text AS function, t.tgfoid::bigint AS oid, coalesce(obj_description(t.tgfoid, 'pg_proc'), '') AS comment,
			t.tgtype AS kind, coalesce(t.tgoldtable, '') AS old, coalesce(t.tgnewtable, '') AS new,
			t.tgqual IS NOT NULL OR array_length(t.tgattr::int2[], 1) > 0 AS narrowed, t.tgenabled IN ('O', 'A') AS enabled
		FROM pg_trigger t WHERE t.tgrelid = $1::bigint::oid AND NOT t.tgisinternal AND t.tgname = ANY ($2::text[]) ORDER BY 1`, g.OID, names)
}

// ensureTriggers makes a table's four triggers what they should be. One that is
// always enabled stays so.
func (r *captureRun) ensureTriggers(ctx context.Context, g *guarded, f *captureFunction) error {
	list, err := r.readTriggers(ctx, g)
	if err != nil {
		return err
	}
	have := map[string]presentTrigger{}
	for _, h := range list {
		if !h.ours() {
			return &ProtectError{Table: g.String(), Object: h.Name, Err: ErrCaptureTaken}
		}
		have[h.Name] = h
	}
	for _, want := range captureTriggers {
		h, exists := have[want.name]
		if err := r.ensureTrigger(ctx, g, f, want, h, exists); err != nil {
			return err
		}
	}
	return nil
}

func (r *captureRun) ensureTrigger(ctx context.Context, g *guarded, f *captureFunction, want captureTrigger, have presentTrigger, exists bool) error {
	// Another function of ours is that of a table which was renamed.
	calls := have.OID == f.OID
	same := have.Kind == want.kind && have.Old == want.old && have.New == want.new && !have.Narrowed
	switch {
	case !exists:
		return r.exec(ctx, "%s", want.sql(g, f.name))
	case same && have.Enabled && calls:
		return nil
	case !same || !have.Enabled:
		r.done.Drifted = append(r.done.Drifted, g.String()+"."+want.name)
	}
	if same && calls {
		return r.exec(ctx, `ALTER TABLE %s ENABLE TRIGGER %s`, g.sql(), ident(want.name))
	}
	if err := r.exec(ctx, `DROP TRIGGER %s ON %s`, ident(want.name), g.sql()); err != nil {
		return err
	}
	return r.exec(ctx, "%s", want.sql(g, f.name))
}
