package migrate_test

import (
	"strconv"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// forge sets what the purge sets.
const forge = `SELECT concat(set_config('courtroll.retention', '-infinity', true), set_config('courtroll.retention_before', 'infinity', true), set_config('courtroll.definer', 'on', true))`

// Whoever does it, what changes an entry is refused, and what adds one is not.
func TestAppendOnlyMatrix(t *testing.T) {
	t.Parallel()
	const denied, row = "42501", `(id, tenant_id, action, resource_type, created_at) VALUES ('00000000-0000-7000-8000-000000000001', 'a', 'create', 'sheets', '2000-01-01')`
	changes := map[string]string{
		"UPDATE":             `UPDATE audit_logs SET action = 'x'`,
		"UPDATE of nothing":  `UPDATE audit_logs SET action = 'x' WHERE false`,
		"DELETE":             `DELETE FROM audit_logs`,
		"DELETE of nothing":  `DELETE FROM audit_logs WHERE false`,
		"TRUNCATE":           `TRUNCATE audit_logs`,
		"MERGE":              `MERGE INTO audit_logs a USING (VALUES (1)) v (n) ON true WHEN MATCHED THEN UPDATE SET action = 'x'`,
		"MERGE that deletes": `MERGE INTO audit_logs a USING (VALUES (1)) v (n) ON true WHEN MATCHED THEN DELETE`,
		"upsert":             `INSERT INTO audit_logs ` + row + ` ON CONFLICT (id) DO UPDATE SET action = 'x'`,
		"write under WITH":   `WITH d AS (DELETE FROM audit_logs RETURNING *) SELECT count(*)::text FROM d`,
	}
	state := map[string]string{"owner": "TRAIL", "trusted": "TRAIL", "super": "TRAIL", "app": denied, "system": denied, "keeper": denied, "stranger": denied}
	for _, walls := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "with Protect"}[walls], func(t *testing.T) {
			t.Parallel()
			d := kept(t, walls)
			d.fill(t, 3, "a", "b", "")
			before := d.super.lines(t, `SELECT a::text FROM audit_logs a ORDER BY id`)
			for role, want := range state {
				for what, statement := range changes {
					for _, first := range []string{`SELECT 1`, forge} {
						if role == "owner" && first == forge {
							continue // it is his to do
						}
						if _, err := as(t, d.logins[role], "a", first, statement); code(err) != want {
							t.Errorf("%s; %s of %s: got %v, want %s", first, what, role, err, want)
						}
					}
				}
			}
			if _, err := as(t, d.logins["super"], "", `SET LOCAL session_replication_role = replica`, changes["DELETE"]); code(err) != "TRAIL" {
				t.Errorf("got %v where triggers are for replicas", err)
			}
			if after := d.super.lines(t, `SELECT a::text FROM audit_logs a ORDER BY id`); len(after) != 9 || after[8] != before[8] {
				t.Errorf("got %v", after)
			}
		})
	}
}
