package main

import (
	"fmt"

	"gorm.io/gorm"
)

// steps is each change of each column: its old and its new value as JSON.
const steps = `steps AS (
	SELECT a.resource_type, a.resource_id, a.created_at, a.id, c.key, c.value->'old' AS old, c.value->'new' AS new
	FROM audit_logs a, jsonb_each(a.metadata->'changes') AS c)`

// verifyChain looks whether each old value is the new value of the entry before
// it: of a column's first entry the old value is null.
func verifyChain(tx *gorm.DB, _ *expected) ([]check, error) {
	var got struct{ Steps, Broken int }
	err := tx.Raw(`WITH ` + steps + `, chain AS (
			SELECT old, lag(new, 1, 'null') OVER (PARTITION BY resource_type, resource_id, key ORDER BY created_at, id) AS before
			FROM steps)
		SELECT count(*) AS steps, count(*) FILTER (WHERE old IS DISTINCT FROM before) AS broken FROM chain`).Scan(&got).Error
	return []check{{
		name:   fmt.Sprintf("every old value in the trail is the new value before it: %s values", number(got.Steps)),
		held:   got.Broken == 0,
		detail: fmt.Sprintf("%s are not", number(got.Broken)),
	}}, err
}

// verifyEnds looks whether the last new values of the trail are what the tables
// hold, all of it and nothing else, and under the tenant of each row.
func verifyEnds(tx *gorm.DB, _ *expected) ([]check, error) {
	var got struct{ Fields, Different, Foreign int }
	err := tx.Raw(`WITH ` + steps + `, ends AS (
			SELECT DISTINCT ON (resource_type, resource_id, key) resource_type, resource_id, key, new
			FROM steps ORDER BY resource_type, resource_id, key, created_at DESC, id DESC
		), live AS (
			SELECT 'tenants' AS resource_type, id AS resource_id, id AS tenant_id, to_jsonb(t) AS fields FROM tenants t
			UNION ALL SELECT 'pages', id::text, tenant_id, to_jsonb(p) FROM pages p
			UNION ALL SELECT 'revisions', id::text, tenant_id, to_jsonb(r) FROM revisions r
		), fields AS (
			SELECT resource_type, resource_id, f.key, f.value FROM live, jsonb_each(jsonb_strip_nulls(fields)) AS f)
		SELECT count(*) AS fields, count(*) FILTER (WHERE f.value IS DISTINCT FROM nullif(e.new, 'null')) AS different,
			(SELECT count(*) FROM audit_logs a JOIN live USING (resource_type, resource_id)
			 WHERE a.tenant_id IS DISTINCT FROM live.tenant_id) AS foreign
		FROM fields f FULL JOIN ends e USING (resource_type, resource_id, key)`).Scan(&got).Error
	return []check{{
		name:   fmt.Sprintf("the last values in the trail are those of the tables: %s values", number(got.Fields)),
		held:   got.Different == 0,
		detail: fmt.Sprintf("%s are not", number(got.Different)),
	}, {
		name:   "every audit row is in the tenant of the row that it is about",
		held:   got.Foreign == 0,
		detail: fmt.Sprintf("%s are not", number(got.Foreign)),
	}}, err
}
