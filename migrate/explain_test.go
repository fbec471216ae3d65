package migrate_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
)

// filled has 60,000 audit rows of 200 tenants, of which the first has an eighth
// and the last ones some sixty each; one row in a hundred is of no tenant.
var filled = pgtest.Template{Name: "filled", Build: func(owner *gorm.DB) error {
	if _, err := migrate.New(owner, migrate.Config{}).Up(owner.Statement.Context); err != nil {
		return err
	}
	for _, statement := range []string{
		`SELECT setseed(0.5)`,
		`INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, metadata, created_at)
		SELECT courtroll_uuidv7(),
			CASE WHEN n % 10 > 0 THEN 'user-' || t || '-' || n % 3 END,
			CASE WHEN n % 100 > 0 THEN 'tenant-' || t END,
			'update', (ARRAY['invoices', 'projects', 'users'])[1 + n % 3], n % 20,
			'{"changes": {"name": {"old": "a", "new": "b"}}}', timestamptz '2025-01-01' + n * interval '1 minute'
		FROM (SELECT n, floor(exp(random() * ln(200)))::int AS t FROM generate_series(1, 60000) n) rows`,
		`INSERT INTO tenants (id, name, slug, domain)
		SELECT 'tenant-' || t, t, t, CASE WHEN t % 2 = 0 THEN t || '.example' END FROM generate_series(1, 5000) t`,
		`ANALYZE`,
	} {
		if err := owner.Exec(statement).Error; err != nil {
			return err
		}
	}
	return nil
}}

const (
	newest = ` ORDER BY created_at DESC, id DESC LIMIT 50`
	oldest = ` ORDER BY created_at, id LIMIT 50`
	before = ` AND (created_at, id) < (timestamptz '2025-01-20', uuid '00000000-0000-7000-8000-000000000000')`
	after  = ` AND (created_at, id) > (timestamptz '2025-01-20', uuid '00000000-0000-7000-8000-000000000000')`
)

// Each kind of read uses the index that is there for it, and finds its rows in
// order. The policy's form of the tenant's predicate is among them, and so are
// the parameters of a prepared statement, of which the planner knows no value.
func TestIndexesServe(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, filled)
	b := &bundle{DB: db, owner: db.Owner, sql: pool(t, db.Owner)}
	const policy = `tenant_id = (SELECT nullif(current_setting('courtroll.tenant_id', true), ''))`
	for _, test := range []struct {
		name, index string
		where       string
		args        string // of a prepared statement
		few         bool   // may sort, for it finds few rows, or believes so
	}{
		{name: "a tenant's newest", index: "tenant", where: `tenant_id = $1` + newest, args: `'tenant-150'`},
		{name: "a large tenant's newest", index: "tenant", where: `tenant_id = 'tenant-1'` + newest},
		{name: "a tenant's next page", index: "tenant", where: `tenant_id = $1` + before + newest, args: `'tenant-20'`},
		{name: "a tenant's oldest", index: "tenant", where: `tenant_id = $1` + oldest, args: `'tenant-20'`},
		{name: "a tenant's page before", index: "tenant", where: `tenant_id = $1` + after + oldest, args: `'tenant-20'`},
		{name: "a tenant's newest under the policy", index: "tenant", where: policy + newest},

		{name: "a resource's history", index: "resource", args: `'tenant-2', 'invoices', '7'`,
			where: `tenant_id = $1 AND resource_type = $2 AND resource_id = $3` + newest},
		{name: "a resource's history, next page", index: "resource", args: `'tenant-2', 'invoices', '7'`,
			where: `tenant_id = $1 AND resource_type = $2 AND resource_id = $3` + before + newest},
		{name: "a resource's history, oldest first", index: "resource", args: `'tenant-2', 'invoices', '7'`,
			where: `tenant_id = $1 AND resource_type = $2 AND resource_id = $3` + oldest},
		{name: "a resource's history under the policy", index: "resource",
			where: policy + ` AND resource_type = 'invoices' AND resource_id = '7'` + newest},
		{name: "a resource's history across tenants", index: "resource", args: `'invoices', '7'`, few: true,
			where: `resource_type = $1 AND resource_id = $2` + newest},

		{name: "an actor's doings", index: "actor", where: `tenant_id = $1 AND actor_id = $2` + newest, args: `'tenant-3', 'user-3-1'`},
		{name: "an actor's doings, next page", index: "actor", where: `tenant_id = $1 AND actor_id = $2` + before + newest, args: `'tenant-3', 'user-3-1'`},
		{name: "an actor's doings under the policy", index: "actor", where: policy + ` AND actor_id = 'user-3-1'` + newest, few: true},
		{name: "an actor's doings across tenants", index: "actor", where: `actor_id = $1` + newest, args: `'user-3-1'`, few: true},

		{name: "system events", index: "system", where: `tenant_id IS NULL` + newest},
		{name: "system events, next page", index: "system", where: `tenant_id IS NULL` + before + newest},

		{name: "the rows of a day", index: "time", few: true, args: `'2025-01-10', '2025-01-11'`,
			where: `created_at >= $1 AND created_at < $2` + oldest},
		{name: "what is older than a day", index: "time", where: `created_at < '2025-01-02'`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plan := b.plan(t, `SELECT * FROM audit_logs WHERE `+test.where, test.args)
			if !uses(plan, "courtroll_audit_logs_"+test.index) {
				t.Errorf("does not use the index %s:\n%s", test.index, plan)
			}
			if strings.Contains(plan, "Sort") && !test.few {
				t.Errorf("sorts:\n%s", plan)
			}
		})
	}

	t.Run("a tenant by domain", func(t *testing.T) {
		t.Parallel()
		plan := b.plan(t, `SELECT id, is_active FROM tenants WHERE domain = $1`, `'8.example'`)
		if !strings.Contains(plan, "using courtroll_tenants_domain on tenants") {
			t.Errorf("does not use the index:\n%s", plan)
		}
	})
}

// uses says whether the plan reads the index, in order or as a bitmap, and no other.
func uses(plan, index string) bool {
	scans := scanOf.FindAllStringSubmatch(plan, -1)
	return len(scans) == 1 && scans[0][1] == index
}

var scanOf = regexp.MustCompile(`Index (?:Only )?Scan (?:Backward )?(?:using|on) (\w+)`)

// plan explains a query, with arguments as a prepared statement whose plan is
// made for any.
func (b *bundle) plan(t *testing.T, query, args string) string {
	t.Helper()
	conn, err := b.sql.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if args != "" {
		prepare := fmt.Sprintf(`SET plan_cache_mode = force_generic_plan; PREPARE read AS %s`, query)
		if _, err := conn.ExecContext(t.Context(), prepare); err != nil {
			t.Fatal(err)
		}
		defer func() { _, _ = conn.ExecContext(t.Context(), `RESET plan_cache_mode; DEALLOCATE read`) }()
		query = `EXECUTE read (` + args + `)`
	}
	rows, err := conn.QueryContext(t.Context(), `EXPLAIN `+query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var plan strings.Builder
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			t.Fatal(err)
		}
		plan.WriteString(line + "\n")
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return plan.String()
}
