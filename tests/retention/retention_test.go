// Package retention removes the older half of a large trail while others write, and
// looks at what the writers notice.
package retention

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
)

var rows = flag.Int("rows", 100_000, "how many entries there are, of which the older half goes")

func TestMain(m *testing.M) { pgtest.Main(m) }

// firstDay is when the trail begins. An entry comes each second.
const firstDay = `'2020-01-01 UTC'::timestamptz`

// TestRetainBesideWriters demands that every entry is where it should be: the older
// half in the sums of the records, the newer half and those of the writers in the table.
func TestRetainBesideWriters(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	must(t, db.Owner.AutoMigrate(&models.AuditLog{}))
	fill := time.Now()
	must(t, db.Owner.Exec(`INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, metadata, created_at)
		SELECT gen_random_uuid(), 'u' || g % 1000, 't' || g % 97, CASE g % 11 WHEN 0 THEN 'delete' WHEN 1 THEN 'user.login' WHEN 2 THEN 'create' ELSE 'update' END,
			'pages', (g % 100000)::text, jsonb_build_object('request_id', 'r' || g / 3, 'changes', jsonb_build_object('title', jsonb_build_object('old', 'a', 'new', 'b'))),
			`+firstDay+` + g * interval '1 second' FROM generate_series(1, ?) g`, *rows).Error)
	m := migrate.New(db.Owner, migrate.Config{AppRole: db.AppRole, SystemRole: db.SystemRole})
	_, err := m.Up(t.Context())
	must(t, err)
	_, err = m.Protect(t.Context())
	must(t, err)
	_, err = m.AppendOnly(t.Context())
	must(t, err)
	super := open(t, db.SuperDSN)
	_, err = super.ExecContext(t.Context(), `VACUUM ANALYZE audit_logs`)
	must(t, err)
	t.Logf("%d entries and their indexes: %s", *rows, time.Since(fill).Round(time.Second))

	window := max(time.Second, time.Duration(*rows)*time.Microsecond)
	app, written := open(t, db.AppDSN), 0
	alone := func() {
		ctx, cancel := context.WithTimeout(t.Context(), window)
		defer cancel()
		written += write(ctx, t, app, "alone")
	}
	alone()
	ctx, cancel := context.WithCancel(t.Context())
	var beside sync.WaitGroup
	n := 0
	beside.Go(func() { n = write(ctx, t, app, "beside Retain") })
	half := *rows / 2
	begin, batches := time.Now(), []time.Duration(nil)
	last := time.Duration(0)
	paced := migrate.New(db.Owner, migrate.Config{Progress: func(p migrate.Progress) {
		batches, last = append(batches, p.Elapsed-last), p.Elapsed
	}})
	done, err := paced.Retain(t.Context(), migrate.Retention{
		Before: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(half+1) * time.Second), Reason: "measured",
	})
	took := time.Since(begin)
	cancel()
	beside.Wait()
	written += n
	must(t, err)
	alone()
	t.Logf("Retain: %d rows in %s, %.0f rows/s, %d batches", done.Rows, took.Round(time.Millisecond), float64(done.Rows)/took.Seconds(), done.Batches)
	tenth := max(1, len(batches)/10)
	t.Logf("between two batches' ends, rest included: median %s, of the first tenth %s, of the last tenth %s", median(batches), median(batches[:tenth]), median(batches[len(batches)-tenth:]))

	for _, check := range []struct{ what, query, want string }{
		{"of the older half", `SELECT count(*)::text FROM audit_logs WHERE action <> 'audit_logs.purge' AND created_at <= ` + firstDay + ` + interval '1 second' * ` + strconv.Itoa(half), "0"},
		{"of the newer half", `SELECT count(*)::text FROM audit_logs WHERE actor_id LIKE 'u%'`, strconv.Itoa(*rows - half)},
		{"of the writers", `SELECT count(*)::text FROM audit_logs WHERE actor_id = 'writer'`, strconv.Itoa(written)},
		{"in the records", `SELECT sum((metadata->'data'->>'count')::bigint)::text FROM audit_logs WHERE action = 'audit_logs.purge'`, strconv.Itoa(half)},
	} {
		var got string
		must(t, super.QueryRowContext(t.Context(), check.query).Scan(&got))
		if got != check.want {
			t.Errorf("%s: got %s entries, want %s", check.what, got, check.want)
		}
	}
}

// write inserts entries of a tenant, each in its own transaction, one after the other
// with little pauses, until ctx ends, and returns how many.
func write(ctx context.Context, t *testing.T, app *sql.DB, when string) int {
	var took []time.Duration
	for ctx.Err() == nil {
		start := time.Now()
		if err := insert(app); err != nil {
			t.Errorf("%s: %v", when, err)
			break
		}
		took = append(took, time.Since(start))
		time.Sleep(2 * time.Millisecond)
	}
	if len(took) > 0 {
		slices.Sort(took)
		at := func(q int) time.Duration { return took[(len(took)-1)*q/1000].Round(time.Microsecond) }
		t.Logf("%s: %d inserts: median %s, p99 %s, p99.9 %s, max %s", when, len(took), at(500), at(990), at(999), at(1000))
	}
	return len(took)
}

func insert(app *sql.DB) error {
	tx, err := app.Begin()
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.Exec(`SELECT set_config('courtroll.tenant_id', 't1', true)`); err != nil {
		return err
	}
	_, err = tx.Exec(`INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, metadata)
		VALUES ($1, 'writer', 't1', 'update', 'pages', $2, jsonb_build_object('request_id', $1::uuid))`, uuid.New(), fmt.Sprint(time.Now().UnixNano()))
	if err != nil {
		return err
	}
	return tx.Commit()
}

func median(list []time.Duration) time.Duration {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2].Round(time.Microsecond)
}

func open(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	must(t, err)
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
