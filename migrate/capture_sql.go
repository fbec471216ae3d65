package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
)

// The transition tables of the triggers.
const (
	oldRows = "courtroll_old"
	newRows = "courtroll_new"
)

// captureFrame is the trigger function around the statements that write the
// entries. PL/pgSQL plans a statement when it is first reached, so that one
// function serves triggers of which each has one or both of the transition tables.
//
// The setting's rows are passed over where the statement is the client's own: one
// that a trigger or one of its functions runs has written no trail. The cascades of
// foreign keys run as the client's own, and their rows follow those of the statement.
//
// 008_resolve_tenant says why it sets courtroll.definer and how it is kept from
// being diverted.
const captureFrame = `
#variable_conflict use_variable
DECLARE
	v_known CONSTANT text[] := %[1]s;
	v_actor CONSTANT text := nullif(current_setting('` + models.ActorSetting + `', true), '');
	v_request CONSTANT text := nullif(current_setting('` + models.RequestSetting + `', true), '');
	v_tenant CONSTANT text := nullif(current_setting('` + models.TenantSetting + `', true), '');
	v_rest CONSTANT text := concat(',"database_user":' || CASE WHEN v_actor IS NULL THEN to_json(session_user::text)::text END,
		',"request_id":' || to_json(v_request)::text, '}');
	v_mark text[] := string_to_array(nullif(current_setting('` + models.CapturedSetting + `', true), ''), ' ');
	v_before CONSTANT text := current_setting('` + definerSetting + `', true);
	v_place int;
	v_skip bigint := 0;
	v_found bigint;
	v_columns bigint;
	v_more boolean;
BEGIN
	IF TG_OP = 'TRUNCATE' THEN
		RAISE EXCEPTION 'TRUNCATE of %% leaves no audit trail: use DELETE', TG_RELID::regclass
			USING ERRCODE = 'feature_not_supported';
	END IF;
	IF pg_trigger_depth() = 1 AND v_mark[1] = TG_RELID::text AND v_mark[2] = ` + trail.Moment + ` THEN
		v_place := CASE TG_OP WHEN 'INSERT' THEN 3 WHEN 'UPDATE' THEN 4 ELSE 5 END;
		v_skip := v_mark[v_place];
		v_mark[v_place] := '0';
		PERFORM set_config('` + models.CapturedSetting + `', array_to_string(v_mark, ' '), true);
	END IF;
	IF TG_OP = 'INSERT' THEN
		PERFORM FROM ` + newRows + ` OFFSET v_skip LIMIT 1;
	ELSE
		PERFORM FROM ` + oldRows + ` OFFSET v_skip LIMIT 1;
	END IF;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	SELECT count(*) FILTER (WHERE a.attname = ANY (v_known)), count(*) INTO v_found, v_columns
		FROM pg_attribute a WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped;
	IF v_found < cardinality(v_known) THEN
		RAISE EXCEPTION 'columns of %% were dropped or renamed: run CaptureByTrigger again', TG_RELID::regclass
			USING ERRCODE = 'undefined_column';
	END IF;
	v_more := v_columns > v_found;
	PERFORM set_config('` + definerSetting + `', 'on', true);
	IF TG_OP = 'INSERT' THEN
%[2]s;
	ELSIF TG_OP = 'DELETE' THEN
%[3]s;
	ELSE
%[4]s%[5]s;
	END IF;
	PERFORM set_config('` + definerSetting + `', coalesce(v_before, ''), true);
	RETURN NULL;
END
`

// captureUnpaired refuses what cannot be paired. In a partitioned table alone an update may
// take a row from one place without putting it into another.
const captureUnpaired = `		IF (SELECT count(*) FROM ` + oldRows + `) <> (SELECT count(*) FROM ` + newRows + `) THEN
			RAISE EXCEPTION 'a row of % was moved and kept out by a trigger of its new partition', TG_RELID::regclass
				USING ERRCODE = 'triggered_data_change_violation';
		END IF;
`

// body is the text of the table's trigger function.
func (t *captured) body() string {
	known := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		known[i] = literal(c.Name)
	}
	check := ""
	if t.guarded.Kind == "p" {
		check = captureUnpaired
	}
	return fmt.Sprintf(captureFrame, `ARRAY[`+strings.Join(known, ", ")+`]::text[]`, t.created(), t.deleted(), check, t.updated())
}

func (t *captured) row() trail.Row {
	return trail.Row{Table: t.Table, Before: of("o"), After: of("n")}
}

// of returns the expressions of the columns of one version of a row. They have
// numbers for names, for a table may have a column of any name.
func of(version string) func(int) string {
	return func(i int) string { return fmt.Sprintf(`%s."__%d"`, version, i) }
}

func (t *captured) created() string {
	row := t.row()
	changes := `concat_ws(',', nullif(` + cmp.Or(row.Created(), "''") + `, ''), ` +
		unknown(`':{"old":null,"new":"[redacted]"}'`, `json_each(n."__x") AS a`, `json_typeof(a.value) <> 'null'`) + `)`
	return t.entry("n", "'create'", t.ResourceID(row.After, row.Hash), changes,
		`(SELECT `+t.values()+` FROM `+newRows+` AS x OFFSET v_skip) AS n`)
}

func (t *captured) deleted() string {
	row := t.row()
	changes := `concat_ws(',', nullif(` + cmp.Or(row.Deleted(), "''") + `, ''), ` +
		unknown(`':{"old":"[redacted]","new":null}'`, `json_each(o."__x") AS a`, `json_typeof(a.value) <> 'null'`) + `)`
	return t.entry("o", "'delete'", t.ResourceID(row.Before, row.Hash), changes,
		`(SELECT `+t.values()+` FROM `+oldRows+` AS x OFFSET v_skip) AS o`)
}

// updated pairs the versions of a row by the order in which the server kept them,
// which is the same for both: each time a row is changed, it keeps the old and then
// the new version. So also a row that has another key now finds its own past. The
// join is FULL because that cannot be a nested loop, which the plan of a statement
// of few rows would bring upon one of many.
func (t *captured) updated() string {
	row := t.row()
	changed, auto := row.Updated(func(int) bool { return true })
	changed = `concat_ws(',', nullif(` + changed + `, ''), ` + unknown(
		`':{"old":' || CASE WHEN json_typeof(a.value) <> 'null' THEN '"[redacted]"' ELSE 'null' END || ',"new":' || CASE WHEN json_typeof(b.value) <> 'null' THEN '"[redacted]"' ELSE 'null' END || '}'`,
		`json_each(o."__x") AS a JOIN json_each(n."__x") AS b ON b.key = a.key`, `a.value::text <> b.value::text`) + `) AS changed`
	changes := "d.changed"
	if auto != "" {
		changes, changed = "concat_ws(',', d.changed, nullif(d.auto, ''))", changed+", "+auto+" AS auto"
	}
	version := func(rows, name string) string {
		return `(SELECT row_number() OVER () AS "__n", ` + t.values() + ` FROM ` + rows + ` AS x) AS ` + name
	}
	return t.entry("n", t.Action(row.Before, row.After), t.ResourceID(row.Before, row.Hash), changes,
		version(oldRows, "o")+` FULL JOIN `+version(newRows, "n")+` ON o."__n" = n."__n" CROSS JOIN LATERAL (SELECT `+changed+` OFFSET 0) AS d
 WHERE coalesce(n."__n", o."__n") > v_skip AND d.changed <> ''`)
}

// values lists the columns, and as "__x" all of them where there are some that
// the function does not know.
func (t *captured) values() string {
	var b strings.Builder
	for i, c := range t.Columns {
		if c.Treatment != plan.Omit || slices.Contains(t.ID, i) || c.Name == t.Tenant || c.Name == t.DeletedAt {
			value := "x." + ident(c.Name)
			if expr := t.virtual[c.Name]; expr != "" {
				value = "(" + expr + ")"
			}
			fmt.Fprintf(&b, `%s AS "__%d", `, value, i)
		}
	}
	return b.String() + `CASE WHEN v_more THEN to_json(x) END AS "__x"`
}

// unknown is the part of the changes of columns that were added since: that they
// changed, not what they are, for no tag has been read for them.
func unknown(change, from, condition string) string {
	return `CASE WHEN v_more THEN (SELECT string_agg(to_json(a.key)::text || ` + change + `, ',') FROM ` + from +
		` WHERE a.key <> ALL (v_known) AND ` + condition + `) END`
}

// entry is the statement that writes an entry for each row of from.
func (t *captured) entry(version, action, id, changes, from string) string {
	tenant := "v_tenant"
	if i := t.At(t.Tenant); i >= 0 {
		tenant = `coalesce(` + of(version)(i) + `::text, v_tenant)`
	}
	return `INSERT INTO ` + t.Trail + ` ("id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "created_at")
 SELECT ` + t.UUID + `, v_actor, ` + tenant + `, ` + action + `, ` + trail.Literal(t.Table.Name) + `, ` + id + `, NULL::text,
 ` + trail.Metadata(changes, "v_rest") + `, clock_timestamp()
 FROM ` + from
}
