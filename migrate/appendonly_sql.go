package migrate

import (
	"fmt"
	"slices"
	"strings"
)

const (
	// StateAppendOnly is the SQLSTATE of what [Migrator.AppendOnly] refuses.
	StateAppendOnly = "TRAIL"

	// PurgeAction is the action of the entries in which [Migrator.Retain] records what
	// it removed. It is nobody else's to record.
	PurgeAction = "audit_logs.purge"
)

const (
	guardFunction = "courtroll_append_only"
	clockFunction = "courtroll_clock"
)

// retentionSetting is set while entries are removed, to the time in UTC from which
// on, and retentionEnd to the time before which.
const (
	retentionSetting = "courtroll.retention"
	retentionEnd     = "courtroll.retention_before"
)

// guardFrame lets the purge pass, and refuses all else. The setting is anybody's to
// set, and a cascade of a foreign key runs as the table's owner: so it has to
// be the owner, and a statement that no trigger runs. That the owner still is the one
// that is named is asked once for a statement and not for each row.
//
// It has no search_path of its own, for that would cost time for each row: instead
// each function and operator is written with its schema.
const guardFrame = `
BEGIN
	IF TG_OP OPERATOR(pg_catalog.=) 'DELETE' AND pg_catalog.pg_trigger_depth() OPERATOR(pg_catalog.=) 1
		AND pg_catalog.length(pg_catalog.current_setting('` + retentionSetting + `', true)) OPERATOR(pg_catalog.>) 0
		AND CURRENT_USER OPERATOR(pg_catalog.=) %s THEN
		IF TG_LEVEL OPERATOR(pg_catalog.=) 'ROW' THEN
			RETURN OLD;
		END IF;
		IF EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID
				AND pg_catalog.pg_get_userbyid(c.relowner) OPERATOR(pg_catalog.=) CURRENT_USER) THEN
			RETURN NULL;
		END IF;
	END IF;
	RAISE EXCEPTION '%% of %% is refused: entries of the audit trail stay as they are, and are removed by Retain alone', TG_OP, TG_RELID::pg_catalog.regclass
		USING ERRCODE = '` + StateAppendOnly + `', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
END
`

func (r *appendRun) guardBody() string { return fmt.Sprintf(guardFrame, literal(r.log.Owner)) }

// clockFrame gives an entry the time of its INSERT. Who is known to write entries
// of his own gets it at once; of others it is asked whether they are free to choose it.
//
// Who records the purge is not told by the current role: a function of the owner's
// lets the app record events.
const clockFrame = `
BEGIN
	IF NEW.action OPERATOR(pg_catalog.=) '` + PurgeAction + `' THEN
		IF NOT (%[1]s) THEN
			RAISE EXCEPTION '` + PurgeAction + ` is for Retain alone to record'
				USING ERRCODE = '` + StateAppendOnly + `', SCHEMA = TG_TABLE_SCHEMA, TABLE = TG_TABLE_NAME;
		END IF;
	END IF;
	IF %[2]s THEN
		IF %[3]s THEN
			RETURN NEW;
		END IF;
	END IF;
	NEW.created_at := pg_catalog.clock_timestamp();
	RETURN NEW;
END
`

func (r *appendRun) clockBody() string {
	trusted := r.trusted()
	slices.Sort(trusted)
	unknown := make([]string, 0, 2)
	for _, role := range r.logins() {
		unknown = append(unknown, `CURRENT_USER OPERATOR(pg_catalog.<>) `+literal(role))
	}
	recorders := trusted
	if r.cfg.RetentionRole != "" {
		recorders = append(slices.Clone(trusted), r.cfg.RetentionRole)
	}
	return fmt.Sprintf(clockFrame, freeRole("SESSION_USER", "MEMBER", recorders), strings.Join(unknown, " AND "), freeRole("CURRENT_USER", "USAGE", trusted))
}

// freeRole is the condition that a role has BYPASSRLS, or has what the table's owner
// or one of the roles has, as superusers have. A role that was dropped is nobody's.
func freeRole(role, how string, roles []string) string {
	has := func(whose string) string { return `pg_catalog.pg_has_role(` + role + `, ` + whose + `, '` + how + `')` }
	conditions := []string{`EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid OPERATOR(pg_catalog.=) TG_RELID AND ` + has("c.relowner") + `)
			OR EXISTS (SELECT FROM pg_catalog.pg_roles o WHERE o.rolname OPERATOR(pg_catalog.=) ` + role + ` AND o.rolbypassrls)`}
	for _, name := range roles {
		conditions = append(conditions, `coalesce(`+has(`pg_catalog.to_regrole(`+literal(ident(name))+`)`)+`, false)`)
	}
	return strings.Join(conditions, "\n\t\t\tOR ")
}
