package migrate

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// checkPolicies compares row-level security, and the policies, of each table with what
// Protect makes. It goes by what they say and not by their comments, which anybody who
// alters a policy leaves as they are.
func (d *doctor) checkPolicies(ctx context.Context) error {
	for _, g := range d.set.list {
		if g.Kind != "r" && g.Kind != "p" {
			continue
		}
		if !g.Secured {
			d.report(Finding{CodeRLSOff, SeverityError, "table " + g.String(), "row-level security is off, so no policy binds anybody: Protect was never run on it, or it was switched off by hand",
				"ALTER TABLE " + g.sql() + " ENABLE ROW LEVEL SECURITY;"})
		}
		if !g.Forced {
			d.report(Finding{CodeRLSNotForced, SeverityError, "table " + g.String(),
				"row-level security is not forced: it does not bind the owner, nor views and functions with the owner's rights",
				"ALTER TABLE " + g.sql() + " FORCE ROW LEVEL SECURITY;"})
		}
		if d.app == "" {
			continue
		}
		if err := d.checkTablePolicies(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) checkTablePolicies(ctx context.Context, g *guarded) error {
	found, names, err := d.readPolicies(ctx, g)
	if err != nil {
		return err
	}
	want := d.policies(g)
	before, _ := d.before(g, found)
	for _, p := range want {
		d.checkPolicy(g, p, found, before)
	}
	for _, name := range names {
		if !slices.ContainsFunc(want, func(p policy) bool { return p.name == name }) {
			d.checkForeign(g, name, found[name])
		}
	}
	return nil
}

// stated is a policy as [present.State] has it.
type stated struct {
	command      string
	permissive   bool
	roles        []string
	using, check *string
}

func (p present) read() (s stated, err error) {
	err = json.Unmarshal([]byte(p.State), &[]any{&s.command, &s.permissive, &s.roles, &s.using, &s.check})
	return s, err
}

// commands are the catalogue's letters.
var commands = map[string]string{"ALL": "*", "SELECT": "r", "INSERT": "a", "UPDATE": "w", "DELETE": "d"}

func (d *doctor) checkPolicy(g *guarded, want policy, found map[string]present, before string) {
	object := "policy " + g.String() + "." + want.name
	fix := want.fix(g, before)
	old, exists := found[want.name]
	if !exists {
		d.report(Finding{CodePolicyMissing, SeverityError, object, want.absence(), fix})
		return
	}
	have, err := old.read()
	if err != nil {
		d.report(Finding{CodePolicyAltered, SeverityError, object, "it cannot be read", "DROP POLICY " + ident(want.name) + " ON " + g.sql() + "; " + fix})
		return
	}
	fix = "DROP POLICY " + ident(want.name) + " ON " + g.sql() + "; " + fix
	roles := slices.Clone(want.roles)
	slices.Sort(roles)
	var wrong []string
	if have.permissive == want.restrictive {
		wrong = append(wrong, "it is "+map[bool]string{true: "permissive", false: "restrictive"}[have.permissive])
	}
	if have.command != commands[want.command] {
		wrong = append(wrong, "it is for another command than "+want.command)
	}
	if !slices.Equal(have.roles, roles) {
		wrong = append(wrong, "it is for "+strings.Join(have.roles, ", ")+" and not for "+strings.Join(roles, ", "))
	}
	usingOK, usingSlow := same(have.using, want.using)
	checkOK, checkSlow := same(have.check, want.check)
	if !usingOK {
		wrong = append(wrong, "its USING is not "+orNothing(want.using))
	}
	_, ours := readNote(old.Comment)
	noCheck := have.check == nil && want.check != ""
	if !checkOK && !noCheck {
		wrong = append(wrong, "its WITH CHECK is not "+orNothing(want.check))
	}
	switch {
	case len(wrong) > 0:
		d.report(Finding{CodePolicyAltered, SeverityError, object, strings.Join(wrong, ", and ") + ": it is not what keeps tenants apart any more", fix})
	case noCheck:
		d.report(Finding{CodePolicyNoCheck, SeverityError, object, "it has no WITH CHECK: what may be written is left to what may be read", fix})
	case !ours && g.fits(): // or else the fix for the column makes it anew
		d.report(Finding{CodePolicyAltered, SeverityWarning, object, "its comment, by which Protect knows that it is ours, was replaced: the next Protect is refused", fix})
	case usingSlow || checkSlow:
		d.report(Finding{CodePolicyPerRow, SeverityWarning, object, "it reads the setting for each row: in a sub-select it is read once for a statement", fix})
	}
}

func orNothing(expression string) string {
	if expression == "" {
		return "empty"
	}
	return expression
}

// absence says what is missed where the policy is not there.
func (p policy) absence() string {
	switch {
	case p.restrictive:
		return "the restrictive policy is missing: any permissive one that somebody adds opens the table to all tenants"
	case p.name == "courtroll_definer":
		return "it is missing, so our functions can do nothing: tenants are not resolved, and events of no tenant are lost"
	default:
		return fmt.Sprintf("it is missing, so %s sees no row, or writes none", strings.Join(p.roles, ", "))
	}
}

// fix makes a policy with our note, without the hash of what the catalogue makes of it:
// that is known afterwards only.
func (p policy) fix(g *guarded, before string) string {
	return p.sql(g) + "; COMMENT ON POLICY " + ident(p.name) + " ON " + g.sql() + " IS " + literal(note{Made: hash(p.sql(g)), Before: before}.String()) + ";"
}

// spelling is what the server writes otherwise than we do, and means the same.
var spelling = strings.NewReplacer("::character varying", "", "::text", "", "pg_catalog.", "", "(", "", ")", "", " ", "", "\n", "", `"`, "")

var (
	subselectAlias = regexp.MustCompile(` AS "?\w+"?`)
	quotedName     = regexp.MustCompile(`"[^"]+"`)
	integerCasts   = strings.NewReplacer("::smallint", "::int2", "::integer", "::int4", "::bigint", "::int8")
)

// retentionSpelling is of the policies for the purge.
var retentionSpelling = strings.NewReplacer(`created_atattimezone'utc'`, `timezone'utc',created_at`, "timestampwithouttimezone", "timestamp")

func spelled(expression string) string {
	text := strings.ToLower(integerCasts.Replace(spelling.Replace(subselectAlias.ReplaceAllString(expression, ""))))
	return retentionSpelling.Replace(text)
}

// same compares an expression with the one that should be there. Slow means that it is
// the same but for the sub-select.
func same(have *string, want string) (ok, slow bool) {
	if have == nil || want == "" {
		return have == nil && want == "", false
	}
	for _, name := range quotedName.FindAllString(subselectAlias.ReplaceAllString(*have, ""), -1) {
		if !strings.Contains(want, name) {
			return false, false // spelled takes it for another, of small letters
		}
	}
	a, b := spelled(*have), spelled(want)
	flat := strings.ReplaceAll(b, "select", "")
	return a == b || a == flat, a != b && a == flat
}

// checkForeign reports a permissive policy that is not ours, or not any more. What it
// opens to the app the restrictive policy closes, and that alone; it opens the rest to all
// else whom it names.
func (d *doctor) checkForeign(g *guarded, name string, p present) {
	have, err := p.read()
	if err == nil && (!have.permissive || d.confines(g, have)) {
		return
	}
	open := slices.DeleteFunc(slices.Clone(have.roles), func(role string) bool {
		return role == d.cfg.SystemRole || slices.Contains(d.cfg.TrustedRoles, role)
	})
	if len(open) == 0 {
		return
	}
	why := "also to what runs with the rights of somebody among these, as views and functions of the owner's do"
	if slices.Equal(open, []string{d.app}) {
		why = "nothing but the restrictive policy stands in its way"
	}
	d.report(Finding{CodePolicyForeign, SeverityWarning, "policy " + g.String() + "." + name,
		fmt.Sprintf("it is not ours, and opens rows to %s whatever the tenant: %s", strings.Join(open, ", "), why),
		"DROP POLICY " + ident(name) + " ON " + g.sql() + ";"})
}

// confines reports whether a policy lets nobody but the session's tenant through, or
// nobody but our functions.
func (d *doctor) confines(g *guarded, have stated) bool {
	for _, expression := range []*string{have.using, have.check} {
		if expression == nil {
			continue
		}
		mine, _ := same(expression, g.mine())
		definer, _ := same(expression, setting(definerSetting, "")+` = 'on'`)
		if !mine && !definer && !narrows(g, *expression) {
			return false
		}
	}
	return true
}

// narrows reports whether an expression compares the tenant with the session's, and has
// no other way through.
func narrows(g *guarded, expression string) bool {
	text, column := spelled(expression), strings.ToLower(g.column)
	compares := strings.Contains(text, column+"=") || strings.Contains(text, "="+column)
	return compares && strings.Contains(text, models.TenantSetting) && !strings.Contains(expression, " OR ")
}
