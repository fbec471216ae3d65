package migrate

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Functions that we made: those of the versions, of AppendOnly and of CaptureByTrigger.
const (
	CodeFunctionMissing  Code = "function-missing"
	CodeFunctionAltered  Code = "function-altered"
	CodeFunctionOwner    Code = "function-owner"
	CodeFunctionShadowed Code = "function-shadowed" // somebody's of the same name is called instead, or may be
)

// declaredState is what a declaration of ours says, in the catalogue's words.
type declaredState struct {
	source     string
	definer    bool
	config     []string
	volatility string
	language   string
	returns    string
}

var (
	returnsClause  = regexp.MustCompile(`RETURNS (\w+)`)
	languageClause = regexp.MustCompile(`LANGUAGE (\w+)`)
	setClause      = regexp.MustCompile(`(?m)^SET (\w+) = (.+)$`)
)

// canonical are settings whose names the catalogue writes otherwise.
var canonical = map[string]string{"datestyle": "DateStyle"}

// declared reads a declaration of ours.
func declared(declaration, source string) declaredState {
	a := declaredState{source: source, definer: strings.Contains(declaration, "SECURITY DEFINER"), volatility: "v"}
	if found := returnsClause.FindStringSubmatch(declaration); found != nil {
		a.returns = strings.Replace(found[1], "TABLE", "record", 1)
	}
	if found := languageClause.FindStringSubmatch(declaration); found != nil {
		a.language = found[1]
	}
	if strings.Contains(declaration, "STABLE") {
		a.volatility = "s"
	}
	for _, found := range setClause.FindAllStringSubmatch(declaration, -1) {
		a.config = append(a.config, cmp.Or(canonical[found[1]], found[1])+"="+strings.Trim(found[2], "'"))
	}
	return a
}

// state is [captureFunction.State] of a function that is as declared. The server writes
// it, so that its hash is the one that a note has.
func (d *doctor) state(ctx context.Context, a declaredState) (string, error) {
	list, err := queryStrings(ctx, d.tx, `SELECT json_build_array($1::text, $2::boolean, $3::text[], $4::text, $5::text, $6::text)::text`,
		a.source, a.definer, a.config, a.volatility, a.language, a.returns)
	if err != nil {
		return "", err
	}
	return list[0], nil
}

// readOwn reads a function by its names, which asks for no privilege on its schema.
func (d *doctor) readOwn(ctx context.Context, schema, name, args string) (*captureFunction, error) {
	return d.readFunctionOID(ctx, `(SELECT f.oid FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
		WHERE n.nspname = $1 AND f.proname = $2 AND oidvectortypes(f.proargtypes) = $3)`, schema, name, strings.ReplaceAll(args, "timestamptz", "timestamp with time zone"))
}

// stateParts are those of a state, for people.
var stateParts = []string{"its body", "whose rights it runs with", "its settings", "its volatility", "its language", "its result"}

// altered says what of a state is otherwise than it should be.
func altered(have, want string) string {
	var a, b []json.RawMessage
	if json.Unmarshal([]byte(have), &a) != nil || json.Unmarshal([]byte(want), &b) != nil || len(a) != len(b) {
		return stateParts[0]
	}
	var parts []string
	for i, part := range stateParts {
		if string(a[i]) != string(b[i]) {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ", ")
}

func (f *ownFunction) object() string { return "function " + f.schema + "." + f.name }

// remake is the SQL that makes one of our functions what it should be, with its note.
func (d *doctor) remake(ctx context.Context, f *ownFunction) (string, error) {
	state, err := d.state(ctx, declared(f.declaration, f.body))
	if err != nil {
		return "", err
	}
	made := note{Made: hash(f.statement()), State: hash(state)}
	return texts(f.statement(), ownerSQL(f.sql(), f.owner), `COMMENT ON FUNCTION `+f.sql()+` IS `+literal(made.String())), nil
}

// close is the SQL that lets nobody but its callers run a function that is new.
func (f *ownFunction) close() string {
	list := []string{`REVOKE ALL ON FUNCTION ` + f.sql() + ` FROM ` + public}
	if len(f.callers) > 0 {
		list = append(list, `GRANT EXECUTE ON FUNCTION `+f.sql()+` TO `+grantees(f.callers))
	}
	return texts(list...)
}

func ownerSQL(function, owner string) string {
	return `ALTER FUNCTION ` + function + ` OWNER TO ` + ident(owner)
}

// texts makes one text of statements, each with its semicolon or without.
func texts(statements ...string) string {
	var list []string
	for _, s := range statements {
		if s != "" {
			list = append(list, strings.TrimSuffix(s, ";")+";")
		}
	}
	return strings.Join(list, "\n")
}

// checkMadeFunctions looks at the functions that versions made: whether they are there, and
// are what the embedded text says.
func (d *doctor) checkMadeFunctions(ctx context.Context) error {
	list, err := d.sqlFunctions(ctx)
	if err != nil {
		return err
	}
	for _, f := range list {
		if d.pending[f.version] {
			continue // which is what there is to say
		}
		if err := d.checkMade(ctx, f); err != nil {
			return err
		}
		if err := d.checkShadows(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// checkShadows looks for functions of the name in schemas that the login searches, for
// statements call ours by their names alone, and in ours for those of other arguments.
func (d *doctor) checkShadows(ctx context.Context, f *sqlFunction) error {
	type shadow struct{ Name, SQL string }
	list, err := readRows[shadow](ctx, d.tx, `SELECT format('%s.%s', n.nspname, p.proname) AS "Name", p.oid::regprocedure::text AS "SQL"
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.proname = $1 AND (n.nspname = $2 OR n.nspname = ANY ($4::text[])) AND NOT (n.nspname = $2 AND oidvectortypes(p.proargtypes) = $3) ORDER BY 1, 2`,
		f.name, f.schema, f.args, d.searched)
	for _, s := range list {
		d.report(Finding{CodeFunctionShadowed, SeverityError, "function " + s.Name,
			"it has the name of ours and may be called in its place: " + lost[f.name], `ALTER FUNCTION ` + s.SQL + ` RENAME TO ` + ident(f.name+"_old") + `;`})
	}
	return err
}

// sqlFunction is a function of a version, as it should be.
type sqlFunction struct {
	version      int
	schema, name string
	args         string // the types of its arguments
	signature    string
	declaredState
	body  string // that of standard SQL
	text  string // what makes it
	owner string
	open  bool // anybody may run it
}

func (f *sqlFunction) sql() string { return ident(f.schema, f.name) + `(` + f.args + `)` }

// create is the SQL that makes it, which a superuser may run as well.
func (f *sqlFunction) create() string { return texts(f.text, ownerSQL(f.sql(), f.owner)) }

// functionText is a function in the text of a version: its home, name, arguments, declaration and body.
var functionText = regexp.MustCompile(`CREATE OR REPLACE FUNCTION (%1\$I\.)?(\w+)\(([^)]*)\)\s+(RETURNS (?s:.+?))\n(?:AS \$body\$((?s:.*?))\$body\$|(RETURN (?s:.*?));\n)`)

// sqlFunctions reads them from the embedded text, with the names of this database.
func (d *doctor) sqlFunctions(ctx context.Context) ([]*sqlFunction, error) {
	home, log := d.of(register), d.of(auditTrail)
	if home == nil || log == nil {
		return nil, nil // which is another finding
	}
	sources, err := loadSources(embedded)
	if err != nil {
		return nil, err
	}
	quoted, err := queryStrings(ctx, d.tx, `SELECT quote_ident(s) FROM unnest($1::text[]) WITH ORDINALITY AS u (s, n) ORDER BY n`, []string{home.Schema, log.Schema})
	if err != nil {
		return nil, err
	}
	fill := strings.NewReplacer(`%1$I`, quoted[0], `%2$I`, quoted[1])
	var list []*sqlFunction
	for _, s := range sources {
		found := functionText.FindStringSubmatch(s.up)
		if found == nil {
			continue
		}
		f := &sqlFunction{version: s.Version, schema: home.Schema, name: found[2], owner: home.Owner, body: found[6], open: found[1] == ""}
		f.declaredState = declared(found[4], fill.Replace(found[5]))
		f.args, f.signature = signature(found[3], found[4])
		f.text = d.qualified(s.up)
		if strings.Contains(found[5], `%2$I`) {
			f.owner = log.Owner
		}
		if f.open { // it lies where Up ran, and not beside a table
			f.schema = cmp.Or(d.uuidHome, home.Schema)
			f.text = strings.ReplaceAll(f.text, `FUNCTION `+f.name, `FUNCTION `+ident(f.schema, f.name))
		}
		list = append(list, f)
	}
	return list, nil
}

var blank = regexp.MustCompile(`\s+`)

// signature returns the types of the arguments, and the whole as the catalogue has it.
func signature(args, declaration string) (types, text string) {
	var list []string
	args = blank.ReplaceAllString(args, " ")
	for arg := range strings.SplitSeq(args, ", ") {
		if _, kind, ok := strings.Cut(arg, " "); ok {
			list = append(list, kind)
		}
	}
	result, _, _ := strings.Cut(strings.TrimPrefix(declaration, "RETURNS "), "\n")
	return strings.Join(list, ", "), args + " -> " + strings.Replace(result, "TABLE (", "TABLE(", 1)
}

func (d *doctor) checkMade(ctx context.Context, f *sqlFunction) error {
	object := "function " + f.schema + "." + f.name
	have, err := d.readOwn(ctx, f.schema, f.name, f.args)
	if err != nil {
		return err
	}
	if have == nil {
		d.report(Finding{CodeFunctionMissing, SeverityError, object, "it is missing: " + lost[f.name], texts(f.create(), d.grantLogins(f))})
		return nil
	}
	want, err := d.state(ctx, f.declaredState)
	if err != nil {
		return err
	}
	body := bodySpelled(have.Body) == bodySpelled(f.body)
	switch {
	case have.Signature != f.signature:
		d.report(Finding{CodeFunctionAltered, SeverityError, object, "its arguments or its result were altered by hand: " + lost[f.name],
			texts(`DROP FUNCTION `+f.sql(), f.create(), d.grantLogins(f))})
	case have.State != want || !body || have.Strict:
		what := cmp.Or(altered(have.State, want), stateParts[0])
		if have.Strict {
			what = "it is STRICT and so does nothing where an argument is NULL; " + what
		}
		d.report(Finding{CodeFunctionAltered, SeverityError, object, "it was altered by hand (" + what + "): " + lost[f.name], f.create()})
	default:
		return d.checkMadeOwner(ctx, object, f, have)
	}
	return nil
}

// constantCasts are what the server adds to the constants and columns of an expression.
var constantCasts = regexp.MustCompile(`::(text|charactervarying|doubleprecision|numeric|bigint|uuid)(\[\])?`)

// bodySpelled is a body of standard SQL in one spelling, ours or the server's.
func bodySpelled(body string) string {
	return spelled(constantCasts.ReplaceAllString(blank.ReplaceAllString(body, ""), ""))
}

// lost says what each function is for.
var lost = map[string]string{
	"courtroll_uuidv7":         "the ids of entries that SQL writes come from it",
	"courtroll_resolve_tenant": "tenants are looked up by it, with its owner's rights, before anybody knows whose the session is",
	"courtroll_record_event":   "events of no tenant are recorded by it, with its owner's rights",
	"courtroll_admit":          "it stops the statements of suspended tenants, with its owner's rights",
}

// grantLogins lets those run a new function who could run the one before it.
func (d *doctor) grantLogins(f *sqlFunction) string {
	if d.app == "" || f.open {
		return ""
	}
	return `GRANT EXECUTE ON FUNCTION ` + f.sql() + ` TO ` + grantees(d.logins())
}

// checkMadeOwner wants one for whom the policies of our functions are, and whom
// they bind as they bind the table's owner.
func (d *doctor) checkMadeOwner(ctx context.Context, object string, f *sqlFunction, have *captureFunction) error {
	if have.Owner == f.owner {
		return nil
	}
	bound, err := queryStrings(ctx, d.tx, `SELECT 'bound' FROM pg_roles h, pg_roles w WHERE h.rolname = $1 AND w.rolname = $2 AND pg_has_role(h.oid, w.oid, 'USAGE')
		AND (w.rolsuper OR NOT h.rolsuper) AND (w.rolbypassrls OR NOT h.rolbypassrls)`, have.Owner, f.owner)
	if err == nil && len(bound) == 0 {
		d.report(Finding{CodeFunctionOwner, SeverityError, object,
			fmt.Sprintf("it belongs to %s and not to %s, who owns the table: it runs with rights that its policies are not made for", have.Owner, f.owner), texts(ownerSQL(f.sql(), f.owner))})
	}
	return err
}
