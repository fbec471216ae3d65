package walls

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/internal/pgtest/bouncer"
)

// poolerModes are the modes in which pgx works behind a pooler.
var poolerModes = []string{"exec", "cache_describe"}

// setupPooled sets up an app behind a PgBouncer in transaction mode, which has one
// connection to the server. It returns the pooler's DSN, too.
func setupPooled(t *testing.T, mode string) (b *bundle, pooled string) {
	t.Helper()
	b = ours.setupOn(t, func(dsn string) string {
		pooled = bouncer.Start(t, bouncer.Config{DSN: dsn}).DSN
		return withMode(pooled, mode)
	})
	return b, pooled
}

// withMode is a DSN with another default_query_exec_mode.
func withMode(dsn, mode string) string {
	if !strings.Contains(dsn, "://") {
		return dsn + " default_query_exec_mode=" + mode
	}
	if strings.Contains(dsn, "?") {
		return dsn + "&default_query_exec_mode=" + mode
	}
	return dsn + "?default_query_exec_mode=" + mode
}

// TestPoolerStress has two tenants take turns on PgBouncer's one connection.
func TestPoolerStress(t *testing.T) {
	t.Parallel()
	for _, mode := range poolerModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, _ := setupPooled(t, mode)
			l := newLoad(t, b, 6, 8, false)
			l.sharesBackends(1)
			l.run(*stressFor * 3 / 4)
			l.isWell()
			l.addsUp()
			l.ranAll()
			l.kinds.onlyThese(t, slices.Concat(expectedKinds, pooledKinds)...)
		})
	}
}

// pooledKinds are what PgBouncer adds: it ends the server's connection where a
// client left in the middle, and those that wait for it hear of that.
var pooledKinds = []string{"08P01"}

// TestPoolerCanary shows that the pooler does carry settings from one client to
// the next, and that the app leaves none there.
func TestPoolerCanary(t *testing.T) {
	t.Parallel()
	for _, mode := range poolerModes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			b, pooled := setupPooled(t, mode)
			b.seed(t)
			careless, victim := pooledConn(t, pooled), pooledConn(t, pooled)
			if pids := []int{backendOf(t, careless), backendOf(t, victim)}; pids[0] != pids[1] {
				t.Fatalf("the clients have the backends %v", pids)
			}
			seen := func() (n int) {
				must(t, victim.QueryRow(t.Context(), `SELECT count(*) FROM books`).Scan(&n))
				return n
			}
			titles := func(ctx context.Context) (titles []string) {
				must(t, b.app.WithContext(ctx).Raw(`SELECT tenant_id || ' ' || title FROM books ORDER BY 1`).Scan(&titles).Error)
				return titles
			}
			for range 3 {
				for tenant, ctx := range map[string]context.Context{"acme": b.acme, "hal": b.hal} {
					must(t, b.app.WithContext(ctx).Create(&Book{Title: "c"}).Error)
					must(t, b.app.WithContext(ctx).Where("title = ?", "c").Delete(&Book{}).Error)
					if got := titles(ctx); !slices.Equal(got, []string{tenant + " a", tenant + " b"}) {
						t.Errorf("%s sees %q", tenant, got)
					}
					if n := seen(); n != 0 {
						t.Errorf("after %s's statements another client sees %d books", tenant, n)
					}
				}
			}
			// What a client does that sets it for its session:
			_, err := careless.Exec(t.Context(), `SET courtroll.tenant_id = 'acme'`)
			must(t, err)
			if n := seen(); n != 2 {
				t.Errorf("after a careless SET another client sees %d books: the pooler does not carry it, and this test shows nothing", n)
			}
			if got := titles(b.hal); !slices.Equal(got, []string{"hal a", "hal b"}) {
				t.Errorf("after a careless SET hal sees %q", got)
			}
			_, err = careless.Exec(t.Context(), `RESET courtroll.tenant_id`)
			must(t, err)
			if n := seen(); n != 0 {
				t.Errorf("after its RESET another client sees %d books", n)
			}
		})
	}
}

// pooledConn is a plain client's connection.
func pooledConn(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), withMode(dsn, "exec"))
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	})
	return conn
}

func backendOf(t *testing.T, conn *pgx.Conn) (pid int) {
	t.Helper()
	must(t, conn.QueryRow(t.Context(), `SELECT pg_backend_pid()`).Scan(&pid))
	return pid
}
