package migrate

import (
	"context"
	"fmt"
	"regexp"
)

// around is something on audit_logs, or at it, that is not ours.
type around struct {
	Name  string
	Other string // a table
	Acts  bool   // it changes rows
	Fix   string
}

// checkTrailTriggers reports those that fire before each new entry. Those that fire
// after it change nothing of it, for that is refused.
func (d *doctor) checkTrailTriggers(ctx context.Context) error {
	if d.appends == nil {
		return nil
	}
	list, err := readRows[around](ctx, d.tx, `
		SELECT t.tgname AS "Name", format('ALTER TABLE %s DISABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname) AS "Fix"
		FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid
		WHERE t.tgrelid = $1::bigint::oid AND NOT t.tgisinternal AND t.tgtype & 7 = 7 AND t.tgenabled IN ('O', 'A') AND t.tgname <> ALL ($2::text[])
			AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE '`+notePrefix+`{%' ORDER BY 1`, d.appends.log.OID, appendTriggerNames())
	for _, t := range list {
		d.report(Finding{CodeTrailTrigger, SeverityError, "trigger " + d.appends.log.String() + "." + t.Name,
			"it is not ours and fires before each new entry: it may alter entries, their time too, or leave them out", t.Fix})
	}
	return err
}

// ourTriggerNames are those of triggers that are looked at by themselves.
func ourTriggerNames() []string {
	names := appendTriggerNames()
	for _, c := range captureTriggers {
		names = append(names, c.name)
	}
	return names
}

// checkBinding reports triggers that set what says whose the statement is, or what has
// been recorded: what fires after them goes by it.
func (d *doctor) checkBinding(ctx context.Context) error {
	list, err := readRows[around](ctx, d.tx, `
		SELECT format('%s.%s.%s', n.nspname, c.relname, t.tgname) AS "Name", p.oid::regprocedure::text AS "Other",
			format('ALTER TABLE %s DISABLE TRIGGER %I;', t.tgrelid::regclass, t.tgname) AS "Fix"
		FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE t.tgrelid = ANY ($1::bigint[]::oid[]) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
			AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE '`+notePrefix+`{%' AND t.tgname <> ALL ($3::text[])
			AND (p.proconfig::text ~ 'courtroll\.|session_replication_role' OR t.tgtype & 3 = 3 AND p.prosrc ~* $2::text OR p.prosrc ~* 'set_config\s*\(\s*''(courtroll\.|session_replication_role)'
				OR p.prosrc ~* '\mset\s+((local|session)\s+)?(courtroll\.|session_replication_role)') ORDER BY 1`, d.set.oids(), d.constantTenant(), ourTriggerNames())
	for _, t := range list {
		d.report(Finding{CodeTriggerBinds, SeverityError, "trigger " + t.Name,
			fmt.Sprintf("%s sets what says whose a row or a statement is, or whether its changes are recorded: what comes of it is another tenant's, or leaves no entry", t.Other), t.Fix})
	}
	return err
}

// constantTenant finds a trigger's text that makes rows one tenant's, whoever writes them.
func (d *doctor) constantTenant() string {
	return `\mnew\."?` + regexp.QuoteMeta(d.column) + `"?\s*:?=\s*(coalesce\s*\([^;]*,\s*)?'[^']+'\s*\)*\s*(::\s*\w+\s*)?;`
}

// checkTriggerRights reports triggers that run with the rights of somebody whom the
// policies do not bind, and whose function reaches a protected table: by its words, or
// perhaps, where it puts its SQL together or is in another language.
func (d *doctor) checkTriggerRights(ctx context.Context) error {
	names := make([]string, len(d.set.list))
	for i, g := range d.set.list {
		names[i] = g.Name
	}
	list, err := readRows[around](ctx, d.tx, `
		SELECT format('%s.%s.%s', n.nspname, c.relname, t.tgname) AS "Name", pg_get_userbyid(p.proowner) AS "Other",
			format('ALTER FUNCTION %s SECURITY INVOKER;', p.oid::regprocedure) AS "Fix"
		FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_language l ON l.oid = p.prolang JOIN pg_roles o ON o.oid = p.proowner
		JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE (t.tgrelid = ANY ($1::bigint[]::oid[]) OR c.oid >= 16384 AND CASE WHEN $4::text = '' THEN false ELSE
				has_table_privilege($4::text::name, c.oid, 'DELETE, TRUNCATE') OR has_any_column_privilege($4::text::name, c.oid, 'INSERT, UPDATE') END)
			AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND p.prosecdef
			AND (o.rolsuper OR o.rolbypassrls OR o.rolname = ANY ($2::text[]))
			AND coalesce(obj_description(p.oid, 'pg_proc'), '') NOT LIKE '`+notePrefix+`{%' AND t.tgname <> ALL ($5::text[])
			AND NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e')
			AND (l.lanname <> 'plpgsql' OR p.prosrc ~* '\mexecute\M' OR EXISTS (SELECT FROM unnest($3::text[]) w (name)
				WHERE lower(w.name) = ANY (regexp_split_to_array(lower(p.prosrc), '[^[:alnum:]_]+')))) ORDER BY 1`,
		d.set.oids(), append(d.trusted(), d.cfg.SystemRole), names, d.app, ourTriggerNames())
	for _, t := range list {
		d.report(Finding{CodeTriggerDefiner, SeverityError, "trigger " + t.Name,
			fmt.Sprintf("a tenant's write runs its function with the rights of %s, whom no policy binds, and it reaches protected tables, or may: rows of every tenant", t.Other), t.Fix})
	}
	return err
}

// checkTrailKeys reports foreign keys from and to audit_logs.
func (d *doctor) checkTrailKeys(ctx context.Context) error {
	if d.appends == nil {
		return nil
	}
	from, err := readRows[around](ctx, d.tx, `
		SELECT o.conname AS "Name", o.confrelid::regclass::text AS "Other", o.confdeltype IN ('c', 'n', 'd') OR o.confupdtype IN ('c', 'n', 'd') AS "Acts",
			format('ALTER TABLE %s DROP CONSTRAINT %I;', o.conrelid::regclass, o.conname) AS "Fix"
		FROM pg_constraint o WHERE o.conrelid = $1::bigint::oid AND o.contype = 'f' ORDER BY 1`, d.appends.log.OID)
	if err != nil {
		return err
	}
	for _, k := range from {
		f := Finding{CodeTrailKey, SeverityWarning, "constraint " + d.appends.log.String() + "." + k.Name,
			fmt.Sprintf("it refers to %s: no entry can be written of what is not there, and what is there cannot be deleted, for history outlives its subject", k.Other), k.Fix}
		if k.Acts {
			f.Severity, f.Why = SeverityError, fmt.Sprintf("entries change, or go, with the rows of %s that they refer to, where nothing else refuses that", k.Other)
		}
		d.report(f)
	}
	to, err := readRows[around](ctx, d.tx, `
		SELECT format('%s.%s.%s', n.nspname, c.relname, o.conname) AS "Name", format('ALTER TABLE %s DROP CONSTRAINT %I;', o.conrelid::regclass, o.conname) AS "Fix"
		FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE o.confrelid = $1::bigint::oid AND o.conrelid <> o.confrelid AND o.contype = 'f' ORDER BY 1`, d.appends.log.OID)
	for _, k := range to {
		d.report(Finding{CodeTrailReferenced, SeverityWarning, "constraint " + k.Name,
			"it refers to entries, whosever they are: it tells that an entry exists, and Retain cannot remove it, or takes the rows along that refer to it", k.Fix})
	}
	return err
}

// checkTrailUnique reports what lets an entry be written once and not again.
func (d *doctor) checkTrailUnique(ctx context.Context) error {
	if d.appends == nil {
		return nil
	}
	list, err := readRows[around](ctx, d.tx, `
		SELECT format('%s.%s', n.nspname, c.relname) AS "Name", coalesce(
			(SELECT format('ALTER TABLE %s DROP CONSTRAINT %I;', o.conrelid::regclass, o.conname) FROM pg_constraint o WHERE o.conindid = i.indexrelid AND o.contype IN ('u', 'x') LIMIT 1),
			format('DROP INDEX CONCURRENTLY %s;', i.indexrelid::regclass)) AS "Fix"
		FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace
		WHERE i.indrelid = $1::bigint::oid AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary
			AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey) AND a.attname = 'id') ORDER BY 1`, d.appends.log.OID)
	for _, i := range list {
		d.report(Finding{CodeTrailUnique, SeverityError, "index " + i.Name,
			"it refuses an entry like one that is there, of another tenant perhaps, and with it the change that the entry is of: nothing but its id is an entry's alone", i.Fix})
	}
	return err
}

// checkLogged reports tables that are empty after a crash.
func (d *doctor) checkLogged(ctx context.Context) error {
	list, err := queryStrings(ctx, d.tx, `SELECT c.oid::text FROM pg_class c WHERE c.oid = ANY ($1::bigint[]::oid[]) AND c.relpersistence = 'u' ORDER BY 1`, d.set.oids())
	for _, oid := range list {
		for _, g := range d.set.list {
			if fmt.Sprint(g.OID) != oid {
				continue
			}
			f := Finding{CodeUnlogged, SeverityError, "table " + g.String(), "it is UNLOGGED: after a crash of the server it is empty, and no replica has it", `ALTER TABLE ` + g.sql() + ` SET LOGGED;`}
			if g.class == owned {
				f.Severity = SeverityWarning
			}
			d.report(f)
		}
	}
	return err
}
