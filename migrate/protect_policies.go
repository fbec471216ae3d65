package migrate

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// definerSetting is what our functions set while they work with the owner's rights.
const definerSetting = "courtroll.definer"

// policy is one as it should be.
type policy struct {
	name        string
	restrictive bool
	command     string
	roles       []string
	using       string
	check       string
}

// setting is a setting's value, read once per statement instead of once per row:
// the planner evaluates an uncorrelated sub-select first.
func setting(name, cast string) string {
	return fmt.Sprintf(`(SELECT nullif(pg_catalog.current_setting(%s, true), '')%s)`, literal(name), cast)
}

// mine is the condition of the rows of the session's tenant. Without a tenant it
// is NULL, and so no row's.
func (g *guarded) mine() string {
	cast := ""
	if g.Type != "text" && g.Type != "varchar" {
		cast = "::pg_catalog." + g.Type
	}
	return ident(g.column) + ` = ` + setting(models.TenantSetting, cast)
}

// policies returns what the table should have. The restrictive one is a floor: a
// permissive policy that somebody adds opens nothing for the app that it closes.
func (r *protectRun) policies(g *guarded) []policy {
	app, mine := []string{r.cfg.AppRole}, g.mine()
	list := []policy{{name: "courtroll_floor", restrictive: true, command: "ALL", roles: app, using: mine, check: mine}}
	switch g.class {
	case owned:
		list = append(list, policy{name: "courtroll_app", command: "ALL", roles: app, using: mine, check: mine})
	case auditTrail:
		list = append(list, policy{name: "courtroll_app_select", command: "SELECT", roles: app, using: mine},
			policy{name: "courtroll_app_insert", command: "INSERT", roles: app, check: mine},
			definerInsert(g))
		if r.retains {
			list = append(list, retentionPolicies(g)...)
		}
	case register:
		list = append(list, policy{name: "courtroll_app_select", command: "SELECT", roles: app, using: mine},
			policy{name: "courtroll_app_update", command: "UPDATE", roles: app, using: mine, check: mine},
			policy{name: "courtroll_definer", command: "SELECT", roles: []string{g.Owner}, using: setting(definerSetting, "") + ` = 'on'`})
	}
	return append(list, r.openPolicies(g)...)
}

// definerInsert lets our functions write entries, of any tenant: which tenant's is
// for them to know, and nobody but the owner, whose functions they are, has it.
func definerInsert(g *guarded) policy {
	return policy{name: "courtroll_definer", command: "INSERT", roles: []string{g.Owner}, check: setting(definerSetting, "") + ` = 'on'`}
}

// openPolicies are those of the roles that see every tenant.
func (r *protectRun) openPolicies(g *guarded) (list []policy) {
	if system := []string{r.cfg.SystemRole}; r.cfg.SystemRole != "" && g.class == auditTrail {
		list = append(list, policy{name: "courtroll_system_select", command: "SELECT", roles: system, using: "true"},
			policy{name: "courtroll_system_insert", command: "INSERT", roles: system, check: "true"})
	} else if r.cfg.SystemRole != "" {
		list = append(list, policy{name: "courtroll_system", command: "ALL", roles: system, using: "true", check: "true"})
	}
	if trusted := r.trusted(); len(trusted) > 0 {
		slices.Sort(trusted)
		list = append(list, policy{name: "courtroll_trusted", command: "ALL", roles: slices.Compact(trusted), using: "true", check: "true"})
	}
	return list
}

// sql is the statement that makes the policy.
func (p policy) sql(g *guarded) string {
	kind := "PERMISSIVE"
	if p.restrictive {
		kind = "RESTRICTIVE"
	}
	text := fmt.Sprintf(`CREATE POLICY %s ON %s AS %s FOR %s TO %s`, ident(p.name), g.sql(), kind, p.command, idents(p.roles...))
	if p.using != "" {
		text += ` USING (` + p.using + `)`
	}
	if p.check != "" {
		text += ` WITH CHECK (` + p.check + `)`
	}
	return text
}

// present is a policy that the catalogue has.
type present struct {
	Name    string `json:"name"`
	State   string `json:"state"`
	Comment string `json:"comment"`
}

func (r *protectRun) readPolicies(ctx context.Context, g *guarded) (map[string]present, []string, error) {
	list, err := readRows[present](ctx, r.tx, `
		SELECT p.polname AS name, coalesce(obj_description(p.oid, 'pg_policy'), '') AS comment,
			json_build_array(p.polcmd, p.polpermissive, ARRAY(SELECT coalesce(o.rolname, 'PUBLIC')::text FROM unnest(p.polroles) m (oid)
					LEFT JOIN pg_roles o ON o.oid = m.oid ORDER BY 1),
				pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid))::text AS state
		FROM pg_policy p WHERE p.polrelid = $1::bigint::oid ORDER BY 1`, g.OID)
	found, names := map[string]present{}, []string{}
	for _, p := range list {
		found[p.Name] = p
		names = append(names, p.Name)
	}
	return found, names, err
}

func (r *protectRun) ensurePolicies(ctx context.Context) error {
	if err := r.findRetention(ctx); err != nil {
		return err
	}
	for _, g := range r.set.list {
		if err := r.protectTable(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// protectTable makes the policies of one table what they should be, then binds
// everybody to them, the owner too.
func (r *protectRun) protectTable(ctx context.Context, g *guarded) error {
	found, names, err := r.readPolicies(ctx, g)
	if err != nil {
		return err
	}
	before, wasOurs := r.before(g, found)
	want := r.policies(g)
	for _, p := range want {
		if err := r.ensurePolicy(ctx, g, p, found, before); err != nil {
			return err
		}
	}
	if err := r.otherPolicies(ctx, g, want, found, names); err != nil {
		return err
	}
	if wasOurs && (!g.Secured || !g.Forced) {
		r.done.Drifted = append(r.done.Drifted, g.String())
	}
	return r.force(ctx, g)
}

// before returns what row-level security was before our first policy.
func (r *protectRun) before(g *guarded, found map[string]present) (before string, wasOurs bool) {
	for _, p := range found {
		if n, ours := readNote(p.Comment); ours {
			return n.Before, true
		}
	}
	if g.Secured {
		before = "enabled"
	}
	if g.Forced {
		before += " forced"
	}
	return before, false
}

func (r *protectRun) force(ctx context.Context, g *guarded) error {
	if !g.Secured {
		if err := r.exec(ctx, `ALTER TABLE %s ENABLE ROW LEVEL SECURITY`, g.sql()); err != nil {
			return err
		}
	}
	if !g.Forced {
		return r.exec(ctx, `ALTER TABLE %s FORCE ROW LEVEL SECURITY`, g.sql())
	}
	return nil
}

// ensurePolicy makes a policy anew if it is not the one that it should be. One that
// was altered since we made it is drift; one that we made from another text, of
// an older release or other roles, is not.
func (r *protectRun) ensurePolicy(ctx context.Context, g *guarded, p policy, found map[string]present, before string) error {
	old, exists := found[p.name]
	if exists {
		n, ours := readNote(old.Comment)
		switch {
		case !ours:
			return &ProtectError{Table: g.String(), Object: p.name, Err: ErrPolicyTaken}
		case n.State == "": // made by a fix of Doctor's, which could not know it
		case n.State != hash(old.State):
			r.done.Drifted = append(r.done.Drifted, g.String()+"."+p.name)
		case n.Made == hash(p.sql(g)):
			return nil
		}
		if err := r.dropPolicy(ctx, g, p.name); err != nil {
			return err
		}
	}
	if err := r.exec(ctx, "%s", p.sql(g)); err != nil {
		return err
	}
	found, _, err := r.readPolicies(ctx, g)
	if err != nil {
		return err
	}
	return r.comment(ctx, `POLICY `+ident(p.name)+` ON `+g.sql(), note{Made: hash(p.sql(g)), State: hash(found[p.name].State), Before: before})
}

func (r *protectRun) dropPolicy(ctx context.Context, g *guarded, name string) error {
	return r.exec(ctx, `DROP POLICY %s ON %s`, ident(name), g.sql())
}

// otherPolicies drops those of ours that are not wanted any more, and lists those
// that are not ours.
func (r *protectRun) otherPolicies(ctx context.Context, g *guarded, want []policy, found map[string]present, names []string) error {
	for _, name := range names {
		if slices.ContainsFunc(want, func(p policy) bool { return p.name == name }) {
			continue
		}
		if _, ours := readNote(found[name].Comment); !ours {
			r.done.Foreign = append(r.done.Foreign, g.String()+"."+name)
			continue
		}
		if err := r.dropPolicy(ctx, g, name); err != nil {
			return err
		}
	}
	return nil
}

func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// wasSecured reads what [note.Before] says.
func wasSecured(before string) (enabled, forced bool) {
	return strings.Contains(before, "enabled"), strings.Contains(before, "forced")
}
