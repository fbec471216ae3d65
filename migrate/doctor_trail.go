package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/models"
)

// The trail, and the triggers of AppendOnly and of CaptureByTrigger.
const (
	CodeNotAppendOnly   Code = "audit-not-append-only" // AppendOnly was never run
	CodeTriggerMissing  Code = "trigger-missing"       // of ours, as the next two
	CodeTriggerDisabled Code = "trigger-disabled"
	CodeTriggerAltered  Code = "trigger-altered"
	CodeTrailTrigger    Code = "audit-trigger-foreign"    // somebody's, which may alter entries or leave them out
	CodeTrailKey        Code = "audit-foreign-key"        // from audit_logs
	CodeTrailReferenced Code = "audit-referenced"         // a foreign key to audit_logs
	CodeTrailUnique     Code = "audit-unique"             // a unique index, which refuses entries
	CodeTriggerBinds    Code = "trigger-sets-tenant"      // somebody's, on any table, which sets what is ours to set
	CodeTriggerDefiner  Code = "trigger-security-definer" // somebody's, which no policy binds
	CodeOwnerChanged    Code = "table-owner-changed"      // of tenants or audit_logs, since Protect
	CodeUnlogged        Code = "table-unlogged"
)

// of returns the table of a class of which there is one, nil if there is none.
func (d *doctor) of(c class) *guarded {
	for _, g := range d.set.list {
		if g.class == c && (g.Kind == "r" || g.Kind == "p") {
			return g
		}
	}
	return nil
}

// findTrail finds out who is who for the functions of AppendOnly.
func (d *doctor) findTrail(ctx context.Context) error {
	if err := d.findOwners(ctx); err != nil {
		return err
	}
	log := d.of(auditTrail)
	if log == nil {
		return nil
	}
	home := d.uuidHome
	if home == "" {
		home = log.Schema
	}
	quoted, err := queryStrings(ctx, d.tx, `SELECT quote_ident(s) FROM unnest($1::text[]) WITH ORDINALITY AS u (s, n) ORDER BY n`, []string{home, log.Schema})
	if err != nil {
		return err
	}
	d.uuidSQL, d.trailSQL = quoted[0]+`."courtroll_uuidv7"()`, quoted[1]+`.`+ident(log.Name)
	d.appends = &appendRun{protectRun: d.protectRun, log: log, uuid: quoted[0] + ".courtroll_uuidv7()"}
	if err := d.findKeeper(ctx); err != nil {
		return err
	}
	found, _, err := d.readPolicies(ctx, log)
	if err != nil {
		return err
	}
	_, retains := readNote(found[retentionPolicies(log)[0].name].Comment)
	installed, err := d.appendOnly(ctx)
	d.retains = d.retains || retains || installed // also where somebody dropped the function that findRetention looks for
	return err
}

// findOwners finds a table of ours whose owner is another than when Protect made its
// policies: the functions with the owner's rights can do nothing any more. That is one
// finding, and not one for each of them, so the rest is examined as if he was still it.
func (d *doctor) findOwners(ctx context.Context) error {
	for _, g := range []*guarded{d.of(register), d.of(auditTrail)} {
		if g == nil {
			continue
		}
		found, _, err := d.readPolicies(ctx, g)
		if err != nil {
			return err
		}
		p := found["courtroll_definer"]
		if _, ours := readNote(p.Comment); !ours {
			continue
		}
		have, err := p.read()
		if err != nil || len(have.roles) != 1 || have.roles[0] == g.Owner || have.roles[0] == public {
			continue
		}
		owner := have.roles[0]
		still, err := queryStrings(ctx, d.tx, `SELECT 'yes' FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			WHERE p.proname = ANY ($1::text[]) AND pg_get_userbyid(p.proowner) = $2 LIMIT 1`, []string{models.ResolveFunction, models.RecordFunction, purgeFunction}, owner)
		if err != nil {
			return err
		}
		if len(still) == 0 {
			continue
		}
		d.report(Finding{CodeOwnerChanged, SeverityError, "table " + g.String(),
			fmt.Sprintf("it belongs to %s, and policies and functions are made for %s: what works with the owner's rights sees and writes nothing, and its owner can take off all walls", g.Owner, owner),
			texts(`ALTER TABLE ` + g.sql() + ` OWNER TO ` + ident(owner))})
		g.Owner = owner
	}
	return nil
}

// findKeeper finds the role with which the functions were made, by the hash in
// the note of the clock's; or else who may run the purge and is nobody whom we know.
func (d *doctor) findKeeper(ctx context.Context) error {
	clock, err := d.readOwn(ctx, d.appends.log.Schema, clockFunction, "")
	if err != nil {
		return err
	}
	if clock != nil {
		n, _ := readNote(clock.Comment)
		roles, err := queryStrings(ctx, d.tx, `SELECT '' UNION ALL SELECT rolname::text FROM pg_roles WHERE rolname NOT LIKE 'pg\_%'`)
		if err != nil {
			return err
		}
		for _, role := range roles {
			d.cfg.RetentionRole = role
			if hash(d.appends.functions()[1].statement()) == n.Made {
				return nil
			}
		}
	}
	d.cfg.RetentionRole = ""
	purge, err := d.readOwn(ctx, d.appends.log.Schema, purgeFunction, purgeArgs)
	if err != nil || purge == nil {
		return err
	}
	known := append([]string{public, d.appends.log.Owner}, append(d.logins(), d.cfg.TrustedRoles...)...)
	others := slices.DeleteFunc(purge.Allowed, func(role string) bool { return slices.Contains(known, role) })
	if len(others) == 1 {
		d.cfg.RetentionRole = others[0]
	}
	return nil
}

// appendOnly reports whether something of AppendOnly is there.
func (d *doctor) appendOnly(ctx context.Context) (bool, error) {
	triggers, err := d.appends.readAppendTriggers(ctx)
	if err != nil || len(triggers) > 0 {
		return true, err
	}
	for _, f := range d.appends.functions() {
		have, err := d.readOwn(ctx, f.schema, f.name, f.args)
		if err != nil || have != nil {
			return have != nil, err
		}
	}
	return false, nil
}

// checkTrail looks at what keeps entries as they were written.
func (d *doctor) checkTrail(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.checkAppendOnly, d.checkTrailTriggers, d.checkBinding, d.checkTriggerRights, d.checkTrailKeys, d.checkTrailUnique, d.checkLogged} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) checkAppendOnly(ctx context.Context) error {
	if d.appends == nil {
		return nil
	}
	installed, err := d.appendOnly(ctx)
	if err != nil {
		return err
	}
	if !installed {
		return d.reportNotAppendOnly(ctx)
	}
	found, err := d.appends.readAppendTriggers(ctx)
	if err != nil {
		return err
	}
	oids := map[string]int64{}
	for _, f := range d.appends.functions() {
		have, err := d.readOwn(ctx, f.schema, f.name, f.args)
		if err != nil {
			return err
		}
		if have != nil {
			oids[f.name] = have.OID
			err = d.checkOwn(ctx, f, have)
		} else {
			err = d.reportGone(ctx, f)
		}
		if err != nil {
			return err
		}
	}
	faults := &triggerFaults{table: d.appends.log}
	for _, want := range appendTriggers {
		if oids[want.function] > 0 { // or else that it is missing is the finding
			faults.judge(want, oids[want.function], found[want.name])
		}
	}
	d.findings = append(d.findings, faults.findings()...)
	return nil
}

// reportNotAppendOnly has the SQL of AppendOnly for its fix, but for the grants, which
// are findings of their own.
func (d *doctor) reportNotAppendOnly(ctx context.Context) error {
	f := Finding{CodeNotAppendOnly, SeverityWarning, "table " + d.appends.log.String(),
		"AppendOnly was not run: whoever has the owner's rights may change or delete entries, and whoever may write them chooses their time",
		"-- run Migrator.AppendOnly as the owner"}
	if d.app != "" {
		var list []string
		for _, own := range d.appends.functions() {
			text, err := d.remake(ctx, own)
			if err != nil {
				return err
			}
			list = append(list, text, own.close())
		}
		for _, t := range appendTriggers {
			list = append(list, t.sql(d.appends.log)...)
		}
		policies, err := d.missingRetention(ctx)
		if err != nil {
			return err
		}
		f.Fix = texts(append(list, policies...)...)
	}
	d.report(f)
	return nil
}

// missingRetention is the SQL of the policies for the purge, where Protect has bound the owner.
func (d *doctor) missingRetention(ctx context.Context) (list []string, err error) {
	found, _, err := d.readPolicies(ctx, d.appends.log)
	if err != nil {
		return nil, err
	}
	if _, ours := readNote(found[definerInsert(d.appends.log).name].Comment); !ours {
		return nil, nil
	}
	before, _ := d.before(d.appends.log, found)
	for _, p := range retentionPolicies(d.appends.log) {
		if _, exists := found[p.name]; !exists {
			list = append(list, p.fix(d.appends.log, before))
		}
	}
	return list, nil
}

// reportGone makes the triggers again, too, which a DROP … CASCADE has taken along.
func (d *doctor) reportGone(ctx context.Context, f *ownFunction) error {
	text, err := d.remake(ctx, f)
	if err != nil {
		return err
	}
	list := []string{text, f.close()}
	for _, t := range appendTriggers {
		if t.function == f.name {
			list = append(list, t.sql(d.appends.log)...)
		}
	}
	d.report(Finding{CodeFunctionMissing, SeverityError, f.object(), "it is missing, and so are its triggers: " + kept[f.name], texts(list...)})
	return nil
}

// kept says what each function of AppendOnly keeps.
var kept = map[string]string{
	guardFunction: "it keeps entries from being changed and deleted",
	clockFunction: "it keeps writers from choosing an entry's time, and from recording removals that never were",
	purgeFunction: "it is the one way in which old entries go, and records what it removes",
}

// checkOwn compares a function with the text that AppendOnly makes for this table and
// these roles. One that bears our note and its hash was made by us, of another text: of
// another release, or the clock's of roles that no policy names.
func (d *doctor) checkOwn(ctx context.Context, f *ownFunction, have *captureFunction) error {
	want, err := d.state(ctx, declared(f.declaration, f.body))
	if err != nil {
		return err
	}
	text, err := d.remake(ctx, f)
	if err != nil {
		return err
	}
	n, _ := readNote(have.Comment)
	ours := n.State == hash(have.State)
	switch {
	case have.Strict:
		d.report(Finding{CodeFunctionAltered, SeverityError, f.object(), "it is STRICT, and so does nothing where an argument is NULL: " + kept[f.name], text})
	case have.State == want, ours && f.name == clockFunction:
		if d.checkNote(f, have, text); have.Owner != f.owner {
			d.report(Finding{CodeFunctionOwner, SeverityError, f.object(), fmt.Sprintf("it belongs to %s, who may alter it, and not to %s, who owns the table: %s", have.Owner, f.owner, kept[f.name]),
				texts(ownerSQL(f.sql(), f.owner))})
		}
	case ours:
		d.report(Finding{CodeFunctionAltered, SeverityWarning, f.object(), "it was made by another release, or while the table was another's, in " + altered(have.State, want) + ": " + kept[f.name], text})
	default:
		d.report(Finding{CodeFunctionAltered, SeverityError, f.object(), "it was altered by hand in " + altered(have.State, want) + ": " + kept[f.name], text})
	}
	return nil
}

// checkNote reports that somebody's comment took the place of ours.
func (d *doctor) checkNote(f *ownFunction, have *captureFunction, fix string) {
	if _, ours := readNote(have.Comment); !ours {
		d.report(Finding{CodeFunctionAltered, SeverityWarning, f.object(), "its comment, by which a Migrator knows that it is ours, was replaced: the next run is refused", fix})
	}
}

// triggerFaults are the faults of a table's triggers. Those of one kind are one
// finding, for they come of one statement, as DISABLE TRIGGER ALL.
type triggerFaults struct {
	table *guarded
	list  []triggerFault
}

type triggerFault struct {
	code     Code
	severity Severity
	name     string
	why, fix string
}

func (t *triggerFaults) add(f triggerFault) { t.list = append(t.list, f) }

func (t *triggerFaults) judge(want appendTrigger, function int64, have *foundTrigger) {
	fix := texts(want.sql(t.table)...)
	f := triggerFault{severity: SeverityError, name: want.name, why: kept[want.function], fix: fix}
	switch {
	case have == nil:
		f.code = CodeTriggerMissing
	case have.is(want, function):
		return
	case have.Function != function || have.Kind != want.kind || have.Narrowed:
		f.code = CodeTriggerAltered
	case have.Enabled == "A":
		f.code, f.severity, f.why = CodeTriggerAltered, SeverityWarning, "it fires for logical replication, too, which then does not keep the times of entries"
	case have.Enabled == "O":
		f.code, f.severity, f.why = CodeTriggerDisabled, SeverityWarning, "it is not ALWAYS enabled: where session_replication_role is replica, nothing "+strings.TrimPrefix(f.why, "it ")
	default:
		f.code = CodeTriggerDisabled
	}
	t.add(f)
}

var faultWords = map[Code]string{
	CodeTriggerMissing:  "is missing",
	CodeTriggerDisabled: "is disabled",
	CodeTriggerAltered:  "was altered by hand",
}

// findings makes one of each code: of the trigger, or of the table where it is about several.
func (t *triggerFaults) findings() (list Findings) {
	for _, code := range []Code{CodeTriggerMissing, CodeTriggerDisabled, CodeTriggerAltered} {
		var found []triggerFault
		for _, f := range t.list {
			if f.code == code {
				found = append(found, f)
			}
		}
		if len(found) == 0 {
			continue
		}
		finding := Finding{Code: code, Severity: SeverityWarning, Object: "table " + t.table.String()}
		if len(found) == 1 {
			finding.Object = "trigger " + t.table.String() + "." + found[0].name
		}
		var whys, fixes []string
		for _, f := range found {
			finding.Severity = min(finding.Severity, f.severity)
			whys, fixes = append(whys, "trigger "+f.name+" "+faultWords[code]+": "+f.why), append(fixes, f.fix)
		}
		finding.Why, finding.Fix = strings.Join(whys, "; "), texts(fixes...)
		list = append(list, finding)
	}
	return list
}
