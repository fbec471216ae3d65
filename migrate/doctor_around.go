package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// ourFunction is one that we made, as the catalogue has it.
type ourFunction struct {
	OID       int64  `json:"oid"`
	Name      string `json:"name"`
	Signature string `json:"signature"`
}

// checkFunctionGrants looks at who may run our functions: those that the logins call are
// for the logins, the purge is for the retention role, and trigger functions are for
// nobody, for who makes one the trigger of a table of his own writes entries as he likes.
func (d *doctor) checkFunctionGrants(ctx context.Context) error {
	called := []string{models.ResolveFunction, models.RecordFunction, models.AdmitFunction}
	const ids = "courtroll_uuidv7"         // is for everybody, and the trail's statements call it
	const adoptPrefix = "courtroll_adopt_" // stamps a row with a tenant, with the rights of who writes it
	signatures := []string{models.ResolveFunction + "(text, text)", models.RecordFunction + "(uuid, text, text, text, text, text, jsonb)", models.AdmitFunction + "(text, text)", ids + "()"}
	list, err := readRows[ourFunction](ctx, d.tx, `SELECT p.oid::bigint AS oid, p.proname AS name, p.oid::regprocedure::text AS signature
		FROM pg_proc p WHERE p.pronamespace IN (SELECT relnamespace FROM pg_class WHERE oid = ANY ($1::bigint[]::oid[]))
			AND (p.proname || '(' || oidvectortypes(p.proargtypes) || ')' = ANY ($2::text[]) OR EXISTS (SELECT FROM pg_description n
				WHERE n.objoid = p.oid AND n.classoid = 'pg_proc'::regclass AND n.description LIKE '`+notePrefix+`{%')
				AND NOT starts_with(p.proname, '`+adoptPrefix+`')) ORDER BY 3`, d.set.oids(), signatures)
	if err != nil {
		return err
	}
	for _, f := range list {
		if f.Name == ids {
			if err := d.checkCallers(ctx, f, d.logins()); err != nil {
				return err
			}
			continue
		}
		callers, free := []string{}, false
		switch {
		case slices.Contains(called, f.Name):
			callers, free = d.logins(), true
		case f.Name == purgeFunction && d.cfg.RetentionRole != "":
			callers = []string{d.cfg.RetentionRole}
		}
		if err := d.checkFunction(ctx, f, callers, free); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) checkFunction(ctx context.Context, f ourFunction, callers []string, free bool) error {
	grants, err := d.readGrants(ctx, functionACL, f.OID)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(grants)) {
		list := grants[role]
		called := slices.Contains(callers, role)
		option := slices.ContainsFunc(list, func(g granted) bool { return g.Grantable })
		if called && !option || free && d.trustedWith(role) || d.rights.roles[role].isFree() && !d.confinedLogin(role) {
			continue
		}
		severity, what := SeverityWarning, "it runs with the owner's rights, and is not for it"
		switch {
		case called:
			what = "it may hand that on to others"
		case f.Name == purgeFunction:
			what = "it removes entries of the trail, and is for the retention role alone"
			if severity = SeverityWarning; d.reachedByApp(role) || role == d.cfg.SystemRole {
				severity = SeverityError
			}
		case len(callers) == 0:
			what = "as the trigger of a table of its own it writes entries, or keeps them out, as it likes"
		}
		fix := revoke("ALL", "FUNCTION "+f.Signature, role, list)
		if called {
			fix += " GRANT EXECUTE ON FUNCTION " + f.Signature + " TO " + ident(role) + ";"
		}
		d.report(Finding{CodeGrantFunction, severity, "grant on function " + f.Signature + " to " + role, fmt.Sprintf("%s may run it: %s", role, what), fix})
	}
	return d.checkCallers(ctx, f, callers)
}

// checkCallers reports who cannot run what it needs.
func (d *doctor) checkCallers(ctx context.Context, f ourFunction, callers []string) error {
	lacking, err := queryStrings(ctx, d.tx, `SELECT rolname::text FROM pg_roles WHERE rolname = ANY ($2::text[])
		AND NOT has_function_privilege(oid, $1::bigint::oid, 'EXECUTE') ORDER BY 1`, f.OID, callers)
	for _, role := range lacking {
		d.report(d.lacks("function "+f.Signature, "FUNCTION "+f.Signature, role, []string{"EXECUTE"}))
	}
	return err
}

// checkCreate reports where the app may make something that stands in our tables' way,
// or that others run.
func (d *doctor) checkCreate(ctx context.Context) error {
	list, err := d.homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range list {
		if err := d.reportCreate(ctx, "schema "+h.Schema, "SCHEMA "+ident(h.Schema), schemaACL, h.OID, CodeSchemaCreate,
			"what it makes there is found in the place of another's table, function or operator by whoever has the schema in his search_path"); err != nil {
			return err
		}
	}
	return d.reportCreate(ctx, "database "+d.database, "DATABASE "+ident(d.database), databaseACL, 0, CodeDatabaseCreate,
		"a schema of its own making, with its own name, comes first in its search_path")
}

func (d *doctor) reportCreate(ctx context.Context, object, name, acl string, oid int64, code Code, why string) error {
	grants, err := d.readGrants(ctx, acl, oid)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(grants)) {
		list := slices.DeleteFunc(grants[role], func(g granted) bool { return g.Privilege != "CREATE" })
		if len(list) == 0 || !d.reachedByApp(role) && role != d.cfg.SystemRole && role != d.cfg.RetentionRole || slices.Contains(d.cfg.TrustedRoles, role) {
			continue
		}
		d.report(Finding{code, SeverityWarning, object + " for " + role, fmt.Sprintf("%s may create in it: %s", role, why), revoke("CREATE", name, role, list)})
	}
	return nil
}

// checkRecords looks at the table of versions, which Up believes.
func (d *doctor) checkRecords(ctx context.Context) error {
	list, err := readRows[sequence](ctx, d.tx, `SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relname = '`+recordsTable+`' AND c.relkind = 'r' AND c.relnamespace IN (SELECT relnamespace FROM pg_class WHERE oid = ANY ($1::bigint[]::oid[])) ORDER BY 2`, d.set.oids())
	if err != nil {
		return err
	}
	for _, t := range list {
		grants, err := d.readGrants(ctx, tableACL, t.OID)
		if err != nil {
			return err
		}
		for _, role := range slices.Sorted(maps.Keys(grants)) {
			writes := slices.DeleteFunc(grants[role], func(g granted) bool {
				return slices.Contains([]string{"SELECT", "REFERENCES", "MAINTAIN"}, g.Privilege)
			})
			if len(writes) == 0 || d.trustedWith(role) {
				continue
			}
			names := privileges(writes)
			d.report(Finding{CodeGrantRecords, SeverityWarning, "grant on " + t.Schema + "." + t.Name + " to " + role,
				fmt.Sprintf("%s has %s on it: Up takes a version for done, or for never done, that it is not", role, strings.Join(names, ", ")),
				revoke(strings.Join(names, ", "), "TABLE "+ident(t.Schema, t.Name), role, writes)})
		}
	}
	return nil
}

// future is what default privileges give on what is made later.
type future struct {
	Owner     string `json:"owner"`
	Schema    string `json:"schema"`
	Kind      string `json:"kind"` // as in pg_default_acl.defaclobjtype
	Role      string `json:"role"`
	Privilege string `json:"privilege"`
	Grantable bool   `json:"grantable"`
}

func (f future) statement(what string) string {
	text := "ALTER DEFAULT PRIVILEGES FOR ROLE " + ident(f.Owner)
	if f.Schema != "" {
		text += " IN SCHEMA " + ident(f.Schema)
	}
	return text + " REVOKE " + what + " ON " + f.objects() + " FROM " + grantees([]string{f.Role}) + ";"
}

func (f future) objects() string {
	return map[string]string{"r": "TABLES", "S": "SEQUENCES", "n": "SCHEMAS"}[f.Kind]
}

// checkDefaults looks at what the app is given on tables that are still to come. That it
// may read and write them is usual, and said of the table where nobody protects it.
func (d *doctor) checkDefaults(ctx context.Context) error {
	list, err := readRows[future](ctx, d.tx, `
		SELECT pg_get_userbyid(a.defaclrole) AS owner, coalesce(n.nspname::text, '') AS schema, a.defaclobjtype AS kind,
			coalesce(g.rolname::text, '`+public+`') AS role, x.privilege_type AS privilege, x.is_grantable AS grantable
		FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace CROSS JOIN LATERAL aclexplode(a.defaclacl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
		WHERE x.grantee <> a.defaclrole AND a.defaclobjtype IN ('r', 'S', 'n') ORDER BY 1, 2, 3, 4, 5`)
	if err != nil {
		return err
	}
	usual := map[string][]string{"r": {"SELECT", "INSERT", "UPDATE", "DELETE"}, "S": {"USAGE", "SELECT"}, "n": {"USAGE"}}
	type key struct{ owner, schema, kind, role string }
	done := map[key]bool{}
	for _, f := range list {
		k := key{f.Owner, f.Schema, f.Kind, f.Role}
		if done[k] || !d.reachedByApp(f.Role) && f.Role != d.cfg.SystemRole || slices.Contains(d.cfg.TrustedRoles, f.Role) {
			continue
		}
		excess := []string{}
		for _, other := range list {
			same := k == key{other.Owner, other.Schema, other.Kind, other.Role}
			if same && (other.Grantable || !slices.Contains(usual[f.Kind], other.Privilege) || f.Role == public && f.Kind == "r") {
				excess = append(excess, other.Privilege)
			}
		}
		if done[k] = true; len(excess) == 0 {
			continue
		}
		object := "default privileges of " + f.Owner + " on " + strings.ToLower(f.objects())
		if f.Schema != "" {
			object += " in schema " + f.Schema
		}
		d.report(Finding{CodeGrantDefault, SeverityWarning, object + " for " + f.Role,
			fmt.Sprintf("%s is given %s on whatever %q makes from now on, past what Protect grants", f.Role, strings.Join(excess, ", "), f.Owner),
			f.statement(strings.Join(excess, ", "))})
	}
	return nil
}

// powerful are the parameters that only a superuser may set, and with which policies,
// triggers or the server's own programs are left behind.
var powerful = []string{"session_replication_role", "session_preload_libraries", "shared_preload_libraries", "dynamic_library_path", "allow_system_table_mods", "allow_in_place_tablespaces",
	"zero_damaged_pages", "ignore_checksum_failure", "ignore_system_indexes", "lo_compat_privileges", "jit_provider", "local_preload_libraries", "extension_control_path"}

// checkParameters looks at the parameters that were granted to the logins.
func (d *doctor) checkParameters(ctx context.Context) error {
	list, err := readRows[held](ctx, d.tx, `SELECT p.parname AS column, x.privilege_type || ' ' || coalesce(g.rolname::text, '`+public+`') AS privilege
		FROM pg_parameter_acl p CROSS JOIN LATERAL aclexplode(p.paracl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
		WHERE x.privilege_type <> 'SET' OR p.parname = ANY ($1::text[]) OR starts_with(p.parname, '`+settingPrefix+`') ORDER BY 1, 2`, powerful)
	for _, h := range list {
		what, role := "SET", strings.TrimPrefix(h.Privilege, "SET ")
		if rest, system := strings.CutPrefix(h.Privilege, "ALTER SYSTEM "); system {
			what, role = "ALTER SYSTEM", rest
		}
		if d.rights.roles[role].isFree() || slices.Contains(d.cfg.TrustedRoles, role) || !d.reachedByApp(role) && !d.reach(d.cfg.SystemRole, "")[role] && !d.reach(d.cfg.RetentionRole, "")[role] {
			continue
		}
		d.report(Finding{CodeGrantParameter, SeverityError, "grant on parameter " + h.Column + " to " + role,
			fmt.Sprintf("%s may %s %s: triggers that capture changes, keys or the server's protection can be switched off with it", role, what, h.Column),
			"REVOKE " + what + " ON PARAMETER " + ident(strings.Split(h.Column, ".")...) + " FROM " + grantees([]string{role}) + " CASCADE;"})
	}
	return err
}

// rawExtensions are those whose functions go beneath tables, or log in as somebody else,
// and are a superuser's alone.
var rawExtensions = []string{"dblink", "pageinspect", "pg_walinspect", "pg_surgery", "adminpack"}

// checkCatalogueGrants looks for what the server keeps from all but superusers and was
// granted by hand: statistics hold values of all tenants, some functions read files, and
// some of an extension's log in as the server does.
func (d *doctor) checkCatalogueGrants(ctx context.Context) error {
	type excess struct{ Object, Name, Role, Privilege string }
	list, err := readRows[excess](ctx, d.tx, `
		WITH objects AS (
			SELECT c.oid, 'pg_class'::regclass AS class, 0 AS sub, format('table %s.%s', n.nspname, c.relname) AS name, format('TABLE %I.%I', n.nspname, c.relname) AS sql, '' AS col, c.relacl AS acl
				FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname IN ('pg_catalog', 'pg_toast') AND c.relacl IS NOT NULL
			UNION ALL SELECT c.oid, 'pg_class'::regclass, a.attnum, format('table %s.%s', n.nspname, c.relname), format('TABLE %I.%I', n.nspname, c.relname), ' (' || quote_ident(a.attname) || ')', a.attacl
				FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid WHERE n.nspname IN ('pg_catalog', 'pg_toast') AND a.attacl IS NOT NULL
			UNION ALL SELECT p.oid, 'pg_proc'::regclass, 0, 'function ' || p.oid::regprocedure, 'FUNCTION ' || p.oid::regprocedure, '', p.proacl
				FROM pg_proc p WHERE p.proacl IS NOT NULL AND (p.pronamespace = 'pg_catalog'::regnamespace OR EXISTS (SELECT FROM pg_depend e JOIN pg_extension x ON x.oid = e.refobjid
					WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e' AND x.extname = ANY ($1::text[]))))
		SELECT o.name AS "Object", o.sql AS "Name", coalesce(g.rolname::text, '`+public+`') AS "Role", string_agg(DISTINCT x.privilege_type || o.col, ', ') AS "Privilege"
		FROM objects o CROSS JOIN LATERAL aclexplode(o.acl) x LEFT JOIN pg_roles g ON g.oid = x.grantee
		LEFT JOIN pg_init_privs i ON i.objoid = o.oid AND i.classoid = o.class AND i.objsubid = o.sub
		WHERE x.grantor <> x.grantee AND (i.objoid IS NOT NULL OR o.class = 'pg_class'::regclass)
			AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) y WHERE y.grantee = x.grantee AND y.privilege_type = x.privilege_type)
		GROUP BY 1, 2, 3 ORDER BY 1, 3`, rawExtensions)
	for _, e := range list {
		if !d.reachedByApp(e.Role) || strings.HasPrefix(e.Role, "pg_") {
			continue
		}
		d.report(Finding{CodeGrantCatalogue, SeverityError, "grant on " + e.Object + " to " + e.Role,
			fmt.Sprintf("%s has %s on it, which the server, or an extension, keeps from all but superusers: statistics, files, what lies beneath tables and logins without a password lead to values of every tenant", e.Role, e.Privilege),
			"REVOKE " + e.Privilege + " ON " + e.Name + " FROM " + grantees([]string{e.Role}) + " CASCADE;"})
	}
	return err
}
