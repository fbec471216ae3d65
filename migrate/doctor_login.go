package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// checkLogins looks at the roles that log in: what they are, own, and may become.
func (d *doctor) checkLogins(ctx context.Context) error {
	owners, err := d.ownerships(ctx)
	if err != nil {
		return err
	}
	session := d.rights.session
	for _, role := range slices.Compact([]string{d.app, session}) {
		switch {
		case role == d.app && role != "", d.bound(role):
			d.judge(role, owners)
			d.judgeMemberships(role, nil)
		case role == session:
			d.judgeStranger(role)
		}
	}
	if role := d.cfg.RetentionRole; role != "" {
		d.judge(role, owners)
		d.judgeMemberships(role, nil)
		d.judgeTied(role)
	}
	if role := d.cfg.SystemRole; role != "" {
		d.judge(role, owners)
		d.judgeMemberships(role, []Code{CodeMemberTrusted})
		d.judgeTied(role)
	}
	// The owner, as which our functions run, and those who see every tenant.
	for _, role := range append(d.trusted(), d.rights.owner) {
		if r := d.rights.roles[role]; r != nil && !r.isFree() && d.inherits(role) && role != d.app {
			d.judgeTied(role)
		}
	}
	return nil
}

// judge reports what a role is and owns itself. Of a superuser nothing else is said:
// it has all the rest.
func (d *doctor) judge(role string, owners []ownership) {
	r := d.rights.roles[role]
	if r == nil {
		return
	}
	for _, a := range r.attributes() {
		if role == d.cfg.SystemRole && a.code == CodeRoleBypassRLS {
			continue // it sees every row anyway
		}
		severity := SeverityError
		if role == d.cfg.SystemRole && a.code != CodeRoleSuperuser {
			severity = SeverityWarning
		}
		d.report(Finding{a.code, severity, "role " + role, d.called(role) + " " + a.what + ": " + a.follows, "ALTER ROLE " + ident(role) + " " + a.option + ";"})
		if a.code == CodeRoleSuperuser {
			break
		}
	}
	for _, o := range owners {
		if o.Role == role {
			d.judgeOwner(role, o)
		}
	}
}

func (d *doctor) judgeOwner(role string, o ownership) {
	fix := "-- give it a role of its own, that no login of the app's is a member of: ALTER " + strings.ToUpper(o.Kind) + " " + o.Object + " OWNER TO …"
	if owner := d.rights.owner; owner != "" {
		fix = "ALTER " + strings.ToUpper(o.Kind) + " " + o.Object + " OWNER TO " + ident(owner) + ";" + d.regrant(role, o)
	}
	d.report(Finding{CodeRoleOwner, SeverityError, o.Kind + " " + o.Name,
		fmt.Sprintf("%s owns it: an owner takes off policies, triggers and grants, and drops what is in it", d.called(role)), fix})
}

// regrant gives back what a role had before it became the owner, for its own grants
// went into the owner's.
func (d *doctor) regrant(role string, o ownership) string {
	to := " TO " + ident(role) + ";"
	switch o.Kind {
	case "schema":
		return " GRANT USAGE ON SCHEMA " + o.Object + to
	case "database":
		return " GRANT CONNECT ON DATABASE " + o.Object + to
	}
	g := d.set.byOID(o.OID)
	if g == nil || !slices.Contains(d.logins(), role) {
		return ""
	}
	text := " GRANT " + strings.Join(wants(g.class, role == d.app), ", ") + " ON " + o.Object + to
	for _, s := range d.sequencesOf[g.OID] {
		text = fmt.Sprintf("%s GRANT USAGE ON SEQUENCE %s%s", text, ident(s.Schema, s.Name), to)
	}
	return text
}

// called is a role by what it is for.
func (d *doctor) called(role string) string {
	what := "the role"
	switch role {
	case d.app:
		what = "the app's role"
	case d.rights.session:
		what = "the login"
	case d.rights.owner:
		what = "the tables' owner"
	case d.cfg.SystemRole:
		what = "the system role"
	case d.cfg.RetentionRole:
		what = "the retention role"
	}
	return fmt.Sprintf("%s %q", what, role)
}

// judgeMemberships reports each grant of a role to this one that leads to a hazard. What
// a login has through the app's role is the app's.
func (d *doctor) judgeMemberships(role string, tolerated []Code) {
	r := d.rights.roles[role]
	if r == nil || r.Super {
		return
	}
	except := d.app
	if role == d.app {
		except = ""
	}
	edges := map[string][]membership{}
	for _, m := range r.in {
		if !m.Implied {
			edges[m.Group] = append(edges[m.Group], m)
		}
	}
	for _, group := range slices.Sorted(maps.Keys(edges)) {
		d.judgeMembership(role, edges[group], d.reach(group, except), tolerated)
	}
}

// way is a hazard and the role that a membership leads to it by.
type way struct {
	hazard
	to string
}

// told says what the first of the ways leads to, and what else the same role may.
func told(ways []way) (text string) {
	said := map[Code]bool{}
	for _, w := range ways {
		if w.to != ways[0].to || said[w.code] {
			continue
		}
		if said[w.code] = true; text != "" {
			text += "; it also "
		}
		if text += w.what; w.follows != "" {
			text += ": " + w.follows
		}
	}
	return text
}

func (d *doctor) judgeMembership(role string, edge []membership, reached map[string]bool, tolerated []Code) {
	var ways []way
	for _, to := range slices.Sorted(maps.Keys(reached)) {
		for _, h := range d.rights.hazards[to] {
			if to != role && !slices.Contains(tolerated, h.code) && !d.fits(role, to, h) {
				ways = append(ways, way{h, to})
			}
		}
	}
	if len(ways) == 0 {
		return
	}
	slices.SortStableFunc(ways, func(a, b way) int { return worst(a.hazard, b.hazard) })
	first, group := ways[0], edge[0].Group
	severity := SeverityError
	if first.mild || role == d.cfg.SystemRole && first.code != CodeMemberPrivileged {
		severity = SeverityWarning
	}
	through := fmt.Sprintf("is a member of %q", group)
	if first.to != group {
		through += fmt.Sprintf(" and so of %q", first.to)
	}
	revokes := make([]string, len(edge))
	for i, m := range edge {
		revokes[i] = m.revoke()
	}
	d.report(Finding{first.code, severity, "membership of " + role + " in " + group,
		fmt.Sprintf("%s %s, which %s", d.called(role), through, told(ways)), strings.Join(revokes, " ")})
}

func (m membership) revoke() string {
	by := ""
	if m.Grantor != "" {
		by = " GRANTED BY " + ident(m.Grantor)
	}
	return "REVOKE " + ident(m.Group) + " FROM " + ident(m.Member) + by + " CASCADE;"
}

// fits reports whether a membership is what the role is for: system scope may see who
// else is at work, as an export does to know that nothing is still being written.
func (d *doctor) fits(role, to string, h hazard) bool {
	return role == d.cfg.SystemRole && (h.mild || to == "pg_read_all_data" || to == role)
}

// judgeTied reports that one of the other logins is a member of the app's role, whose
// policies then bind it.
func (d *doctor) judgeTied(role string) {
	r := d.rights.roles[role]
	if r == nil || d.app == "" || !d.reach(role, "")[d.app] {
		return
	}
	for _, m := range r.in {
		if !m.Implied && d.reach(m.Group, "")[d.app] {
			d.report(Finding{CodeMemberApp, SeverityWarning, "membership of " + role + " in " + m.Group,
				fmt.Sprintf("%s is a member of the app's role %q: the app's policies bind it, and it does its work on some rows alone without an error", d.called(role), d.app),
				m.revoke()})
		}
	}
}

// judgeStranger reports a login of the handle that policies do not confine. What it is
// may be right for another program, so the cure is another login.
func (d *doctor) judgeStranger(role string) {
	why := d.unconfined(role)
	fix := "-- make a role for the app, name it in Config.AppRole, run Protect, and put its login into the DSN"
	if d.app != "" {
		fix = "-- put the login of " + ident(d.app) + " into the DSN, or that of a member of it"
	}
	switch {
	case len(why) > 0:
		d.report(Finding{CodeLoginUnconfined, SeverityError, "role " + role,
			fmt.Sprintf("the handle logs in as %q, which %s: no policy confines it to a tenant", role, strings.Join(why, ", and ")), fix})
	case d.app != "":
		d.report(Finding{CodeLoginNoPolicy, SeverityWarning, "role " + role,
			fmt.Sprintf("the handle logs in as %q, and the policies are for %q, of which it is no member: it finds every table empty, and the restrictive policy does not bind it", role, d.app), fix})
	}
}

// unconfined says what makes a role one that policies do not confine.
func (d *doctor) unconfined(role string) (why []string) {
	if r := d.rights.roles[role]; r != nil && r.Super {
		return []string{"is a superuser"}
	}
	for _, h := range d.rights.hazards[role] {
		if !h.mild {
			why = append(why, h.what)
		}
	}
	for _, to := range slices.Sorted(maps.Keys(d.reach(role, ""))) {
		for _, h := range d.rights.hazards[to] {
			if to != role && !h.mild {
				why = append(why, fmt.Sprintf("is a member of %q, which %s", to, h.what))
			}
		}
	}
	return why
}
