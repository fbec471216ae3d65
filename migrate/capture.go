package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
)

// Capture is what one CaptureByTrigger or DropCapture did and saw.
type Capture struct {
	// Changed are the statements that were run, in order. It is empty if there was
	// nothing to do.
	Changed []string
	// Drifted names what had been altered by hand and was repaired, a trigger as
	// "schema.table.trigger", a function as "schema.function".
	Drifted []string
	// Reported is where the triggers record less than the audit plugin does, and
	// which columns they record though no model has them.
	Reported []Report
}

// CaptureByTrigger makes the database itself write the audit trail of the models'
// tables, whatever changes them: SQL by hand, psql, the cascades of foreign keys,
// other triggers, COPY, MERGE. Without models it takes those of [Rules.Models].
// It is run by the tables' owner, after [Migrator.Up] and after each AutoMigrate,
// before or after [Migrator.Protect], and may run at every start of every instance.
//
// Each row that was created, changed or deleted leaves one entry, in the statement
// that changed it, in the form in which package audit writes it, with these
// differences:
//
//   - The actor and the request are those of the settings [models.ActorSetting] and
//     [models.RequestSetting]. Where no actor is bound, the metadata has the login as
//     "database_user". An address is not known. The tenant is the row's, or else
//     that of [models.TenantSetting].
//   - Of columns tagged audit:"hash" the trail has "[redacted]": the key is not in
//     the database. They are in [Capture.Reported].
//   - An update is recorded with every column that it changed. Rows before and after
//     are paired as they were changed and not by their key, so a key may change, too:
//     the entry is that of the old one. A statement that changes a row twice, itself
//     and by a cascade, leaves two entries.
//
// Statements of the audit plugin have written their entries already: the triggers
// pass over those rows, by [models.CapturedSetting], and record what cascades add.
// As with the other settings, whoever may run SQL of his own may set this one: it
// keeps the trail from mistakes, not from the app's login.
//
// A column that was added since is recorded as "[redacted]" until this runs again;
// after one was dropped or renamed writes fail until then. TRUNCATE is refused.
// Of a partitioned table each partition has the triggers, too, for statements that
// name it; one that is attached later gets them when this runs again. The triggers
// do not fire where session_replication_role is replica.
//
// Everything is one transaction, as with Protect: an error, of which most are a
// [ProtectError], leaves the database as it was. It takes SHARE ROW EXCLUSIVE locks,
// which wait for writers, on tables that lack a trigger, and ACCESS EXCLUSIVE ones
// where a trigger was altered, as [Config.TableLockTimeout] says.
// [ErrCaptureKind] and [ErrCaptureTrail] mean tables that cannot be captured,
// [ErrCaptureTaken] that a trigger or function of the name is not ours.
func (m *Migrator) CaptureByTrigger(ctx context.Context, models ...any) (Capture, error) {
	return m.capturing(ctx, models, (*captureRun).install)
}

// DropCapture takes back what [Migrator.CaptureByTrigger] did on the same tables: it
// drops our triggers and their functions. The entries stay. It is all or nothing,
// and takes ACCESS EXCLUSIVE locks.
func (m *Migrator) DropCapture(ctx context.Context, models ...any) (Capture, error) {
	return m.capturing(ctx, models, (*captureRun).drop)
}

func (m *Migrator) capturing(ctx context.Context, list []any, run func(*captureRun, context.Context) error) (Capture, error) {
	if len(list)+len(m.cfg.Models) == 0 {
		return Capture{}, errors.New("migrate: no model is given, nor any in Config.Models")
	}
	done, err := m.protection(ctx, list, func(p *protectRun, ctx context.Context, list []any) error {
		r := &captureRun{protectRun: p}
		if err := r.find(ctx, list); err != nil {
			return err
		}
		if err := r.leaveSearchPath(ctx); err != nil {
			return err
		}
		if err := r.checkOwner(ctx); err != nil {
			return err
		}
		return run(r, ctx)
	})
	return Capture{Changed: done.Changed, Drifted: done.Drifted, Reported: done.Reported}, err
}

// captureRun is one CaptureByTrigger or DropCapture inside its transaction.
type captureRun struct {
	*protectRun
	log    *guarded // audit_logs
	tables []*captured
}

// captured is a table whose changes triggers record.
type captured struct {
	*guarded
	*trail.Table
	members []*guarded        // the table and its partitions
	virtual map[string]string // the expressions of columns that are not stored
}

// find compiles the models' tables, while names are looked up along the search_path.
func (r *captureRun) find(ctx context.Context, given []any) (err error) {
	if r.log, err = r.lookup(ctx, models.AuditLogsTable, models.DefaultTenantColumn); err != nil {
		return err
	}
	if r.log == nil || r.log.Attnum == 0 {
		return &ProtectError{Table: models.AuditLogsTable, Err: ErrNotUp}
	}
	r.log.class = auditTrail
	if len(given) == 0 {
		given = r.cfg.Models
	}
	plans, err := r.plans(slices.Concat(given, r.cfg.Models))
	if err != nil {
		return err
	}
	for _, model := range given {
		s, err := plan.Parse(r.db, model)
		if err != nil {
			return err
		}
		if err := r.add(ctx, s.Table, plans[s.Table]); err != nil {
			return err
		}
	}
	return nil
}

// plans returns what all models of each table say together.
func (r *captureRun) plans(list []any) (map[string]*plan.Audited, error) {
	registry, err := plan.NewRegistry(r.db, r.cfg.Rules)
	if err != nil {
		return nil, err
	}
	plans := map[string]*plan.Audited{}
	for _, model := range list {
		s, err := plan.Parse(r.db, model)
		if err != nil {
			return nil, err
		}
		registry.Learn(s)
		known, _ := registry.Lookup(plan.Unqualified(s.Table))
		own, err := plan.CompileAudited(s, known)
		if err != nil {
			return nil, err
		}
		if table := plans[s.Table]; table != nil {
			tenant := own.Tenant
			own = table.Merge(own)
			own.Tenant = tenant
		}
		plans[s.Table] = own
	}
	return plans, nil
}

// add adds a model's table, if it is not there already.
func (r *captureRun) add(ctx context.Context, name string, audited *plan.Audited) error {
	g, err := r.lookup(ctx, name, audited.Tenant)
	switch {
	case err != nil:
		return err
	case g == nil:
		return &ProtectError{Table: name, Err: ErrNoTable}
	case r.set.byOID(g.OID) != nil:
		return nil
	case g.OID == r.log.OID:
		return &ProtectError{Table: g.String(), Err: ErrCaptureTrail}
	}
	members, err := r.members(ctx, g)
	if err != nil {
		return err
	}
	catalogue, err := queryStrings(ctx, r.tx, `SELECT coalesce((`+trail.CatalogSQL+`), '')`, g.sql())
	if err != nil {
		return err
	}
	table, err := trail.Compile(audited, catalogue[0], r.cfg.MaxValueChars)
	if err != nil {
		return err
	}
	if strings.HasPrefix(table.UUID, `"courtroll_uuidv7"`) {
		return &ProtectError{Object: "courtroll_uuidv7", Err: ErrNotUp}
	}
	r.set.list = append(r.set.list, members...)
	r.tables = append(r.tables, &captured{guarded: g, Table: table, members: members})
	return nil
}

// members returns the table with its partitions, and refuses what would be
// changed without the table's triggers.
func (r *captureRun) members(ctx context.Context, g *guarded) ([]*guarded, error) {
	if g.Kind != "r" && g.Kind != "p" {
		return nil, &ProtectError{Table: g.String(), Err: ErrCaptureKind}
	}
	list, err := readRows[*guarded](ctx, r.tx, `
		WITH RECURSIVE family (oid) AS (
			SELECT $1::bigint::oid
			UNION SELECT i.inhrelid FROM family f JOIN pg_catalog.pg_inherits i ON i.inhparent = f.oid)
		SELECT c.oid::bigint AS oid, n.nspname AS schema, c.relname AS name, pg_get_userbyid(c.relowner) AS owner, c.relkind AS kind,
			EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhrelid = c.oid) AS inherits
		FROM family f JOIN pg_catalog.pg_class c ON c.oid = f.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		ORDER BY c.oid <> $1::bigint::oid, n.nspname, c.relname`, g.OID)
	if err != nil {
		return nil, err
	}
	for i, m := range list {
		isFamily := i == 0 && m.Inherits || i > 0 && g.Kind != "p"
		if isFamily || m.Kind != "r" && m.Kind != "p" {
			return nil, &ProtectError{Table: m.String(), Err: ErrCaptureKind}
		}
	}
	return list, nil
}

// install makes functions, triggers and, where audit_logs is protected, the
// policy by which they write what they should be.
func (r *captureRun) install(ctx context.Context) error {
	if err := r.ensureDefiner(ctx); err != nil {
		return err
	}
	for _, t := range r.tables {
		if err := r.readVirtual(ctx, t); err != nil {
			return err
		}
		function, err := r.ensureFunction(ctx, t)
		if err != nil {
			return err
		}
		for _, member := range t.members {
			if err := r.ensureTriggers(ctx, member, function); err != nil {
				return err
			}
		}
		for _, c := range t.Columns {
			name := "column " + t.guarded.String() + "." + c.Name
			switch {
			case c.Treatment == plan.Hash:
				r.reportf(name, "it is tagged hash, and the triggers redact it: the key is not in the database")
			case c.Unknown && c.Treatment == plan.Keep:
				r.reportf(name, "no model has it, and no tag speaks of it: its values are in the trail")
			}
		}
	}
	return nil
}

// readVirtual reads the expressions of virtual generated columns (from PostgreSQL
// 18 on), of which transition tables have no value. It comes after leaveSearchPath,
// so that the functions in them have their schemas.
func (r *captureRun) readVirtual(ctx context.Context, t *captured) error {
	type column struct{ Name, Expr string }
	list, err := readRows[column](ctx, r.tx, `
		SELECT a.attname AS "Name", pg_get_expr(d.adbin, d.adrelid) AS "Expr"
		FROM pg_attribute a JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
		WHERE a.attrelid = $1::bigint::oid AND a.attgenerated = 'v'`, t.OID)
	t.virtual = map[string]string{}
	for _, c := range list {
		t.virtual[c.Name] = c.Expr
	}
	return err
}

// ensureDefiner brings the policy for our functions to this release, where Protect made it.
func (r *captureRun) ensureDefiner(ctx context.Context) error {
	found, _, err := r.readPolicies(ctx, r.log)
	if err != nil {
		return err
	}
	definer := definerInsert(r.log)
	if _, exists := found[definer.name]; !exists {
		return nil
	}
	before, _ := r.before(r.log, found)
	return r.ensurePolicy(ctx, r.log, definer, found, before)
}

// drop drops the triggers that are ours, then the functions that no trigger calls any more.
func (r *captureRun) drop(ctx context.Context) error {
	for _, t := range r.tables {
		var functions []string
		for _, member := range t.members {
			called, err := r.dropTriggers(ctx, member)
			if err != nil {
				return err
			}
			functions = append(functions, called...)
		}
		slices.Sort(functions)
		for _, function := range slices.Compact(functions) {
			if err := r.dropFunction(ctx, function); err != nil {
				return err
			}
		}
	}
	return nil
}

// dropTriggers returns the functions that the triggers called.
func (r *captureRun) dropTriggers(ctx context.Context, g *guarded) (functions []string, err error) {
	have, err := r.readTriggers(ctx, g)
	if err != nil {
		return nil, err
	}
	for _, h := range have {
		if !h.ours() {
			continue
		}
		if err := r.exec(ctx, `DROP TRIGGER %s ON %s`, ident(h.Name), g.sql()); err != nil {
			return nil, err
		}
		functions = append(functions, h.Function)
	}
	return functions, nil
}
