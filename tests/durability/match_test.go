package durability

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Each of these lists what is wrong, as one text a row.
var matches = map[string]string{
	// Each row's entries in the trail's order are its changes in the order in which
	// the trigger saw them: the same transactions, actions and values.
	"the trail is what the trigger saw": `WITH trail AS (
			SELECT resource_id, row_number() OVER (PARTITION BY resource_id ORDER BY created_at, id) AS n,
				metadata->>'transaction_id' AS txid, action, metadata->'changes' AS changes, tenant_id
			FROM audit_logs WHERE resource_type = 'docs'
		), seen AS (
			SELECT coalesce(new, old)->>'id' AS resource_id, row_number() OVER (PARTITION BY coalesce(new, old)->>'id' ORDER BY seq) AS n, txid,
				CASE WHEN op = 'INSERT' THEN 'create' WHEN op = 'DELETE' THEN 'delete'
					WHEN old->>'deleted_at' IS NULL AND new->>'deleted_at' IS NOT NULL THEN 'soft_delete'
					WHEN old->>'deleted_at' IS NOT NULL AND new->>'deleted_at' IS NULL THEN 'restore' ELSE 'update' END AS action,
				(SELECT jsonb_object_agg(k, jsonb_build_object('old', o, 'new', w)) FROM (
					SELECT k, coalesce(old->k, 'null') AS o, coalesce(new->k, 'null') AS w FROM jsonb_object_keys(coalesce(new, old)) AS k
				) AS x WHERE o <> w) AS changes, coalesce(new, old)->>'tenant_id' AS tenant_id
			FROM shadow.log WHERE old IS DISTINCT FROM new
		)
		(SELECT 'in the trail alone: ' || t::text FROM (TABLE trail EXCEPT ALL TABLE seen) AS t LIMIT 3)
		UNION ALL (SELECT 'missing in the trail: ' || s::text FROM (TABLE seen EXCEPT ALL TABLE trail) AS s LIMIT 3)`,

	// The last value of each column in the trail is the row's; of a row that is gone there is none.
	"the folded trail is the table": `WITH folded AS (
			SELECT resource_id, jsonb_strip_nulls(jsonb_object_agg(key, new)) AS image FROM (
				SELECT DISTINCT ON (resource_id, key) resource_id, key, value->'new' AS new
				FROM audit_logs, jsonb_each(metadata->'changes') WHERE resource_type = 'docs'
				ORDER BY resource_id, key, created_at DESC, audit_logs.id DESC
			) AS last GROUP BY resource_id
		)
		SELECT concat_ws(' ', coalesce(resource_id, id::text), 'folded', image, 'row', jsonb_strip_nulls(to_jsonb(docs)))
		FROM folded FULL JOIN docs ON docs.id::text = resource_id
		WHERE coalesce(image, '{}') IS DISTINCT FROM coalesce(jsonb_strip_nulls(to_jsonb(docs)), '{}') LIMIT 3`,

	"ids of entries are unique": `SELECT id::text FROM audit_logs GROUP BY id HAVING count(*) > 1 LIMIT 3`,
}

// check compares all that is committed at one moment, while the load goes on, and
// what the clients were told by then.
func (l *load) check(after string) {
	l.t.Helper()
	told := l.ledger.told()
	ctx := context.WithoutCancel(l.t.Context())
	conn := l.connect()
	defer func() { _ = conn.Close(ctx) }()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	must(l.t, err)
	for _, fault := range l.faults(tx) {
		l.t.Errorf("after %s: %s", after, fault)
	}
	there := map[string]bool{}
	for _, request := range l.texts(tx, `SELECT DISTINCT metadata->>'request_id' FROM audit_logs WHERE resource_type = 'docs'`) {
		there[request] = true
	}
	counts := map[outcome]int{}
	for request, outcome := range told {
		counts[outcome]++
		if want := outcome == committed; outcome != unknown && there[request] != want {
			l.t.Errorf("after %s: request %s was told %q, and its entries are there: %t", after, request, outcome, there[request])
		}
	}
	n := l.texts(tx, `SELECT concat_ws(' ', count(*), 'entries,', count(DISTINCT resource_id), 'rows') FROM audit_logs`)
	l.t.Logf("after %s: %v; requests: %v", after, n, counts)
}

func (l *load) faults(tx pgx.Tx) (all []string) {
	l.t.Helper()
	for name, query := range matches {
		for _, fault := range l.texts(tx, query) {
			all = append(all, name+": "+fault)
		}
	}
	return all
}

// forgeries make the trail and the table differ, each in another way.
var forgeries = map[string]string{
	"an entry less": `DELETE FROM audit_logs WHERE id = (SELECT id FROM audit_logs WHERE action = 'update' LIMIT 1)`,
	"an entry more": `INSERT INTO audit_logs (action, resource_type, resource_id, metadata)
		SELECT action, resource_type, resource_id, metadata FROM audit_logs WHERE action = 'update' LIMIT 1`,
	"another order": `UPDATE audit_logs SET created_at = now() + interval '1 hour'
		WHERE id = (SELECT id FROM audit_logs WHERE resource_id = '1' ORDER BY created_at LIMIT 1)`,
	"another value":      `UPDATE audit_logs SET metadata = jsonb_set(metadata, '{changes,title,old}', '"x"') WHERE action = 'delete'`,
	"another action":     `UPDATE audit_logs SET action = 'update' WHERE action = 'soft_delete'`,
	"another tenant":     `UPDATE audit_logs SET tenant_id = 'hal' WHERE tenant_id = 'acme'`,
	"a row less":         `SET LOCAL session_replication_role = replica; DELETE FROM docs WHERE id = (SELECT max(id) FROM docs)`,
	"a row that differs": `SET LOCAL session_replication_role = replica; UPDATE docs SET n = n + 1 WHERE id = (SELECT max(id) FROM docs)`,
}

// checkForgeries demands that what check looks for would be found.
func (l *load) checkForgeries() {
	l.t.Helper()
	conn := l.connect()
	defer func() { _ = conn.Close(context.WithoutCancel(l.t.Context())) }()
	for name, forge := range forgeries {
		tx, err := conn.Begin(l.t.Context())
		must(l.t, err)
		_, err = tx.Exec(l.t.Context(), forge)
		must(l.t, err)
		if len(l.faults(tx)) == 0 {
			l.t.Errorf("%s is not noticed", name)
		}
		must(l.t, tx.Rollback(l.t.Context()))
	}
}

func (l *load) texts(tx pgx.Tx, query string) []string {
	l.t.Helper()
	rows, err := tx.Query(l.t.Context(), query)
	must(l.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(l.t, err)
	return all
}
