package migrate

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gorm.io/gorm/schema"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
)

const (
	// CodeCaptureOutdated is a table that changed, or whose model did, since
	// CaptureByTrigger.
	CodeCaptureOutdated Code = "capture-outdated"
	// CodeTriggerExtra is one by which a function of CaptureByTrigger records more than
	// there was.
	CodeTriggerExtra Code = "trigger-extra"
)

// audited is a table that the app writes, and that triggers may capture.
type audited struct {
	*guarded
	plan      *plan.Audited
	catalogue string // as [trail.Compile] wants it
	// given means that its models are those that CaptureByTrigger was given, so that
	// its function can be compared with theirs.
	given bool

	members []*guarded // the table and its partitions
	found   bool       // triggers of ours, in whatever state
	virtual map[string]string
}

// auditedPlans are what all models of each table say together, of those that were given,
// or else of those that these refer to.
type auditedPlans struct {
	registry *plan.Registry
	order    []string
	byTable  map[string]*plan.Audited
	given    map[string]bool
}

func (p *auditedPlans) learn(s *schema.Schema, given bool) {
	if plan.Unqualified(s.Table) == models.AuditLogsTable || !given && p.given[s.Table] {
		return
	}
	known, _ := p.registry.Lookup(plan.Unqualified(s.Table))
	own, err := plan.CompileAudited(s, known)
	if err != nil {
		return // its tags are for package audit to refuse
	}
	if table := p.byTable[s.Table]; table != nil {
		tenant := own.Tenant
		own = table.Merge(own)
		own.Tenant = tenant
	} else {
		p.order = append(p.order, s.Table)
	}
	p.byTable[s.Table] = own
	p.given[s.Table] = p.given[s.Table] || given
}

// findAudited finds the tables of models, while names are looked up along the
// search_path, and takes those that are examined without one.
func (d *doctor) findAudited(ctx context.Context, given []any) error {
	if d.of(auditTrail) == nil {
		return nil
	}
	plans := &auditedPlans{registry: d.registry, byTable: map[string]*plan.Audited{}, given: map[string]bool{}}
	for _, model := range slices.Concat(given, d.cfg.Models) {
		s, err := plan.Parse(d.db, model)
		if err != nil {
			return err
		}
		plans.learn(s, true)
	}
	for _, s := range d.set.schemas {
		plans.learn(s, false)
	}
	for _, name := range plans.order {
		p := plans.byTable[name]
		g, err := d.lookup(ctx, name, p.Tenant)
		if err != nil {
			return err
		}
		if err := d.addAudited(ctx, g, p, plans.given[name]); err != nil {
			return err
		}
	}
	for _, g := range d.set.list {
		p := &plan.Audited{Table: g.Name, Tenant: g.column}
		if g.class == register {
			p.Tenant = "" // no column of it says whose it is
		}
		if err := d.addAudited(ctx, g, p, false); err != nil {
			return err
		}
	}
	return nil
}

// catalogueSQL is [trail.CatalogSQL] of an oid, for which no privilege is needed.
var catalogueSQL = strings.Replace(trail.CatalogSQL, `to_regclass($1::text)`, `$1::bigint::oid`, 1)

func (d *doctor) addAudited(ctx context.Context, g *guarded, p *plan.Audited, given bool) error {
	if g == nil || g.Kind != "r" && g.Kind != "p" || g.OID == d.of(auditTrail).OID || slices.ContainsFunc(d.modeled, func(t *audited) bool { return t.OID == g.OID }) {
		return nil
	}
	t := &audited{guarded: g, plan: p, given: given, members: []*guarded{g}}
	catalogue, err := queryStrings(ctx, d.tx, `SELECT coalesce((`+catalogueSQL+`), '')`, g.OID)
	if err != nil {
		return err
	}
	t.catalogue = catalogue[0]
	if g.Kind == "p" {
		run := &captureRun{protectRun: d.protectRun}
		if members, err := run.members(ctx, g); err == nil {
			t.members = members
		}
	}
	d.modeled = append(d.modeled, t)
	return nil
}

// compile is what CaptureByTrigger makes of the table.
func (d *doctor) compile(t *audited, limit int) (*captured, error) {
	table, err := trail.Compile(t.plan, t.catalogue, limit)
	if err != nil {
		return nil, err
	}
	table.Trail, table.UUID = d.trailSQL, d.uuidSQL // whatever the login searches
	return &captured{guarded: t.guarded, Table: table, members: t.members, virtual: t.virtual}, nil
}

func (d *doctor) capturing() *captureRun {
	return &captureRun{protectRun: d.protectRun, log: d.of(auditTrail)}
}

// checkCapture looks at the tables that have some of our triggers, or the function.
func (d *doctor) checkCapture(ctx context.Context) error {
	for _, t := range d.modeled {
		if err := d.checkCaptured(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (d *doctor) checkCaptured(ctx context.Context, t *audited) error {
	if slices.Contains(d.renamed, t.OID) {
		return nil // its name, or its column's, is to be altered first, which makes the function's text true again
	}
	run := d.capturing()
	have, err := d.readFunctionOID(ctx, `(SELECT f.oid FROM pg_proc f JOIN pg_namespace n ON n.oid = f.pronamespace
		WHERE f.pronargs = 0 AND n.nspname || '.' || f.proname = $1)`, t.Schema+"."+captureName(t.Name))
	if err != nil {
		return err
	}
	triggers := map[*guarded][]presentTrigger{}
	for _, member := range t.members {
		if triggers[member], err = run.readTriggers(ctx, member); err != nil {
			return err
		}
		t.found = t.found || len(triggers[member]) > 0
	}
	if have != nil {
		_, ours := readNote(have.Comment)
		t.found = t.found || ours
	}
	if !t.found {
		return nil
	}
	if t.virtual, err = d.virtualOf(ctx, t); err != nil {
		return err
	}
	f, err := d.captureFunction(t, have)
	if err != nil {
		return err
	}
	if have != nil {
		if err := d.checkCaptureFunction(ctx, t, f, have); err != nil {
			return err
		}
	}
	if err := d.checkCaptureTriggers(ctx, t, f, have, triggers); err != nil || have == nil {
		return err
	}
	return d.checkExtra(ctx, t, have)
}

func (d *doctor) virtualOf(ctx context.Context, t *audited) (map[string]string, error) {
	c := &captured{guarded: t.guarded}
	err := d.capturing().readVirtual(ctx, c)
	return c.virtual, err
}

// limits are what a function cuts values at.
var limits = regexp.MustCompile(`octet_length\([^)]*\)?\) > (\d+)`)

// captureFunction is the table's function as it should be, for the limit with which it
// was made: a Migrator's Config alone says that.
func (d *doctor) captureFunction(t *audited, have *captureFunction) (*ownFunction, error) {
	tried := []int{0}
	if have != nil {
		for _, found := range limits.FindAllStringSubmatch(have.State, -1) {
			if n, err := strconv.Atoi(found[1]); err == nil && !slices.Contains(tried, n) {
				tried = append(tried, n)
			}
		}
	}
	var first *ownFunction
	for _, limit := range tried {
		c, err := d.compile(t, limit)
		if err != nil {
			return nil, err
		}
		f := d.capturing().function(c)
		if have != nil {
			if n, _ := readNote(have.Comment); n.Made == hash(f.statement()) {
				return f, nil
			}
		}
		first = cmp.Or(first, f)
	}
	return first, nil
}

// checkCaptureFunction compares by the text where the models are those that it was made
// from. Else the note says whether it was altered, and its own list of columns whether
// the table was.
func (d *doctor) checkCaptureFunction(ctx context.Context, t *audited, f *ownFunction, have *captureFunction) error {
	want, err := d.state(ctx, declared(f.declaration, f.body))
	if err != nil {
		return err
	}
	fix, err := d.remake(ctx, f)
	if err != nil {
		return err
	}
	n, _ := readNote(have.Comment)
	switch {
	case have.State == want:
		d.checkNote(f, have, fix)
	case n.State != hash(have.State):
		d.report(Finding{CodeFunctionAltered, SeverityError, f.object(),
			"it was altered by hand in " + altered(have.State, want) + ": it writes the trail of " + t.String(), fix})
		return nil
	default:
		why, err := d.outdated(ctx, t, have)
		if err != nil {
			return err
		}
		if why != "" && (t.Attnum == 0 || t.fits()) { // else the column is to be altered first, which makes its text true again
			d.report(Finding{CodeCaptureOutdated, SeverityWarning, "table " + t.String(), why, fix})
		}
	}
	if have.Owner != f.owner {
		d.report(Finding{CodeFunctionOwner, SeverityError, f.object(),
			fmt.Sprintf("it belongs to %s and not to %s, who owns the trail: the policy by which it writes entries is not for it, or it passes them all", have.Owner, f.owner), texts(ownerSQL(f.sql(), f.owner))})
	}
	return nil
}

// outdated says in what a function of ours is not what it would be now.
func (d *doctor) outdated(ctx context.Context, t *audited, have *captureFunction) (string, error) {
	changed, err := queryStrings(ctx, d.tx, `SELECT a.attname::text FROM pg_attribute a
		WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped AND position(quote_literal(a.attname) IN split_part(split_part($2, 'v_known CONSTANT text[] := ARRAY[', 2), ']::text[]', 1)) = 0
		ORDER BY a.attnum`, t.OID, have.State)
	switch {
	case err != nil:
		return "", err
	case len(changed) > 0:
		return "columns were added since CaptureByTrigger, of which the trail has [redacted]: " + strings.Join(changed, ", "), nil
	case t.given:
		return "CaptureByTrigger was given other models, tags or columns than there are now: what it records is not what they say", nil
	}
	return "", nil
}

// checkCaptureTriggers wants all four of them on the table and on each partition.
func (d *doctor) checkCaptureTriggers(ctx context.Context, t *audited, f *ownFunction, have *captureFunction, triggers map[*guarded][]presentTrigger) error {
	for _, member := range t.members {
		faults := &triggerFaults{table: member}
		for _, want := range captureTriggers {
			faults.judgeCapture(want, f, have, triggers[member])
		}
		found := faults.findings()
		for i := range found {
			if have != nil {
				continue
			}
			text, err := d.remake(ctx, f) // the table was renamed, or the function was
			if err != nil {
				return err
			}
			found[i].Fix = texts(text, f.close(), found[i].Fix)
		}
		d.findings = append(d.findings, found...)
	}
	return nil
}

// checkExtra looks for further triggers that call a table's function. One that has the
// place of ours goes with the fix for that.
func (d *doctor) checkExtra(ctx context.Context, t *audited, have *captureFunction) error {
	type extra struct {
		OID         int64
		Table, Name string
		Kind        int
		Fix         string
	}
	members := make([]int64, len(t.members))
	for i, m := range t.members {
		members[i] = m.OID
	}
	list, err := readRows[extra](ctx, d.tx, `SELECT t.tgrelid::bigint AS "OID", format('%s.%s', n.nspname, c.relname) AS "Table", t.tgname AS "Name", t.tgtype AS "Kind",
			format('DROP TRIGGER %I ON %s;', t.tgname, t.tgrelid::regclass) AS "Fix"
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE t.tgfoid = $1::bigint::oid AND t.tgenabled IN ('O', 'A') AND t.tgparentid = 0 AND NOT (t.tgrelid = ANY ($2::bigint[]::oid[]) AND t.tgname = ANY ($3::text[])) ORDER BY 2, 3`,
		have.OID, members, ourTriggerNames())
	for _, e := range list {
		renamed := slices.IndexFunc(d.findings, func(f Finding) bool {
			return f.Code == CodeTriggerMissing && slices.ContainsFunc(captureTriggers, func(c captureTrigger) bool { return c.kind == e.Kind && f.Object == "trigger "+e.Table+"."+c.name })
		})
		if renamed >= 0 {
			d.findings[renamed].Fix = e.Fix + "\n" + d.findings[renamed].Fix
			continue
		}
		d.report(Finding{CodeTriggerExtra, SeverityError, "trigger " + e.Table + "." + e.Name,
			"it calls the function that captures " + t.String() + " once more: the trail has entries of changes that never were", e.Fix})
	}
	return err
}

var recorded = map[string]string{
	models.CaptureInsertTrigger:   "rows that are created without the plugin leave no entry",
	models.CaptureUpdateTrigger:   "rows that are changed without the plugin leave no entry",
	models.CaptureDeleteTrigger:   "rows that are deleted without the plugin leave no entry",
	models.CaptureTruncateTrigger: "TRUNCATE leaves no entry",
}

func (t *triggerFaults) judgeCapture(want captureTrigger, f *ownFunction, function *captureFunction, list []presentTrigger) {
	create := want.sql(t.table, ident(f.schema, f.name))
	again := texts(`DROP TRIGGER IF EXISTS `+ident(want.name)+` ON `+t.table.sql(), create)
	fault := triggerFault{code: CodeTriggerMissing, severity: SeverityError, name: want.name, why: recorded[want.name], fix: again}
	i := slices.IndexFunc(list, func(p presentTrigger) bool { return p.Name == want.name })
	if i < 0 {
		t.add(fault)
		return
	}
	have := list[i]
	same := have.Kind == want.kind && have.Old == want.old && have.New == want.new && !have.Narrowed && function != nil && have.OID == function.OID
	switch {
	case !same:
		fault.code = CodeTriggerAltered
	case !have.Enabled:
		fault.code, fault.fix = CodeTriggerDisabled, `ALTER TABLE `+t.table.sql()+` ENABLE TRIGGER `+ident(want.name)
	default:
		return
	}
	t.add(fault)
}
