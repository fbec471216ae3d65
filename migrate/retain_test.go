package migrate_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

// TestRetain_Deletions keeps what tells of deleted tenants.
func TestRetain_Deletions(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.fill(t, 3, "a")
	d.super.exec(t, `INSERT INTO audit_logs (action, resource_type, resource_id, created_at) SELECT unnest(ARRAY['tenant.delete_begun', 'tenant.delete']), 'tenants', 'gone', '2020-01-01 UTC'`)
	for _, tenant := range []string{"a", ""} {
		if _, err := d.keeper(nil).Retain(t.Context(), migrate.Retention{Before: since(2001), Reason: "two years", Pace: full, TenantID: tenant}); err != nil {
			t.Fatal(err)
		}
	}
	if n := d.count(t, `action LIKE 'tenant.%'`) + d.count(t, `resource_type = 'sheets'`); n != "20" {
		t.Errorf("kept and left: %s", n)
	}
}

// full is a pace without rest.
var full = migrate.Pace{Rest: -1}

// keeper is a migrator on the retention role's login.
func (d *trailDesk) keeper(progress func(migrate.Progress)) *migrate.Migrator {
	return migrate.New(d.Open(postgres.New(postgres.Config{Conn: d.logins["keeper"]}), &gorm.Config{}), migrate.Config{Progress: progress})
}

func since(seconds int) time.Time {
	return time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(seconds) * time.Second)
}

func (d *trailDesk) count(t testing.TB, where string) string {
	t.Helper()
	return d.super.line(t, `SELECT count(*)::text FROM audit_logs WHERE `+where)
}

func TestRetain(t *testing.T) {
	t.Parallel()
	for _, walls := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "with Protect"}[walls], func(t *testing.T) {
			t.Parallel()
			d := kept(t, walls)
			d.fill(t, 3000, "a", "b", "")
			// Another program has no tenant as an empty one.
			d.super.exec(t, `INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) SELECT '', 'create', 'x', '`+since(7).Format(time.RFC3339)+`' FROM generate_series(1, 10)`)
			want := migrate.Retained{Rows: 6010, Actions: map[string]int64{"create": 4012, "delete": 1998}, Oldest: since(1), Newest: since(2000)}
			r := migrate.Retention{Before: since(2001), Reason: "two years", Pace: full}
			for _, dry := range []bool{true, false} {
				r.DryRun = dry
				var told []migrate.Progress
				got, err := d.keeper(func(p migrate.Progress) { told = append(told, p) }).Retain(t.Context(), r)
				if err != nil {
					t.Fatal(err)
				}
				want.RunID, want.Batches = got.RunID, int64(len(told))
				if diff := cmp.Diff(want, got); diff != "" || told[len(told)-1].Done != 6010 {
					t.Error(diff, told)
				}
				if left := d.count(t, `action <> 'audit_logs.purge'`); left != map[bool]string{true: "9010", false: "3000"}[dry] {
					t.Errorf("dry %v: %s are left", dry, left)
				}
			}
			sums := d.super.lines(t, `SELECT concat_ws(' ', sum((metadata->'data'->>'count')::int), sum((metadata->'data'->'actions'->>'create')::int), sum((metadata->'data'->'tenants'->>'a')::int),
				sum((metadata->'data'->'tenants'->>'')::int), min(metadata->'data'->>'oldest'), metadata->>'reason', metadata->>'database_user', tenant_id, resource_type)
				FROM audit_logs WHERE action = 'audit_logs.purge' GROUP BY metadata->>'reason', metadata->>'database_user', tenant_id, resource_type`)
			if len(sums) != 1 || !strings.HasPrefix(sums[0], "6010 4012 2000 2010 2020-01-01T0") || !strings.HasSuffix(sums[0], "two years "+d.names["keeper"]+" audit_logs") {
				t.Errorf("got %v", sums)
			}
		})
	}
}
