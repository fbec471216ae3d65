package migrate

import (
	"context"
	"fmt"
	"strings"

	"github.com/courtroll/courtroll/models"
)

const (
	purgeFunction = "courtroll_purge_audit_logs"
	purgeArgs     = `timestamptz, text, text, bigint, timestamptz, uuid, uuid, boolean`
	// Plans are made for the values at hand, and follow the index whatever the
	// planner knows of the table.
	purgeDeclaration = `(before timestamptz, reason text, tenant text, most bigint, after_time timestamptz, after_id uuid, run uuid, dry boolean)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET jit = off
SET datestyle = 'ISO, YMD'`
)

// retentionPolicies let the purge see and delete what it is about: nothing else of
// the owner's. The span is in them and not in the statement alone, for there, behind a
// policy, an expression that may leak values would be no condition of the index.
func retentionPolicies(g *guarded) []policy {
	moment := func(name string) string { return setting(name, `::pg_catalog.timestamp`) }
	span := `pg_catalog.timezone('UTC', created_at) >= ` + moment(retentionSetting) + ` AND pg_catalog.timezone('UTC', created_at) < ` + moment(retentionEnd)
	owner := []string{g.Owner}
	return []policy{
		{name: "courtroll_retention_select", command: "SELECT", roles: owner, using: span},
		{name: "courtroll_retention_delete", command: "DELETE", roles: owner, using: span},
	}
}

// findRetention tells Protect whether the policies for the purge are wanted.
func (r *protectRun) findRetention(ctx context.Context) error {
	for _, g := range r.set.list {
		if g.class != auditTrail {
			continue
		}
		// By name: a login that may not use the schema cannot ask for a signature.
		comments, err := queryStrings(ctx, r.tx, `SELECT obj_description(p.oid, 'pg_proc') FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
			WHERE n.nspname = $1 AND p.proname = $2 AND obj_description(p.oid, 'pg_proc') IS NOT NULL`, g.Schema, purgeFunction)
		if err != nil {
			return err
		}
		for _, comment := range comments {
			_, ours := readNote(comment)
			r.retains = r.retains || ours
		}
	}
	return nil
}

// purgeFrame is the function that removes entries, a batch with each call, and
// records in the same statement what it removed: so a crash leaves both or neither.
//
// An entry is removed by its place, which is its own as long as the statement's
// snapshot lasts. Of two calls at once each records what it was that removed it.
//
// 008_resolve_tenant says why it sets courtroll.definer and how it is kept from
// being diverted.
const purgeFrame = `
#variable_conflict use_variable
DECLARE
	v_retention CONSTANT text := current_setting('` + retentionSetting + `', true);
	v_end CONSTANT text := current_setting('` + retentionEnd + `', true);
	v_definer CONSTANT text := current_setting('` + definerSetting + `', true);
	v_done jsonb;
BEGIN
	IF coalesce(reason, '') !~ '[^[:space:]]' OR tenant !~ '[^[:space:]]' OR most IS NULL OR most < 1 OR run IS NULL OR dry IS NULL THEN
		RAISE EXCEPTION 'a reason, a size and a run are needed, and a tenant that is given is not blank' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF before IS NULL OR before >= clock_timestamp() THEN
		RAISE EXCEPTION 'what is not yet in the past is not removed' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF row_security_active(%[1]s::regclass::oid) AND (
		(SELECT count(*) FROM pg_policy p WHERE p.polrelid = %[1]s::regclass AND p.polpermissive
			AND p.polname IN ('courtroll_retention_select', 'courtroll_retention_delete', 'courtroll_definer')) < 3
		OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = %[1]s::regclass AND NOT p.polpermissive
			AND EXISTS (SELECT FROM unnest(p.polroles) AS o (oid) WHERE o.oid = 0 OR pg_has_role(o.oid, 'USAGE')))) THEN
		RAISE EXCEPTION 'row-level security hides entries from the owner of %%: run AppendOnly, and drop restrictive policies for the owner', %[1]s
			USING ERRCODE = 'object_not_in_prerequisite_state';
	END IF;
	PERFORM set_config('` + retentionSetting + `', timezone('UTC', coalesce(after_time, '-infinity'))::text, true),
		set_config('` + retentionEnd + `', timezone('UTC', before)::text, true), set_config('` + definerSetting + `', 'on', true);
	IF tenant IS NULL THEN
%[2]s;
	ELSE
%[3]s;
	END IF;
	PERFORM set_config('` + retentionSetting + `', coalesce(v_retention, ''), true), set_config('` + retentionEnd + `', coalesce(v_end, ''), true),
		set_config('` + definerSetting + `', coalesce(v_definer, ''), true);
	RETURN v_done;
END
`

// purgeBatch takes one batch. Its arguments are the table, a condition, the order's
// time as an expression of a time, the id's function, the tenant's type, and what the record counts by.
const purgeBatch = `	WITH batch AS MATERIALIZED (
		SELECT a.ctid AS place, a.created_at, a.id, a.action, a.tenant_id FROM %[1]s a
		WHERE %[2]s AND %[3]s < %[4]s AND (after_time IS NULL OR (%[3]s, a.id) > (%[5]s, after_id)) AND a.action NOT IN ('` + PurgeAction + `', '` + models.DeleteBegunAction + `', '` + models.DeleteAction + `')
		ORDER BY %[3]s, a.id LIMIT most
	), gone AS (
		DELETE FROM %[1]s a WHERE NOT dry AND a.ctid = ANY (ARRAY(SELECT b.place FROM batch b))
		RETURNING a.created_at, a.action, a.tenant_id
	), counted AS MATERIALIZED (
		SELECT g.created_at, g.action, g.tenant_id FROM gone g UNION ALL SELECT b.created_at, b.action, b.tenant_id FROM batch b WHERE dry
	), total AS MATERIALIZED (
		SELECT jsonb_build_object('count', count(*), 'oldest', min(c.created_at), 'newest', max(c.created_at),
			'actions', (SELECT coalesce(jsonb_object_agg(x.action, x.n), '{}') FROM (SELECT c.action, count(*) AS n FROM counted c GROUP BY 1) x)) AS data
		FROM counted c
	), recorded AS (
		INSERT INTO %[1]s (id, tenant_id, action, resource_type, metadata, created_at)
		SELECT %[6]s, tenant%[7]s, '` + PurgeAction + `', 'audit_logs', jsonb_build_object('outcome', 'success', 'reason', reason, 'database_user', session_user,
			'data', t.data || jsonb_build_object('run_id', run, 'before', before)%[8]s), clock_timestamp()
		FROM total t WHERE NOT dry AND t.data->>'count' <> '0'
	)
	SELECT t.data || coalesce((SELECT jsonb_build_object('last_time', l.created_at, 'last_id', l.id, 'seen', (SELECT count(*) FROM batch))
			FROM (SELECT b.created_at, b.id FROM batch b ORDER BY b.created_at DESC, b.id DESC LIMIT 1) l), '{"seen": 0}')
		INTO v_done FROM total t`

// byTenant is for a record that is no tenant's own. Entries of none are under "".
const byTenant = ` || jsonb_build_object('tenants', (SELECT coalesce(jsonb_object_agg(x.tenant, x.n), '{}')
				FROM (SELECT coalesce(c.tenant_id::text, '') AS tenant, count(*) AS n FROM counted c GROUP BY 1) x))`

func (r *appendRun) purgeBody() string {
	table := r.log.sql()
	utc := func(at string) string { return `timezone('UTC', ` + at + `)` }
	kind := `::pg_catalog.` + r.log.Type
	every := fmt.Sprintf(purgeBatch, table, "true", utc("a.created_at"), utc("before"), utc("after_time"), r.uuid, kind, byTenant)
	one := fmt.Sprintf(purgeBatch, table, "a.tenant_id = tenant"+kind, "a.created_at", "before", "after_time", r.uuid, kind, "")
	return fmt.Sprintf(purgeFrame, literal(table), strings.TrimRight(every, "\n"), strings.TrimRight(one, "\n"))
}
