package pgtest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// maxConns is the size of a handle's pool: enough for tests of concurrency,
// while many tests share the server's connections.
const maxConns = 10

const finishTimeout = time.Minute

// DB is the database of one test. Its handles may be used by any goroutine, and
// connect on first use.
type DB struct {
	// Name is the database's name on the server.
	Name string

	// OwnerDSN, AppDSN and SystemDSN are the URLs (or keywords and values, where
	// COURTROLL_TEST_DSN has them) that the roles log in with; SuperDSN is a
	// superuser's, for what none may do. System owns nothing and has no rights
	// until somebody grants it some.
	OwnerDSN, AppDSN, SystemDSN, SuperDSN string

	// Roles are the names of the roles.
	Roles

	// Owner logs in as the role that owns the database and its public schema,
	// and is no superuser. It migrates.
	Owner *gorm.DB

	// App logs in as a role that owns nothing, may not create anything in
	// public, and reads and writes what the owner creates. Neither handle has a
	// plugin; both are silent and translate errors.
	App *gorm.DB

	t       testing.TB
	harness *harness

	mu      sync.Mutex
	handles []*gorm.DB
}

func (h *harness) newDB(t testing.TB, template Template) *DB {
	t.Helper()
	if err := h.start(); err != nil {
		t.Fatal(err)
	}
	d, err := h.clone(t.Context(), template)
	if err != nil {
		t.Fatal(err)
	}
	d.t = t
	t.Cleanup(d.finish)
	d.Owner = d.OpenOwner(nil)
	d.App = d.OpenApp(nil)
	return d
}

func (h *harness) clone(ctx context.Context, template Template) (*DB, error) {
	source, err := h.template(ctx, template)
	if err != nil {
		return nil, err
	}
	name := h.newName("")
	if err := h.createDatabase(ctx, name, source); err != nil {
		return nil, err
	}
	d := &DB{Name: name, Roles: h.roles(), harness: h}
	var ownerErr, appErr, systemErr, superErr error
	d.OwnerDSN, ownerErr = loginDSN(h.server.DSN, h.owner, name)
	d.AppDSN, appErr = loginDSN(h.server.DSN, h.app, name)
	d.SystemDSN, systemErr = loginDSN(h.server.DSN, h.system, name)
	d.SuperDSN, superErr = databaseDSN(h.server.DSN, name)
	return d, errors.Join(ownerErr, appErr, systemErr, superErr)
}

// OpenOwner opens a further handle as the owner; see [DB.Open] for cfg.
func (d *DB) OpenOwner(cfg *gorm.Config) *gorm.DB {
	d.t.Helper()
	return d.Open(postgres.Open(d.OwnerDSN), cfg)
}

// OpenApp opens a further handle as the app; see [DB.Open] for cfg.
func (d *DB) OpenApp(cfg *gorm.Config) *gorm.DB {
	d.t.Helper()
	return d.Open(postgres.Open(d.AppDSN), cfg)
}

// Open opens a handle with any dialector, with a small pool, and closes it when
// the test ends. A nil cfg is that of Owner and App; of another one a copy is
// used, silent unless it has a Logger. Open fails the test on an error.
func (d *DB) Open(dialector gorm.Dialector, cfg *gorm.Config) *gorm.DB {
	d.t.Helper()
	db, err := openHandle(dialector, cfg)
	if err != nil {
		d.t.Fatalf("pgtest: opening %s: %v", d.Name, err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.handles = append(d.handles, db)
	return db
}

// finish drops the database of a test that passed. The test's own context has
// ended by now.
func (d *DB) finish() {
	ctx, cancel := context.WithTimeout(context.Background(), finishTimeout)
	defer cancel()
	d.closeHandles()
	switch {
	case !d.t.Failed():
		d.drop(ctx)
	case d.harness.outlives():
		d.keep(ctx)
	default:
		d.t.Logf("pgtest: the database of this test was %s", d.Name)
	}
}

func (d *DB) drop(ctx context.Context) {
	d.harness.waitUnused(ctx, d.Name)
	if err := d.harness.dropDatabase(ctx, d.Name); err != nil {
		d.t.Errorf("pgtest: %v", err)
	}
}

func (d *DB) keep(ctx context.Context) {
	if err := d.harness.keep(ctx, d.Name); err != nil {
		d.t.Errorf("pgtest: keeping %s: %v", d.Name, err)
	}
	d.t.Logf("pgtest: database kept for %s: %s", keptLife, d.SuperDSN)
}

// closeHandles ignores errors: a test may well have closed or broken a handle,
// and the database is dropped by force.
func (d *DB) closeHandles() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range d.handles {
		_ = closeHandle(db)
	}
}

// open opens a handle that no test owns.
func (h *harness) open(l login, database string) (*gorm.DB, error) {
	dsn, err := loginDSN(h.server.DSN, l, database)
	if err != nil {
		return nil, err
	}
	return openHandle(postgres.Open(dsn), nil)
}

func (h *harness) openSuper(database string) (*gorm.DB, error) {
	dsn, err := databaseDSN(h.server.DSN, database)
	if err != nil {
		return nil, err
	}
	return openHandle(postgres.Open(dsn), nil)
}

func openHandle(dialector gorm.Dialector, cfg *gorm.Config) (*gorm.DB, error) {
	// Without the ping a handle that a test does not use costs no connection.
	own := gorm.Config{TranslateError: true, DisableAutomaticPing: true}
	if cfg != nil {
		own = *cfg
	}
	if own.Logger == nil {
		own.Logger = logger.Discard
	}
	db, err := gorm.Open(dialector, &own)
	if err != nil {
		return nil, err
	}
	if pool, err := db.DB(); err == nil {
		pool.SetMaxOpenConns(maxConns)
		pool.SetMaxIdleConns(maxConns)
	}
	return db, nil
}

func closeHandle(db *gorm.DB) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	return pool.Close()
}
