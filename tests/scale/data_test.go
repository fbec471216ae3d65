//go:build !race

package scale

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
)

const (
	entries = 1_000_000
	apart   = 20 * time.Second // of two entries
	loaders = 2
)

var first = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// middle is where a reading goes on that has read half of the trail.
var middle = first.Add(entries / 2 * apart)

// load puts the entries of every loaders-th moment into the trail, so that all
// loaders go through time together. What an entry says comes of its number's hashes:
//
//	tenant    a third of t0, half of t1 to t100, the others of 5,000; one in 100 of none
//	actor     eight in a tenant, of which one is in all; none of one in ten
//	action    one in 16,000 tenant.export, one in 66 user.login, delete, create, mostly update
//	type      one in 16,000 api_keys, users, projects, and half invoices
//	request   two entries each, of four entries in five
//	changes   status, amount or title, one in 1,000 iban besides
const load = `
INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, ip_address, metadata, created_at)
SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7000a' || lpad(to_hex(n), 15, '0'))::uuid,
	CASE WHEN n %% 10 > 0 THEN CASE actor WHEN 7 THEN 'robot' ELSE 'user-' || tenant || '-' || actor END END,
	CASE WHEN n %% 100 > 0 THEN 't' || tenant END,
	CASE WHEN action < 4 THEN 'tenant.export' WHEN action < 1000 THEN 'user.login'
		WHEN action < 6000 THEN 'delete' WHEN action < 16000 THEN 'create' ELSE 'update' END,
	CASE WHEN type < 4 THEN 'api_keys' WHEN type < 10000 THEN 'users' WHEN type < 30000 THEN 'projects' ELSE 'invoices' END,
	resource, '192.0.2.' || n %% 250,
	('{"changes": {"' || (ARRAY['status', 'amount', 'title'])[field] || '": {"old": "draft", "new": "paid"}'
		|| CASE WHEN n %% 1000 = 7 THEN ', "iban": {"old": null, "new": "***"}' ELSE '' END
		|| '}, "actor_kind": "user", "transaction_id": "' || n || '"'
		|| CASE WHEN n %% 5 > 0 THEN ', "request_id": "' || md5((n / 2)::text) || '"' ELSE '' END || '}')::jsonb, at
FROM (SELECT n, timestamptz '%s' + n * interval '%d seconds' AS at,
		CASE WHEN n %% 3 = 0 THEN 0 WHEN n %% 3 = 1 OR n %% 2 = 0 THEN 1 + n / 6 %% 100
			ELSE 101 + (hashint8extended(n, 0) & 65535) %% 5000 END AS tenant,
		hashint8extended(n, 1) & 65535 AS action, hashint8extended(n, 2) & 65535 AS type,
		hashint8extended(n, 3) & 16383 AS resource, hashint8extended(n, 4) & 7 AS actor,
		1 + (hashint8extended(n, 5) & 65535) %% 3 AS field
	FROM generate_series(%d, %d, %d) n) made`

// fill makes the trail before its indexes, which is much faster.
func fill(t *testing.T, db *pgtest.DB) {
	t.Helper()
	begin := time.Now()
	must(t, db.Owner.Exec(`ALTER DATABASE `+db.Name+` SET maintenance_work_mem = '256MB'`).Error)
	owner := db.OpenOwner(nil)
	must(t, owner.AutoMigrate(&models.AuditLog{}))
	var group errgroup.Group
	for i := range loaders {
		group.Go(func() error {
			return owner.Exec(fmt.Sprintf(load, first.Format(time.RFC3339), int(apart.Seconds()), i+1, entries, loaders)).Error
		})
	}
	must(t, group.Wait())
	t.Logf("%d entries after %s", entries, time.Since(begin).Round(time.Millisecond))
	_, err := migrate.New(owner, migrate.Config{}).Up(t.Context())
	must(t, err)
	t.Logf("their indexes after %s", time.Since(begin).Round(time.Millisecond))
}

// findRequest returns a request of t0 on the middle day.
func findRequest(t *testing.T, db *pgtest.DB) (id string) {
	t.Helper()
	must(t, db.Owner.Raw(`SELECT metadata->>'request_id' FROM audit_logs WHERE tenant_id = 't0'
		AND metadata->>'request_id' IS NOT NULL AND created_at > ? ORDER BY created_at LIMIT 1`, middle).Scan(&id).Error)
	return id
}
