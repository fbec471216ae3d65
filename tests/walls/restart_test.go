package walls

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/dsn"
	"github.com/courtroll/courtroll/internal/pgtest/server"
	"github.com/courtroll/courtroll/internal/pgtest/wire"
	"github.com/courtroll/courtroll/tenancy"
)

// recovery is within which time each goroutine works again.
const recovery = 20 * time.Second

// restartKinds are what a server that goes and comes back adds.
var restartKinds = []string{
	"57P03", // the server starts, or recovers
}

// families say what an app makes of a kind that tells of the connection.
var families = map[string]string{
	"57P01": "ended by the server", "57P03": "not let in by the server",
	"reset": "lost", "broken pipe": "lost", "unexpected EOF": "lost", "EOF": "lost", "closed": "lost", "conn closed": "lost",
	"bad connection": "lost", "conn done": "lost", "tx done": "context", "timeout": "context", "canceled": "context", "deadline": "context",
}

func (k *kinds) families() map[string]bool {
	all := map[string]bool{}
	for _, kind := range k.names() {
		if family := families[kind]; family != "" {
			all[family] = true
		}
	}
	return all
}

// TestRestart lets a server crash and recover, and vanish and come back, while
// two tenants work on it, and a handle without any of this beside them.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := startPrivate(t)
	l := newLoad(t, s.bundle, 4, 8, true)
	beside := s.plainLoad(t)
	var done atomic.Bool
	var running sync.WaitGroup
	running.Go(func() { l.runWhile(func() bool { return !done.Load() }) })
	running.Go(func() { beside.run(&done) })
	for range 2 {
		for name, disturb := range map[string]func(){"crash": s.crash, "outage": s.outage, "termination": s.terminate} {
			time.Sleep(300 * time.Millisecond)
			disturb()
			back := time.Now()
			l.recovers(name, back)
			t.Logf("%s: all goroutines worked again after %s", name, time.Since(back).Round(time.Millisecond))
		}
	}
	done.Store(true)
	running.Wait()
	l.isWell()
	l.addsUp()
	l.kinds.onlyThese(t, slices.Concat(expectedKinds, restartKinds)...)
	beside.kinds.onlyThese(t, slices.Concat(expectedKinds, restartKinds)...)
	ours, theirs := l.kinds.families(), beside.kinds.families()
	for family := range ours {
		if !theirs[family] {
			t.Errorf("errors of the family %q met the tenants alone: a plain handle had %v", family, slices.Sorted(maps.Keys(theirs)))
		}
	}
	if !ours["lost"] || !ours["not let in by the server"] {
		t.Errorf("the tenants noticed nothing but %v", slices.Sorted(maps.Keys(ours)))
	}
}

// recovers waits until each worker has had success since a moment.
func (l *load) recovers(after string, back time.Time) {
	l.t.Helper()
	for deadline := back.Add(recovery); ; time.Sleep(10 * time.Millisecond) {
		waiting := 0
		l.mu.Lock()
		for _, w := range l.workers {
			if w.lastWell.Before(back) {
				waiting++
			}
		}
		l.mu.Unlock()
		if waiting == 0 {
			return
		}
		if time.Now().After(deadline) {
			l.t.Errorf("%s: %d of %d goroutines do not work again after %s", after, waiting, len(l.workers), recovery)
			return
		}
	}
}

// private is a server that may be killed, for no other test is on it.
type private struct {
	*bundle
	t      *testing.T
	server *server.Server
	proxy  *wire.Proxy
	appDSN string // through the proxy
}

func startPrivate(t *testing.T) *private {
	t.Helper()
	own, err := server.Start(t.Context(), server.Config{Order: []server.Backend{server.Local, server.Docker}})
	must(t, err)
	t.Cleanup(func() { must(t, own.Stop()) })
	roles := pgtest.Roles{OwnerRole: "own", AppRole: "app", SystemRole: "sys"}
	admin := openOn(t, own.DSN)
	for _, statement := range []string{
		`ALTER ROLE ALL SET synchronous_commit = on`, // what is committed outlives a crash
		`ALTER ROLE ALL SET deadlock_timeout = '30ms'`,
		`CREATE ROLE own LOGIN PASSWORD 'own'`, `CREATE ROLE app LOGIN PASSWORD 'app'`, `CREATE ROLE sys LOGIN PASSWORD 'sys'`,
		`CREATE DATABASE restart OWNER own`,
	} {
		must(t, admin.Exec(statement).Error)
	}
	super, err := dsn.WithDatabase(own.DSN, "restart")
	must(t, err)
	superDB := openOn(t, super)
	pool, err := superDB.DB()
	must(t, err)
	pool.SetMaxIdleConns(0) // none is kept that a crash would break
	login := func(on, role string) string {
		edited, err := dsn.WithLogin(on, role, role)
		must(t, err)
		return edited
	}
	owner := openOn(t, login(super, "own"))
	must(t, protected.BuildFor(owner, roles))
	must(t, owner.Exec(`GRANT ALL ON genres TO app`).Error)
	s := &private{t: t, server: own, proxy: wire.Listen(t, login(super, "app"))}
	s.appDSN = s.proxy.DSN()
	ctx := tenancy.AsSystem(t.Context(), "test")
	s.bundle = &bundle{
		DB: &pgtest.DB{Name: "restart", Roles: roles}, super: superDB, app: openWith(t, tenancy.Postgres(s.appDSN)),
		acme: actor(tenancy.WithTenant(ctx, "acme")), hal: actor(tenancy.WithTenant(ctx, "hal")), system: ctx,
	}
	system := openWith(t, tenancy.Postgres(login(super, "sys")))
	must(t, s.app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true, System: system, RequireConfinedRole: true})))
	must(t, tenancy.Verify(t.Context(), s.app))
	return s
}

func openOn(t *testing.T, dsn string) *gorm.DB { return openWith(t, postgres.Open(dsn)) }

func openWith(t *testing.T, dialector gorm.Dialector) *gorm.DB {
	t.Helper()
	db, err := gorm.Open(dialector, &gorm.Config{TranslateError: true, Logger: logger.Discard})
	must(t, err)
	pool, err := db.DB()
	must(t, err)
	t.Cleanup(func() { _ = pool.Close() })
	return db
}

// crash kills a backend, so that the server throws out all others and recovers
// from its log. It returns when the server takes connections again.
func (s *private) crash() {
	s.t.Helper()
	conn, err := pgx.Connect(s.t.Context(), s.server.DSN)
	must(s.t, err)
	_, _ = conn.Exec(s.t.Context(), `DO $$ BEGIN
		EXECUTE format('COPY (SELECT 1) TO PROGRAM ''kill -9 %s''', pg_backend_pid());
		PERFORM pg_sleep(10); END $$`)
	if !conn.IsClosed() {
		s.t.Error("the server did not crash")
	}
	for deadline := time.Now().Add(recovery); ; time.Sleep(10 * time.Millisecond) {
		conn, err := pgx.Connect(s.t.Context(), s.server.DSN)
		if err == nil {
			_ = conn.Close(s.t.Context())
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("the server does not come back: %v", err)
		}
	}
}

// outage makes the server unreachable for a moment, in which all that was going
// on there ends.
func (s *private) outage() {
	s.t.Helper()
	s.proxy.Break()
	time.Sleep(300 * time.Millisecond)
	s.terminate()
	s.proxy.Mend()
}

// terminate ends all the app's connections.
func (s *private) terminate() {
	s.t.Helper()
	must(s.t, s.super.Exec(`SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE usename = 'app'`).Error)
}

// plainLoad is what goes on beside the tenants on a handle without any of this.
type plainLoad struct {
	db    *gorm.DB
	ctx   context.Context
	kinds *kinds
}

func (s *private) plainLoad(t *testing.T) *plainLoad {
	t.Helper()
	p := &plainLoad{db: openOn(t, s.appDSN), ctx: t.Context(), kinds: newKinds()}
	pool, err := p.db.DB()
	must(t, err)
	pool.SetMaxOpenConns(4)
	pool.SetMaxIdleConns(4)
	return p
}

func (p *plainLoad) run(done *atomic.Bool) {
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			for n := 0; !done.Load(); n++ {
				ctx, cancel := p.ctx, context.CancelFunc(func() {})
				if n%5 == 0 {
					ctx, cancel = context.WithTimeout(ctx, time.Duration(n%40)*time.Millisecond)
				}
				p.kinds.add("plain", p.step(p.db.WithContext(ctx), n))
				cancel()
			}
		})
	}
	running.Wait()
}

func (p *plainLoad) step(db *gorm.DB, n int) error {
	switch n % 3 {
	case 0:
		return db.Find(&[]Genre{}).Error
	case 1:
		return db.Exec(`SELECT pg_sleep(0.002)`).Error
	default:
		return db.Transaction(func(tx *gorm.DB) error {
			if err := tx.Find(&[]Genre{}).Error; err != nil {
				return err
			}
			return tx.Exec(`SELECT pg_sleep(0.002)`).Error
		})
	}
}
