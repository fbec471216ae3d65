package migrate

import (
	"context"

	"github.com/courtroll/courtroll/models"
)

// AppendOnly makes the database itself keep audit_logs as it was written: nobody
// updates, deletes or truncates its entries, the owner and superusers included, and
// who is not trusted cannot choose an entry's time. It is run by the table's owner,
// after [Migrator.Up], before or after [Migrator.Protect] and
// [Migrator.CaptureByTrigger] or without them, and may run at every start of every
// instance: where nothing is to be done nothing is changed.
//
//   - [Config.AppRole], which is [ErrNoAppRole] if empty, and [Config.SystemRole] may
//     SELECT and INSERT, and all else on the table is revoked. [Config.TrustedRoles]
//     keep what was granted to them.
//   - UPDATE, DELETE and TRUNCATE fail with the SQLSTATE [StateAppendOnly], also
//     where they would meet no row, as the UPDATE of a MERGE, an upsert or a cascade,
//     and where session_replication_role is replica. A logical subscription whose
//     publisher sends deletions stops at the first.
//   - created_at becomes the time of the INSERT, unless the owner, a superuser, a role
//     with BYPASSRLS, a trusted role or a login that inherits from one of these
//     inserts: so a dump can be restored and history be copied. Logical
//     replication keeps the times.
//   - Only [Migrator.Retain] removes entries, through a function that may be run by
//     the owner and [Config.RetentionRole] alone. Who cannot run it cannot record
//     the [PurgeAction] either.
//
// While other roles have privileges on the table that Config.TrustedRoles does not
// name, and while another role than the handle's login owns it, the error is an
// [UntrustedError]. Every error, most of which are a [ProtectError], leaves the
// database as it was: all is one transaction, which waits for the table's lock as
// [Config.TableLockTimeout] says. [Protection.Drifted] names what was altered by hand
// and is repaired, [Protection.Reported] what else could change the trail: rules,
// other triggers, and keys that refer from it to another table and act on its rows.
//
// An owner can drop the triggers, or set courtroll.retention and delete: they
// stop mistakes of his and not his intent.
//
// The trigger of the time takes 2 µs of an INSERT of one entry (27 instead of 25,
// without round trip and commit), and one of 1,000 entries takes 1.2 times as long. COPY
// takes longer than that, for it puts rows one by one into a table with such a trigger.
func (m *Migrator) AppendOnly(ctx context.Context) (Protection, error) {
	if m.cfg.AppRole == "" {
		return Protection{}, ErrNoAppRole
	}
	return m.protection(ctx, nil, func(p *protectRun, ctx context.Context, _ []any) error {
		r := &appendRun{protectRun: p}
		return r.run(ctx, r.refuse, r.grant, r.ensureObjects, r.ensureRetention, r.report)
	})
}

// DropAppendOnly takes back what [Migrator.AppendOnly] did: it drops our triggers,
// functions and policies. Roles and grants stay. It is all or nothing, and takes an
// ACCESS EXCLUSIVE lock on audit_logs.
func (m *Migrator) DropAppendOnly(ctx context.Context) (Protection, error) {
	return m.protection(ctx, nil, func(p *protectRun, ctx context.Context, _ []any) error {
		r := &appendRun{protectRun: p}
		return r.run(ctx, r.checkOwner, r.drop)
	})
}

// appendRun is one AppendOnly or DropAppendOnly inside its transaction.
type appendRun struct {
	*protectRun
	log  *guarded // audit_logs
	uuid string   // the function that makes ids, as statements have it
}

func (r *appendRun) run(ctx context.Context, steps ...func(context.Context) error) error {
	if err := r.find(ctx); err != nil {
		return err
	}
	for _, step := range append([]func(context.Context) error{r.leaveSearchPath}, steps...) {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// find looks along the search_path.
func (r *appendRun) find(ctx context.Context) (err error) {
	r.set = tableSet{byName: map[string]*guarded{}}
	if r.log, err = r.lookup(ctx, models.AuditLogsTable, models.DefaultTenantColumn); err != nil {
		return err
	}
	if r.log == nil || r.log.Attnum == 0 {
		return &ProtectError{Table: models.AuditLogsTable, Err: ErrNotUp}
	}
	r.log.class = auditTrail
	ids, err := queryStrings(ctx, r.tx, `SELECT quote_ident(n.nspname) || '.courtroll_uuidv7()' FROM pg_catalog.pg_proc p
		JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = to_regprocedure('courtroll_uuidv7()')`)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		return &ProtectError{Object: "courtroll_uuidv7", Err: ErrNotUp}
	}
	r.uuid = ids[0]
	return r.add(models.AuditLogsTable, r.log)
}

// grant comes after refuse: to who has more than it should have, and is not ours to
// change, nothing is granted.
func (r *appendRun) grant(ctx context.Context) error {
	for _, role := range r.logins() {
		object := grantable{object: `TABLE ` + r.log.sql(), acl: tableACL, oid: r.log.OID}
		if err := r.setPrivileges(ctx, object, role, wants(auditTrail, role == r.cfg.AppRole)); err != nil {
			return err
		}
		if err := r.grantAround(ctx, r.log, role); err != nil {
			return err
		}
	}
	if r.cfg.RetentionRole == "" {
		return nil
	}
	return r.grantSchema(ctx, r.log, r.cfg.RetentionRole)
}

// report lists what else changes the trail. It changes nothing.
func (r *appendRun) report(ctx context.Context) error {
	found, err := readRows[Report](ctx, r.tx, `
		SELECT format('rule %s of %s.%s', w.rulename, n.nspname, c.relname) AS "Object", 'it may put something else in the place of an INSERT' AS "Reason"
		FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = $1::bigint::oid
		UNION ALL SELECT format('trigger %s of %s.%s', t.tgname, n.nspname, c.relname), 'it is not ours: a trigger BEFORE INSERT may alter an entry or leave it out'
		FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = $1::bigint::oid AND NOT t.tgisinternal AND t.tgtype & 2 = 2 AND t.tgname <> ALL ($2::text[])
		UNION ALL SELECT format('constraint %s.%s.%s', n.nspname, c.relname, o.conname), 'what it refers to cannot be deleted or changed any more while entries refer to it: drop it, for history outlives its subject'
		FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE c.oid = $1::bigint::oid AND o.contype = 'f'
		ORDER BY 1`, r.log.OID, appendTriggerNames())
	r.done.Reported = append(r.done.Reported, found...)
	return err
}
