package migrate

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// dbRole is a role of the server. What it is a member of is read from the catalogue and
// not asked of pg_has_role, to which a superuser is a member of everything.
type dbRole struct {
	Name        string `json:"name"`
	Super       bool   `json:"super"`
	Bypass      bool   `json:"bypass"`
	CreateRole  bool   `json:"createrole"`
	Replication bool   `json:"replication"`

	in []membership
}

// membership is one GRANT of a role to another.
type membership struct {
	Member  string `json:"member"`
	Group   string `json:"group"`
	Grantor string `json:"grantor"` // empty if a REVOKE need not name it
	Implied bool   `json:"implied"` // nobody granted it
	Inherit bool   `json:"inherit"` // policies for the group hold for the member
}

// hazard is what a role may that the app's must not.
type hazard struct {
	code    Code // of a membership in it
	what    string
	follows string // what it leads to, empty if that says it
	mild    bool   // it is no way around the policies by itself
}

// rights is who may what on this server, as far as it matters here.
type rights struct {
	roles         map[string]*dbRole
	hazards       map[string][]hazard
	owner         string // of most of the tables, empty if it is nobody but the app
	seized        map[int64]string
	session       string // session_user
	databaseOwner string
	app           map[string]bool // what the app's logins are, or may become
}

// findRights reads the roles. It then takes those tables that one of the app's logins
// owns for the usual owner's: else each policy that names the owner would be found
// altered, and not the one thing that is.
func (d *doctor) findRights(ctx context.Context) error {
	d.rights = rights{roles: map[string]*dbRole{}, hazards: map[string][]hazard{}, seized: map[int64]string{}}
	here, err := queryStrings(ctx, d.tx, `SELECT unnest(ARRAY[session_user::text, datname, pg_get_userbyid(datdba)]) FROM pg_database WHERE datname = current_database()`)
	if err != nil {
		return err
	}
	d.rights.session, d.database, d.rights.databaseOwner = here[0], here[1], here[2]
	if err := d.readRoles(ctx); err != nil {
		return err
	}
	if err := d.findRetentionRole(ctx); err != nil {
		return err
	}
	d.rights.app = d.reach(d.app, "")
	if d.bound(d.rights.session) {
		maps.Copy(d.rights.app, d.reach(d.rights.session, ""))
	}
	if err := d.findOwner(ctx); err != nil {
		return err
	}
	d.sequencesOf = map[int64][]sequence{}
	for _, g := range d.set.list {
		if d.sequencesOf[g.OID], err = d.sequences(ctx, g); err != nil {
			return err
		}
	}
	if err := d.findImpostors(ctx); err != nil {
		return err
	}
	return d.findHazards(ctx)
}

func (d *doctor) readRoles(ctx context.Context) error {
	roles, err := readRows[*dbRole](ctx, d.tx, `SELECT rolname AS name, rolsuper AS super, rolbypassrls AS bypass,
		rolcreaterole AS createrole, rolreplication AS replication FROM pg_roles`)
	if err != nil {
		return err
	}
	for _, r := range roles {
		d.rights.roles[r.Name] = r
	}
	// Since 16 a REVOKE takes back what one grantor granted. 10 is the first superuser.
	list, err := readRows[membership](ctx, d.tx, `
		SELECT m.rolname AS member, g.rolname AS group, CASE WHEN a.grantor <> 10 AND current_setting('server_version_num')::int >= 160000
			THEN coalesce(o.rolname::text, '') ELSE '' END AS grantor, false AS implied,
			coalesce((to_jsonb(a)->>'inherit_option')::boolean, m.rolinherit) AS inherit
		FROM pg_auth_members a JOIN pg_roles m ON m.oid = a.member JOIN pg_roles g ON g.oid = a.roleid LEFT JOIN pg_roles o ON o.oid = a.grantor
		UNION ALL SELECT pg_get_userbyid(datdba), 'pg_database_owner', '', true, true FROM pg_database WHERE datname = current_database()
		ORDER BY 1, 2, 3`)
	for _, m := range list {
		if r := d.rights.roles[m.Member]; r != nil {
			r.in = append(r.in, m)
		}
	}
	return err
}

// reach returns a role with all that it is a member of, except through one of them.
func (d *doctor) reach(role, except string) map[string]bool {
	found := map[string]bool{}
	var visit func(string)
	visit = func(name string) {
		r := d.rights.roles[name]
		if r == nil || found[name] || name == except {
			return
		}
		found[name] = true
		for _, m := range r.in {
			visit(m.Group)
		}
	}
	visit(role)
	return found
}

// findRetentionRole goes by the trigger that sets the time, which names the role that
// may record a purge. Where it is not there, whoever may run the purge is taken for it.
func (d *doctor) findRetentionRole(ctx context.Context) error {
	if d.cfg.RetentionRole != "" {
		return nil
	}
	log := d.trail()
	if log == nil {
		return nil
	}
	bodies, err := queryStrings(ctx, d.tx, `SELECT p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		WHERE p.proname = '`+clockFunction+`' AND n.nspname = $1`, log.Schema)
	if err != nil {
		return err
	}
	callers, err := queryStrings(ctx, d.tx, `SELECT DISTINCT g.rolname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
		CROSS JOIN LATERAL aclexplode(p.proacl) x JOIN pg_roles g ON g.oid = x.grantee
		WHERE p.proname = '`+purgeFunction+`' AND n.nspname = $1 AND x.grantee <> p.proowner ORDER BY 1`, log.Schema)
	if err != nil {
		return err
	}
	if len(bodies) > 0 {
		callers = slices.Sorted(maps.Keys(d.rights.roles))
	}
	callers = slices.DeleteFunc(callers, func(role string) bool {
		known := role == log.Owner || role == d.app || role == d.cfg.SystemRole || slices.Contains(d.cfg.TrustedRoles, role)
		return known || len(bodies) > 0 && !strings.Contains(bodies[0], literal(ident(role)))
	})
	if len(callers) > 0 {
		d.cfg.RetentionRole = callers[0]
	}
	return nil
}

// trail is audit_logs, nil if there is none.
func (d *doctor) trail() *guarded {
	for _, g := range d.set.list {
		if g.class == auditTrail {
			return g
		}
	}
	return nil
}

// confinedLogin reports whether a role is one that must not own anything.
func (d *doctor) confinedLogin(role string) bool {
	return role != "" && (role == d.app || role == d.cfg.SystemRole || role == d.cfg.RetentionRole ||
		role == d.rights.session && d.bound(role))
}

// bound reports whether the app's policies hold for a login, which inherits from the
// app's role or is made that one at once. The tables' owner may be a member of it, as who
// made it is since 16, and is no login of the app's.
func (d *doctor) bound(login string) bool {
	if d.app == "" {
		return false
	}
	owned := 0
	for _, g := range d.set.list {
		if g.Owner == login || d.rights.seized[g.OID] == login {
			owned++
		}
	}
	if login != d.app && 2*owned > len(d.set.list) {
		return false
	}
	return d.inherits(login) || d.login != login && d.inherits(d.login) && d.reach(login, "")[d.app]
}

// inherits reports whether a role has what the app's has without a SET ROLE.
func (d *doctor) inherits(role string) bool {
	if role == d.app {
		return true
	}
	r := d.rights.roles[role]
	return r != nil && slices.ContainsFunc(r.in, func(m membership) bool { return m.Inherit && d.inherits(m.Group) })
}

// findOwner finds whose the tables are, or were, by the policies for the owner.
func (d *doctor) findOwner(ctx context.Context) error {
	count := map[string]int{}
	for _, g := range d.set.list {
		if !d.confinedLogin(g.Owner) {
			count[g.Owner]++
		}
	}
	for _, role := range slices.Sorted(maps.Keys(count)) {
		if count[role] > count[d.rights.owner] {
			d.rights.owner = role
		}
	}
	if d.rights.owner == "" {
		named, err := queryStrings(ctx, d.tx, `SELECT DISTINCT r.rolname::text FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles)
			WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND p.polname = 'courtroll_definer' ORDER BY 1`, d.set.oids())
		if err != nil {
			return err
		}
		named = slices.DeleteFunc(named, d.confinedLogin)
		if len(named) > 0 {
			d.rights.owner = named[0]
		}
	}
	for _, g := range d.set.list {
		if d.confinedLogin(g.Owner) && d.rights.owner != "" {
			d.rights.seized[g.OID], g.Owner = g.Owner, d.rights.owner
		}
	}
	return nil
}

// ownership is who owns what the tables depend on.
type ownership struct {
	Role   string `json:"role"`
	Kind   string `json:"kind"`
	Name   string `json:"name"` // as people read it
	Object string `json:"object"`
	OID    int64  `json:"oid"` // the table's
}

func (d *doctor) ownerships(ctx context.Context) ([]ownership, error) {
	return readRows[ownership](ctx, d.tx, `
		WITH tables AS (SELECT c.*, n.nspowner, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = ANY ($1::bigint[]::oid[]) OR c.relname = '`+recordsTable+`' AND c.relkind = 'r'
				AND c.relnamespace IN (SELECT relnamespace FROM pg_class WHERE oid = ANY ($1::bigint[]::oid[])))
		SELECT pg_get_userbyid(relowner) AS role, 'table' AS kind, nspname || '.' || relname AS name, format('%I.%I', nspname, relname) AS object, oid::bigint AS oid FROM tables
		UNION SELECT pg_get_userbyid(nspowner), 'schema', nspname, format('%I', nspname), 0 FROM tables
		UNION SELECT pg_get_userbyid(datdba), 'database', datname, format('%I', datname), 0 FROM pg_database WHERE datname = current_database()
		ORDER BY 2, 3`, d.set.oids())
}

// harmless are the predefined roles that show nothing of what others do.
var harmless = []string{"pg_read_all_settings", "pg_checkpoint", "pg_use_reserved_connections", "pg_database_owner"}

// observing are those that see what others do, or hold them up, and get at no row.
var observing = []string{"pg_monitor", "pg_read_all_stats", "pg_stat_scan_tables", "pg_signal_backend", "pg_signal_autovacuum_worker", "pg_maintain", "pg_create_subscription"}

// findHazards lists for each role what makes its members dangerous.
func (d *doctor) findHazards(ctx context.Context) error {
	add := func(role string, code Code, what, follows string) {
		d.rights.hazards[role] = append(d.rights.hazards[role], hazard{code: code, what: what, follows: follows})
	}
	owners, err := d.ownerships(ctx)
	if err != nil {
		return err
	}
	for name, r := range d.rights.roles {
		for _, a := range r.attributes() {
			add(name, CodeMemberPrivileged, a.what, a.follows)
		}
		if strings.HasPrefix(name, "pg_") && !slices.Contains(harmless, name) {
			d.rights.hazards[name] = append(d.rights.hazards[name], hazard{CodeMemberPredefined,
				"is a predefined role that reaches past what is granted to the app", "", slices.Contains(observing, name)})
		}
	}
	for _, o := range owners {
		add(o.Role, CodeMemberOwner, "owns "+o.Kind+" "+o.Name, "an owner takes off policies, triggers and grants")
	}
	if d.cfg.SystemRole != "" {
		add(d.cfg.SystemRole, CodeMemberSystem, "is the system role", "policies for it hold for its members without any SET ROLE")
	}
	if d.cfg.RetentionRole != "" {
		add(d.cfg.RetentionRole, CodeMemberRetention, "removes entries of the trail", "")
	}
	for _, role := range d.cfg.TrustedRoles {
		add(role, CodeMemberTrusted, "is trusted with the rows of every tenant", "")
	}
	return nil
}

// attribute is one of a role's own that no login of the app's may have.
type attribute struct {
	code    Code
	what    string
	option  string // of ALTER ROLE
	follows string // what it leads to
}

func (r *dbRole) attributes() (list []attribute) {
	for _, a := range []struct {
		has bool
		attribute
	}{
		{r.Super, attribute{CodeRoleSuperuser, "is a superuser", "NOSUPERUSER", "no policy, grant or append-only trigger binds it"}},
		{r.Bypass, attribute{CodeRoleBypassRLS, "has BYPASSRLS", "NOBYPASSRLS", "no policy binds it: it sees every tenant's rows"}},
		{r.CreateRole, attribute{CodeRoleCreateRole, "has CREATEROLE", "NOCREATEROLE", "it can grant itself, or a role of its own making, what it was not given"}},
		{r.Replication, attribute{CodeRoleReplication, "has REPLICATION", "NOREPLICATION", "it can stream every tenant's rows from the server's log"}},
	} {
		if a.has {
			list = append(list, a.attribute)
		}
	}
	return list
}

// worst orders hazards: what leads furthest comes first.
func worst(a, b hazard) int {
	order := []Code{CodeMemberPrivileged, CodeMemberOwner, CodeMemberSystem, CodeMemberTrusted, CodeMemberRetention, CodeMemberPredefined}
	rank := func(h hazard) int {
		if h.mild {
			return len(order)
		}
		return slices.Index(order, h.code)
	}
	return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.what, b.what))
}

// checkOwners reports a table that another role owns than its neighbours: who owns it can
// take off its policies. Tables of another schema may be another program's.
func (d *doctor) checkOwners(context.Context) error {
	count := map[string]map[string]int{}
	for _, g := range d.set.owned() {
		if count[g.Schema] == nil {
			count[g.Schema] = map[string]int{}
		}
		count[g.Schema][g.Owner]++
	}
	for _, g := range d.set.owned() {
		for _, usual := range slices.Sorted(maps.Keys(count[g.Schema])) {
			n := count[g.Schema]
			if usual == g.Owner || n[usual] < 2 || n[g.Owner] > 1 || slices.Contains(d.cfg.TrustedRoles, g.Owner) || d.rights.roles[g.Owner].isFree() {
				continue
			}
			d.report(Finding{CodeTableOwner, SeverityWarning, "table " + g.String(),
				fmt.Sprintf("%q owns it, and not %q as the tables beside it: who owns a table can take off its policies, and Protect cannot look after it", g.Owner, usual),
				"ALTER TABLE " + g.sql() + " OWNER TO " + ident(usual) + ";"})
			break
		}
	}
	return nil
}

// isFree reports whether no policy binds the role anyway.
func (r *dbRole) isFree() bool { return r != nil && (r.Super || r.Bypass) }
