package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
)

// drizzleTables are the two tables as drizzle-kit writes them.
var drizzleTables = []string{
	`CREATE TABLE "tenants" (
		"id" text PRIMARY KEY NOT NULL,
		"name" text NOT NULL,
		"slug" text NOT NULL,
		"domain" text,
		"logo" text,
		"is_active" boolean DEFAULT true NOT NULL,
		"plan" text DEFAULT 'free' NOT NULL,
		"created_at" timestamp DEFAULT now() NOT NULL,
		"updated_at" timestamp DEFAULT now() NOT NULL,
		CONSTRAINT "tenants_slug_unique" UNIQUE("slug")
	)`,
	`CREATE TABLE "audit_logs" (
		"id" uuid PRIMARY KEY DEFAULT gen_random_uuid() NOT NULL,
		"actor_id" text,
		"tenant_id" text,
		"action" text NOT NULL,
		"resource_type" text NOT NULL,
		"resource_id" text,
		"ip_address" text,
		"metadata" jsonb,
		"created_at" timestamp with time zone DEFAULT now() NOT NULL
	)`,
	`CREATE INDEX "audit_logs_actor_idx" ON "audit_logs" USING btree ("actor_id")`,
	`INSERT INTO tenants (id, name, slug, domain, is_active, plan, created_at, updated_at)
		SELECT 't' || g, CASE WHEN g % 50 = 0 THEN '' ELSE repeat('ü', g % 40) || '''"' END, 's' || g, nullif('d' || g % 30, 'd0'),
			g % 7 > 0, CASE WHEN g % 3 = 0 THEN 'Enterprise ' ELSE 'free' END,
			timestamp '2019-03-31 02:30:00' + g * interval '1 hour', CASE WHEN g = 1 THEN 'infinity' ELSE timestamp '2020-01-01' END
		FROM generate_series(1, 1000) g`,
	`INSERT INTO audit_logs (id, tenant_id, actor_id, action, resource_type, resource_id, ip_address, metadata, created_at)
		SELECT gen_random_uuid(), CASE WHEN g % 11 > 0 THEN 't' || g % 1200 END, CASE WHEN g % 5 > 0 THEN 'Ann ' || g % 40 END,
			(ARRAY['create', 'UPDATE', '', 'user login'])[1 + g % 4], 'Things', g::text, CASE WHEN g % 2 = 0 THEN 'unknown' END,
			(ARRAY['{"changes": 1}', 'null', '[1, 2]', '"text"', NULL])[1 + g % 5]::jsonb,
			timestamptz '1999-12-31 23:59:59+14' + g % 400 * interval '1 day'
		FROM generate_series(1, 6000) g`,
}

const drizzleTenants, drizzleLogs = 1000, 6000

// neighbour is another program that made the tables, owns them and goes on working.
type neighbour struct {
	*protected
	role   string
	login  *sql.DB
	rounds atomic.Int64
}

func setupNeighbour(t *testing.T) *neighbour {
	t.Helper()
	b := setup(t)
	n := &neighbour{protected: &protected{bundle: b, app: pool(t, b.App)}}
	n.super = &bundle{DB: b.DB, sql: b.connect(t, b.SuperDSN, nil)}
	n.role, n.login = n.protected.role(t, "drizzle", "")
	n.super.exec(t, `GRANT CREATE, USAGE ON SCHEMA public TO `+n.role, `GRANT `+n.role+` TO `+b.OwnerRole)
	(&bundle{DB: b.DB, sql: n.login}).exec(t, drizzleTables...)
	return n
}

// work writes and reads as the program does until ctx ends, and returns the first thing
// that goes wrong: an error, or a row that it does not see.
func (n *neighbour) work(ctx context.Context) error {
	for round := int64(1); ctx.Err() == nil; round++ {
		if err := n.round(context.WithoutCancel(ctx), round); err != nil {
			return fmt.Errorf("round %d: %w", round, err)
		}
		n.rounds.Store(round)
	}
	return nil
}

func (n *neighbour) round(ctx context.Context, round int64) error {
	id := "new" + strconv.FormatInt(round, 10)
	tx, err := n.login.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	for _, s := range []struct {
		text string
		args []any
	}{
		{`INSERT INTO tenants (id, name, slug, created_at) VALUES ($1, 'New', $1, '2021-01-01T10:00:00.000Z')`, []any{id}},
		{`INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) VALUES ($1, 'created', 'tenant', '2021-01-01T10:00:00.000Z')`, []any{id}},
		{`UPDATE tenants SET plan = 'pro', updated_at = '2021-01-02T10:00:00.000Z' WHERE id = $1`, []any{id}},
		{`UPDATE audit_logs SET metadata = '{"seen": true}' WHERE tenant_id = $1`, []any{id}},
	} {
		result, err := tx.ExecContext(ctx, s.text, s.args...)
		if err != nil {
			return err
		}
		if count, err := result.RowsAffected(); count != 1 {
			return errors.Join(fmt.Errorf("%s: %d rows", s.text, count), err)
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	return n.sees(ctx, round)
}

func (n *neighbour) sees(ctx context.Context, round int64) error {
	var tenants, logs int64
	err := n.login.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM tenants), (SELECT count(*) FROM audit_logs)`).Scan(&tenants, &logs)
	if err == nil && (tenants != drizzleTenants+round || logs != drizzleLogs+round) {
		err = fmt.Errorf("sees %d tenants and %d entries", tenants, logs)
	}
	return err
}

// goesOn waits until the program has done some more rounds.
func (n *neighbour) goesOn(t *testing.T, failed <-chan error) {
	t.Helper()
	until := n.rounds.Load() + 10
	eventually(t, "the other program goes on", func() bool {
		select {
		case err := <-failed:
			t.Fatalf("the other program: %v", err)
		default:
		}
		return n.rounds.Load() > until
	})
}

// old is every row that was there before us, as bytes and with the transaction that wrote it.
func (n *neighbour) old(t *testing.T) string {
	t.Helper()
	return n.super.line(t, `SELECT md5(string_agg(row, E'\n' ORDER BY row)) || ' ' || count(*) FROM (
		SELECT format('%s %s %s', ctid, xmin, md5(t::text)) FROM tenants t WHERE id NOT LIKE 'new%'
		UNION ALL SELECT format('%s %s %s', ctid, xmin, md5(l::text)) FROM audit_logs l WHERE tenant_id IS NULL OR tenant_id NOT LIKE 'new%') q (row)`)
}

// A program that made the tables, owns them and never stops works through Up and Protect,
// and none of its rows is touched.
func TestNeighbourWorksOn(t *testing.T) {
	t.Parallel()
	n := setupNeighbour(t)
	rows := n.old(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- n.work(ctx) }()
	n.goesOn(t, failed)

	owner := n.line(t, `SELECT tableowner::text FROM pg_tables WHERE tablename = 'tenants'`)
	for _, s := range n.plannedWhileItWorks(t).Steps {
		if strings.Contains(s.Lock.Mode, "ACCESS") {
			t.Errorf("%s takes %s", s.Name, s.Lock.Mode)
		}
	}
	before := n.powers(t)
	n.up(t)
	if after := n.powers(t); after != before {
		t.Errorf("Up changed the tables: %s", firstDifference(before, after))
	}
	n.goesOn(t, failed)

	n.untrusted(t, n.role)
	n.goesOn(t, failed)

	cfg := n.config()
	cfg.TrustedRoles = []string{n.role}
	if _, err := migrate.New(n.owner, cfg).Protect(t.Context()); err != nil {
		t.Fatal(err)
	}
	n.goesOn(t, failed)
	stop()
	if err := <-failed; err != nil {
		t.Errorf("the other program: %v", err)
	}
	if got := n.old(t); got != rows || !strings.HasSuffix(got, " "+strconv.Itoa(drizzleTenants+drizzleLogs)) {
		t.Errorf("its rows were %s, are %s", rows, got)
	}
	if got := n.super.line(t, `SELECT tableowner::text FROM pg_tables WHERE tablename = 'tenants'`); got != owner {
		t.Errorf("the owner was %s, is %s", owner, got)
	}
	n.confined(t)
}

// plannedWhileItWorks is Plan without a look at a catalogue that is not at rest.
func (n *neighbour) plannedWhileItWorks(t *testing.T) migrate.Plan {
	t.Helper()
	p, err := migrate.New(n.owner, migrate.Config{}).Plan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var widenings []string
	for _, d := range p.Differences {
		widenings = append(widenings, d.Widening)
	}
	if diff := cmp.Diff([]string{"tenants.created_at", "tenants.updated_at"}, widenings); diff != "" {
		t.Errorf("differences: %v", p.Differences)
	}
	return p
}

// untrusted demands that Protect is refused for the role, and has changed nothing.
func (n *neighbour) untrusted(t *testing.T, role string) {
	t.Helper()
	err := n.refuse(t, n.config(), migrate.ErrUntrustedRole)
	var refused *migrate.UntrustedError
	if !errors.As(err, &refused) {
		t.Fatalf("got %v, want an UntrustedError", err)
	}
	want := map[string][]string{"public.tenants": {role}, "public.audit_logs": {role}}
	if diff := cmp.Diff(want, refused.Roles); diff != "" {
		t.Error(diff)
	}
}

// confined demands that the app's login is, though it shares the tables, and that our functions work.
func (n *neighbour) confined(t *testing.T) {
	t.Helper()
	got, err := as(t, n.app, "t1", `SELECT id FROM tenants UNION SELECT DISTINCT tenant_id FROM audit_logs`)
	if diff := cmp.Diff([]string{"t1"}, got); diff != "" || err != nil {
		t.Errorf("the app sees %v, %v", diff, err)
	}
	if got, err := as(t, n.app, "", `SELECT id FROM courtroll_resolve_tenant('slug', 's3')`); !slices.Equal(got, []string{"t3"}) || err != nil {
		t.Errorf("resolved %v, %v", got, err)
	}
	if _, err := as(t, n.app, "", `SELECT courtroll_record_event(NULL, 'a', 'user.login', 'users', NULL, NULL, NULL)`); err != nil {
		t.Error(err)
	}
}

// Whoever may act as the owner without being our login has to be trusted, not only the owner.
func TestProtectAsksForOwnersLogins(t *testing.T) {
	t.Parallel()

	t.Run("a member of the owner", func(t *testing.T) {
		t.Parallel()
		n := setupNeighbour(t)
		// The owner of the tests is the whole server's, so the tables get one of their own.
		deploy, login := n.protected.role(t, "deploy", "")
		n.super.exec(t, `ALTER TABLE tenants OWNER TO `+deploy, `ALTER TABLE audit_logs OWNER TO `+deploy,
			`REVOKE ALL ON tenants, audit_logs FROM `+n.role, `REVOKE `+n.role+` FROM `+n.OwnerRole, `GRANT CREATE, USAGE ON SCHEMA public TO `+deploy, `GRANT `+deploy+` TO `+n.role)
		n.owner, n.sql = n.Open(postgres.New(postgres.Config{Conn: login}), nil), login
		n.up(t)
		n.untrusted(t, n.role)
		cfg := n.config()
		cfg.TrustedRoles = []string{n.role}
		if _, err := migrate.New(n.owner, cfg).Protect(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.sees(t.Context(), 0); err != nil {
			t.Error(err)
		}
	})

	t.Run("not of an owner that nobody else can be", func(t *testing.T) {
		t.Parallel()
		n := setupNeighbour(t)
		n.super.exec(t, `ALTER ROLE `+n.role+` NOLOGIN`)
		n.up(t)
		if _, err := migrate.New(n.owner, n.config()).Protect(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Timestamps without a zone are UTC to our models, whatever the session's zone is.
func TestNeighboursTimesAreUTC(t *testing.T) {
	t.Parallel()
	n := setupNeighbour(t)
	n.up(t)
	for _, zone := range []string{"America/New_York", "Asia/Kolkata"} {
		var got models.Tenant
		if err := n.with(t, "TimeZone", zone).owner.Take(&got, "id = ?", "t24").Error; err != nil {
			t.Fatal(err)
		}
		if want := time.Date(2019, 4, 1, 2, 30, 0, 0, time.UTC); !got.CreatedAt.Equal(want) {
			t.Errorf("in %s got %s, want %s", zone, got.CreatedAt, want)
		}
	}
}
