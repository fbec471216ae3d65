package migrate

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/models"
)

// routine is a function or procedure of somebody's, not of an extension's or the server's.
type routine struct {
	OID       int64    `json:"oid"`
	Schema    string   `json:"schema"`
	Name      string   `json:"name"`
	Signature string   `json:"signature"`
	Owner     string   `json:"owner"`
	Language  string   `json:"language"`
	Definer   bool     `json:"definer"`
	Trigger   bool     `json:"trigger"` // it cannot be called
	Config    []string `json:"config"`  // the names of what it sets
	Body      string   `json:"body"`

	tokens  []sqllex.Token
	reaches string // what it gets at, as people read it
}

// checkFunctions looks for functions that run with another's rights, or as another
// tenant, and that the app may call.
func (d *doctor) checkFunctions(ctx context.Context, views []overlying) error {
	list, err := readRows[*routine](ctx, d.tx, `
		SELECT p.oid::bigint AS oid, n.nspname AS schema, p.proname AS name, p.oid::regprocedure::text AS signature, pg_get_userbyid(p.proowner) AS owner, l.lanname AS language,
			p.prosecdef AS definer, p.prorettype IN ('trigger'::regtype, 'event_trigger'::regtype) AS trigger,
			ARRAY(SELECT split_part(c, '=', 1) FROM unnest(p.proconfig) c WHERE split_part(c, '=', 2) <> '' ORDER BY 1) AS config,
			CASE WHEN l.lanname IN ('sql', 'plpgsql') THEN coalesce(pg_get_function_sqlbody(p.oid), p.prosrc) ELSE '' END AS body
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
		WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') AND p.prokind IN ('f', 'p') AND p.proname <> ALL ($1::text[])
			AND (CASE WHEN $2::text = '' THEN true ELSE has_schema_privilege($2::text::name, n.oid, 'USAGE') END
				OR EXISTS (SELECT FROM pg_depend e WHERE e.refclassid = 'pg_proc'::regclass AND e.refobjid = p.oid AND e.deptype = 'n'))
			AND NOT EXISTS (SELECT FROM pg_description o WHERE o.objoid = p.oid AND o.classoid = 'pg_proc'::regclass AND o.description LIKE '`+notePrefix+`{%')
			AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e') ORDER BY 4`,
		[]string{models.ResolveFunction, models.RecordFunction, models.AdmitFunction, purgeFunction}, d.app)
	if err != nil {
		return err
	}
	d.findReaches(list, views)
	for _, f := range list {
		if f.Trigger || !f.suspicious() {
			continue
		}
		callers, err := d.callersOf(ctx, f)
		if err != nil {
			return err
		}
		if len(callers) > 0 {
			d.reportRoutine(f, callers)
		}
	}
	return nil
}

// callersOf returns the roles through which the app may run a function: itself, or through
// an aggregate, which asks for no privilege on what it is made of.
func (d *doctor) callersOf(ctx context.Context, f *routine) (callers []string, err error) {
	runs, err := queryStrings(ctx, d.tx, `SELECT $1::bigint::text UNION SELECT aggfnoid::oid::text FROM pg_aggregate
		WHERE $1::bigint::oid IN (aggtransfn, aggfinalfn, aggcombinefn, aggmtransfn, aggminvtransfn, aggmfinalfn)`, f.OID)
	if err != nil {
		return nil, err
	}
	for _, oid := range runs {
		id, _ := strconv.ParseInt(oid, 10, 64)
		grants, err := d.readGrants(ctx, functionACL, id)
		if err != nil {
			return nil, err
		}
		for role := range grants {
			if d.reachedByApp(role) {
				callers = append(callers, role)
			}
		}
	}
	slices.Sort(callers)
	return slices.Compact(callers), nil
}

// setsTenant is how a function's text sets what the policies read.
var setsTenant = regexp.MustCompile(`(?i)set_config\s*\(\s*'courtroll\.|\bset\s+((local|session)\s+)?"?courtroll"?\s*\.`)

func (f *routine) suspicious() bool {
	return f.Definer && f.reaches != "" || len(f.settings()) > 0 || setsTenant.MatchString(f.Body)
}

func (d *doctor) reportRoutine(f *routine, callers []string) {
	object := "function " + f.Signature
	switch set := f.settings(); {
	case f.Definer && f.reaches != "" && f.Owner != d.app:
		d.report(Finding{CodeFunctionDefiner, SeverityError, object,
			fmt.Sprintf("it is SECURITY DEFINER, the app may run it, and with the rights of %q it reaches %s: the caller's policies do not count", f.Owner, f.reaches),
			"ALTER ROUTINE " + f.Signature + " SECURITY INVOKER;"})
	case len(set) > 0:
		resets := make([]string, len(set))
		for i, name := range set {
			resets[i] = "ALTER ROUTINE " + f.Signature + " RESET " + ident(strings.Split(name, ".")...) + ";"
		}
		d.report(Finding{CodeFunctionSetting, SeverityError, object,
			fmt.Sprintf("it runs with a %s of its own, and the app may run it: what it does is not the session's tenant's", strings.Join(set, ", ")), strings.Join(resets, " ")})
	case setsTenant.MatchString(f.Body):
		d.report(Finding{CodeFunctionSetting, SeverityWarning, object,
			"it sets what the policies read, and the app may run it: statements that call it go on as another tenant, and nobody who reads them can tell",
			"REVOKE ALL ON ROUTINE " + f.Signature + " FROM " + grantees(callers) + " CASCADE;"})
	}
}

// settings are those of ours, and those by which policies and triggers are left behind,
// that a function has of its own.
func (f *routine) settings() (list []string) {
	for _, name := range f.Config {
		if strings.HasPrefix(strings.ToLower(name), settingPrefix) || slices.Contains([]string{"role", "session_replication_role"}, name) {
			list = append(list, name)
		}
	}
	return list
}

// findReaches finds out, by the words of their texts, which functions get at protected
// tables: themselves, through a view, or through one that they call. What puts its SQL
// together, or is in a language that is not read here, may.
func (d *doctor) findReaches(list []*routine, views []overlying) {
	for _, f := range list {
		f.reaches = d.reachedAlone(f, views)
	}
	for found := true; found; {
		found = false
		for _, f := range list {
			if f.reaches == "" && f.reachThrough(list) {
				found = true
			}
		}
	}
}

func (d *doctor) reachedAlone(f *routine, views []overlying) string {
	if f.Language != "sql" && f.Language != "plpgsql" {
		return "what nobody can tell, for it is in " + f.Language
	}
	var err error
	if f.tokens, err = sqllex.Scan(f.Body); err != nil {
		return "what nobody can tell, for its text cannot be read"
	}
	if runsText(f) {
		return "what nobody can tell, for it runs SQL that it puts together"
	}
	for _, g := range d.set.list {
		if f.names(g.Schema, g.Name, false) {
			return "table " + g.String()
		}
	}
	for _, v := range views {
		if f.names(v.Schema, v.Name, false) {
			return "view " + v.String()
		}
	}
	for _, name := range statisticNames {
		if d.rights.roles[f.Owner].isFree() && f.names("pg_catalog", name, false) {
			return "statistics of all rows in " + name
		}
	}
	return ""
}

func (f *routine) reachThrough(list []*routine) bool {
	for _, g := range list {
		if g.reaches != "" && f.names(g.Schema, g.Name, true) {
			f.reaches = "function " + g.Signature + " and so " + g.reaches
			return true
		}
	}
	return false
}

// runsText reports whether a function runs SQL that is given as text.
func runsText(f *routine) bool {
	r, err := sqllex.ReadRoutine(f.Body)
	if err != nil || r.Dynamic {
		return true
	}
	return slices.ContainsFunc(r.Calls, func(call sqllex.Ref) bool {
		return strings.HasPrefix(call.Name, "dblink") || strings.HasPrefix(call.Name, "crosstab") || strings.Contains(call.Name, "_to_xml") || call.Name == "ts_stat"
	})
}

// names reports whether a text names a relation, or calls a function, of that name. One
// with another schema before it is another, and a relation's name stands where one can
// stand: a variable may have it, too.
func (f *routine) names(schema, name string, called bool) bool {
	for i, t := range f.tokens {
		if !t.IsName() || t.Text != name {
			continue
		}
		first := i
		if i > 1 && f.tokens[i-1].IsSymbol('.') && f.tokens[i-2].IsName() {
			if first = i - 2; f.tokens[first].Text != schema {
				continue
			}
		}
		if called && i+1 < len(f.tokens) && f.tokens[i+1].IsSymbol('(') || !called && first > 0 && beforeRelation(f.tokens[first-1]) {
			return true
		}
	}
	return false
}

// beforeRelation reports whether a relation's name may follow the token.
func beforeRelation(t sqllex.Token) bool {
	switch t.Text {
	case "from", "join", "into", "update", "only", "table", "using", "truncate", "copy", "lock", "(", ",":
		return t.Kind == sqllex.Word || t.Kind == sqllex.Symbol
	}
	return false
}
