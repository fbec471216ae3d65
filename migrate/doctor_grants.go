package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

const (
	schemaACL = `SELECT x.grantee, x.privilege_type, x.is_grantable, '' AS col, x.grantor, n.nspowner AS owner FROM pg_namespace n,
			aclexplode(coalesce(n.nspacl, acldefault('n', n.nspowner))) x WHERE n.oid = $1::bigint::oid`
	databaseACL = `SELECT x.grantee, x.privilege_type, x.is_grantable, '' AS col, x.grantor, b.datdba AS owner FROM pg_database b,
			aclexplode(coalesce(b.datacl, acldefault('d', b.datdba))) x WHERE $1::bigint IS NOT NULL AND b.datname = current_database()`
)

// granted is what one role was given on an object.
type granted struct {
	held
	Role    string `json:"role"`
	Grantor string `json:"grantor"` // empty if it is the owner
}

// readGrants returns what is granted on an object to others than its owner, by role.
func (d *doctor) readGrants(ctx context.Context, acl string, oid int64) (map[string][]granted, error) {
	list, err := readRows[granted](ctx, d.tx, `
		SELECT coalesce(g.rolname::text, '`+public+`') AS role, a.privilege_type AS privilege, a.col AS column, a.is_grantable AS grantable,
			CASE WHEN a.grantor = a.owner THEN '' ELSE pg_get_userbyid(a.grantor)::text END AS grantor
		FROM (`+acl+`) a LEFT JOIN pg_roles g ON g.oid = a.grantee WHERE a.grantee <> a.owner ORDER BY 1, 3, 2, 5`, oid)
	found := map[string][]granted{}
	for _, g := range list {
		found[g.Role] = append(found[g.Role], g)
	}
	return found, err
}

// revoke takes from a role what was granted to it on an object. The owner's REVOKE
// passes over what another granted.
func revoke(what, object, role string, list []granted) string {
	text, from := "", role
	if role != public {
		from = ident(role)
	}
	grantors := map[string]bool{}
	for _, g := range list {
		grantors[g.Grantor] = true
	}
	statement := "REVOKE " + what + " ON " + object + " FROM " + from + " CASCADE;"
	for _, grantor := range slices.Sorted(maps.Keys(grantors)) {
		if grantor == "" {
			text += statement + " "
			continue
		}
		text += "SET ROLE " + ident(grantor) + "; " + statement + " RESET ROLE; "
	}
	return strings.TrimSpace(text)
}

// trustedWith reports whether nobody minds what is granted to a role.
func (d *doctor) trustedWith(role string) bool {
	return slices.Contains(d.cfg.TrustedRoles, role) || d.rights.roles[role].isFree() && !d.confinedLogin(role) || role == d.rights.owner
}

// reachedByApp reports whether the app has what a role has.
func (d *doctor) reachedByApp(role string) bool { return role == public || d.rights.app[role] }

// checkGrants compares the privileges on our tables, and around them, with those that
// Protect gives.
func (d *doctor) checkGrants(ctx context.Context) error {
	for _, g := range d.set.list {
		if g.Kind != "r" && g.Kind != "p" {
			continue
		}
		if err := d.checkTableGrants(ctx, g); err != nil {
			return err
		}
		for _, s := range d.sequencesOf[g.OID] {
			if err := d.checkSequenceGrants(ctx, s); err != nil {
				return err
			}
		}
	}
	for _, step := range []func(context.Context) error{d.checkMissing, d.checkFunctionGrants, d.checkCreate, d.checkRecords, d.checkDefaults, d.checkParameters, d.checkCatalogueGrants} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) checkTableGrants(ctx context.Context, g *guarded) error {
	grants, err := d.readGrants(ctx, tableACL, g.OID)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(grants)) {
		list := grants[role]
		if d.trustedWith(role) {
			continue
		}
		ours := slices.Contains(d.logins(), role)
		want := wants(g.class, role != d.cfg.SystemRole)
		excess := beyond(list, want)
		if !ours { // of a column is less than of the table
			excess = slices.DeleteFunc(excess, func(name string) bool {
				kind, _, column := strings.Cut(name, " (")
				return column && slices.Contains(want, kind)
			})
		}
		switch {
		case len(excess) > 0:
			d.reportExcess(g, role, list, excess, ours)
		case !ours:
			d.reportUntrusted(g, role, list, privileges(list))
		}
	}
	return nil
}

// beyond returns what is not wanted of what a role was granted.
func beyond(list []granted, want []string) []string {
	have := make([]held, len(list))
	for i, g := range list {
		have[i] = g.held
	}
	_, excess := compare(have, want)
	return slices.Compact(excess)
}

func privileges(list []granted) (names []string) {
	for _, g := range list {
		names = append(names, onColumn(g.Privilege, g.Column))
	}
	return slices.Compact(names)
}

// reportUntrusted reports a role that Protect would refuse: nobody spoke of it.
func (d *doctor) reportUntrusted(g *guarded, role string, list []granted, names []string) {
	d.report(Finding{CodeGrantUntrusted, SeverityWarning, "grant on " + g.String() + " to " + role,
		fmt.Sprintf("%s has %s on it, and is neither the app's role nor trusted: a policy for it, or BYPASSRLS, is all that it lacks", role, strings.Join(names, ", ")),
		revoke("ALL", "TABLE "+g.sql(), role, list)})
}

// reportExcess reports what goes beyond what Protect grants.
func (d *doctor) reportExcess(g *guarded, role string, list []granted, excess []string, ours bool) {
	fix := revoke("ALL", "TABLE "+g.sql(), role, list)
	if ours {
		fix += " GRANT " + strings.Join(wants(g.class, role == d.app), ", ") + " ON TABLE " + g.sql() + " TO " + ident(role) + ";"
	}
	code, severity := CodeGrantExcess, SeverityWarning
	why := fmt.Sprintf("%s has %s on it, which no login of the app's needs", role, strings.Join(excess, ", "))
	var follows []string
	for _, name := range excess {
		kind, _, _ := strings.Cut(name, " ")
		option := slices.ContainsFunc(list, func(l granted) bool { return l.Grantable && onColumn(l.Privilege, l.Column) == name })
		wanted := ours && slices.Contains(wants(g.class, role == d.app), name)
		switch {
		case wanted && option:
			why += ", and hand it on to others"
		case kind == "TRUNCATE":
			severity, follows = SeverityError, append(follows, "TRUNCATE empties the table for all tenants, past every policy")
		case kind == "TRIGGER":
			severity, follows = SeverityError, append(follows, "a trigger runs with the rights of whoever writes the table next")
		case kind == "INSERT" || kind == "UPDATE" || kind == "DELETE":
			severity = SeverityError
		}
		if g.class == auditTrail && (kind == "UPDATE" || kind == "DELETE" || kind == "TRUNCATE") {
			code, severity = CodeGrantTrail, SeverityError
		}
	}
	if len(follows) > 0 {
		why += ": " + strings.Join(follows, "; ")
	}
	if code == CodeGrantTrail {
		why = fmt.Sprintf("%s has %s on it: entries of the trail are to be read and added, and nothing else", role, strings.Join(excess, ", "))
	}
	d.report(Finding{code, severity, "grant on " + g.String() + " to " + role, why, fix})
}

func (d *doctor) checkSequenceGrants(ctx context.Context, s sequence) error {
	grants, err := d.readGrants(ctx, tableACL, s.OID)
	if err != nil {
		return err
	}
	for _, role := range slices.Sorted(maps.Keys(grants)) {
		ours := slices.Contains(d.logins(), role)
		want := []string{}
		if ours {
			want = []string{"USAGE"}
		}
		excess := beyond(grants[role], want)
		if len(excess) == 0 || d.trustedWith(role) || !ours && !d.reachedByApp(role) {
			continue
		}
		object := "SEQUENCE " + ident(s.Schema, s.Name)
		fix := revoke("ALL", object, role, grants[role])
		if ours {
			fix += " GRANT USAGE ON " + object + " TO " + ident(role) + ";"
		}
		d.report(Finding{CodeGrantSequence, SeverityWarning, "grant on " + s.Schema + "." + s.Name + " to " + role,
			fmt.Sprintf("%s has %s on it: that tells how many rows all tenants have, or gives the next row an id that is taken", role, strings.Join(excess, ", ")), fix})
	}
	return nil
}

// missing is something that a login lacks, with the GRANT for it.
type missing struct {
	Object string `json:"object"`
	What   string `json:"what"`
	On     string `json:"on"`
	Role   string `json:"role"`
}

// checkMissing reports what the logins lack on tables that were protected for them.
func (d *doctor) checkMissing(ctx context.Context) error {
	if d.app == "" {
		return nil
	}
	bound, err := queryStrings(ctx, d.tx, `SELECT DISTINCT p.polrelid::text FROM pg_policy p JOIN pg_roles r ON r.oid = ANY (p.polroles) AND r.rolname = $2::text
		WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND p.polname = 'courtroll_floor'`, d.set.oids(), d.app)
	if err != nil {
		return err
	}
	for _, g := range d.set.list {
		if !slices.Contains(bound, fmt.Sprint(g.OID)) {
			continue
		}
		for _, role := range d.logins() {
			if r := d.rights.roles[role]; r == nil || d.rights.seized[g.OID] == role {
				continue
			}
			if err := d.checkMissingOn(ctx, g, role); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *doctor) checkMissingOn(ctx context.Context, g *guarded, role string) error {
	var names, columns []string
	for _, want := range wants(g.class, role == d.app) {
		if strings.HasPrefix(want, "UPDATE (") {
			continue
		}
		names = append(names, want)
	}
	if g.class == register && role == d.app {
		columns = tenantColumns
	}
	list, err := readRows[missing](ctx, d.tx, `
		SELECT 'schema ' || n.nspname AS object, 'USAGE' AS what, 'SCHEMA ' || quote_ident(n.nspname) AS on, 0 AS n FROM pg_namespace n
			WHERE n.nspname = $3 AND NOT has_schema_privilege($2::text::name, n.oid, 'USAGE')
		UNION ALL SELECT 'table ' || $5::text, w.p, 'TABLE ' || $6::text, w.n FROM unnest($4::text[]) WITH ORDINALITY w (p, n) WHERE NOT has_table_privilege($2::text::name, $1::bigint::oid, w.p)
		UNION ALL SELECT 'table ' || $5::text, format('UPDATE (%I)', a.attname), 'TABLE ' || $6::text, 9 FROM pg_attribute a
			WHERE a.attrelid = $1::bigint::oid AND a.attname = ANY ($7::text[]) AND NOT a.attisdropped AND NOT has_column_privilege($2::text::name, $1::bigint::oid, a.attnum, 'UPDATE')
		UNION ALL SELECT format('sequence %s.%s', n.nspname, c.relname), 'USAGE', format('SEQUENCE %I.%I', n.nspname, c.relname), 0 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE c.oid = ANY ($8::bigint[]::oid[]) AND NOT has_sequence_privilege($2::text::name, c.oid, 'USAGE')
		ORDER BY object, n, what`, g.OID, role, g.Schema, names, g.String(), g.sql(), append([]string{}, columns...), d.sequenceOIDs(g))
	if err != nil {
		return err
	}
	for len(list) > 0 {
		first, what := list[0], []string{}
		for len(list) > 0 && list[0].Object == first.Object {
			what, list = append(what, list[0].What), list[1:]
		}
		d.report(d.lacks(first.Object, first.On, role, what))
	}
	return nil
}

func (d *doctor) lacks(object, on, role string, what []string) Finding {
	return Finding{CodeGrantMissing, SeverityWarning, object + " for " + role,
		fmt.Sprintf("%s lacks %s, which Protect gave it: what needs it fails", d.called(role), strings.Join(what, ", ")),
		"GRANT " + strings.Join(what, ", ") + " ON " + on + " TO " + ident(role) + ";"}
}

func (d *doctor) sequenceOIDs(g *guarded) []int64 {
	oids := []int64{}
	for _, s := range d.sequencesOf[g.OID] {
		oids = append(oids, s.OID)
	}
	return oids
}
