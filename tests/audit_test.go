package tests

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

func TestAudit_Entry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "e"}).Error)
	e := b.trail(t)[0]
	if deref(e.ActorID) != "u_1" || deref(e.TenantID) != "hal" || deref(e.IPAddress) != "192.0.2.7" {
		t.Errorf("actor %s, tenant %s, address %s", deref(e.ActorID), deref(e.TenantID), deref(e.IPAddress))
	}
	if e.ID.Version() != 7 {
		t.Errorf("id of version %d, want 7", e.ID.Version())
	}
	m := metadata(t, e)
	for key, want := range map[string]string{"actor_kind": "user", "actor_name": "Ann", "request_id": "r_1"} {
		if m[key] != want {
			t.Errorf("metadata %s = %v, want %s", key, m[key], want)
		}
	}
	if m["transaction_id"] == "" {
		t.Error("no transaction id")
	}
}

func TestAudit_Rollback(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	rename := func(tx *gorm.DB, name string) { tx.Model(&Author{ID: 1}).Update("name", name) }
	for name, run := range map[string]func(hal *gorm.DB) error{
		"returned error": func(hal *gorm.DB) error {
			return hal.Transaction(func(tx *gorm.DB) error { rename(tx, "x"); return failed })
		},
		"panic": func(hal *gorm.DB) (err error) {
			defer func() { _ = recover(); err = failed }()
			return hal.Transaction(func(tx *gorm.DB) error { rename(tx, "x"); panic("panic") })
		},
		"cancelled": func(hal *gorm.DB) error {
			ctx, cancel := context.WithCancel(hal.Statement.Context)
			defer cancel()
			return hal.WithContext(ctx).Transaction(func(tx *gorm.DB) error { rename(tx, "x"); cancel(); return nil })
		},
		"hook fails": func(hal *gorm.DB) error {
			return hal.Create([]failing{{Author{ID: 50, Email: "50"}}}).Error
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			seedAuthors(t, b)
			if err := run(b.as(b.hal)); err == nil {
				t.Error("no error")
			}
			b.wantTrail(t)
		})
	}
	t.Run("savepoint", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		seedAuthors(t, b)
		must(t, b.as(b.hal).Transaction(func(tx *gorm.DB) error {
			rename(tx, "kept")
			_ = tx.Transaction(func(tx *gorm.DB) error { rename(tx, "dropped"); return failed })
			return nil
		}))
		b.wantTrail(t, `update authors 1: name "one"→"kept"`)
	})
}

// failing is an author whose creation fails after its row was written.
type failing struct{ Author }

func (failing) TableName() string          { return "authors" }
func (failing) AfterCreate(*gorm.DB) error { return errors.New("failed") }

// TestAudit_FailsClosed breaks the trail in several ways: no change may happen without it.
func TestAudit_FailsClosed(t *testing.T) {
	t.Parallel()
	for name, breakTrail := range map[string]string{
		"dropped":     `DROP TABLE audit_logs`,
		"revoked":     `REVOKE INSERT ON audit_logs FROM PUBLIC, APP`,
		"check":       `ALTER TABLE audit_logs ADD CHECK (action = 'none')`,
		"unique":      `CREATE UNIQUE INDEX ON audit_logs ((1))`,
		"trigger":     `CREATE FUNCTION deny() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'denied'; END $$; CREATE TRIGGER t BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION deny()`,
		"other type":  `ALTER TABLE audit_logs ALTER ip_address TYPE inet USING NULL`,
		"no function": `DROP FUNCTION courtroll_uuidv7()`,
	} {
		for mode, session := range map[string]*gorm.Session{"": {}, "skip_default_transaction": {SkipDefaultTransaction: true}} {
			t.Run(name+"/"+mode, func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				seedAuthors(t, b)
				if name == "unique" {
					must(t, b.as(b.hal).Create(&Author{ID: 60, Email: "60"}).Error)
				}
				var app string
				must(t, b.App.Raw("SELECT current_user").Scan(&app).Error)
				must(t, b.Owner.Exec(strings.ReplaceAll(breakTrail, "APP", app)).Error)
				before := b.authors(t)

				hal := b.as(b.hal).Session(session)
				for verb, err := range map[string]error{
					"create": hal.Create(&Author{ID: 70, Email: "e"}).Error,
					"update": hal.Model(&Author{}).Where("1=1").Update("name", "x").Error,
					"upsert": hal.Clauses(clause.OnConflict{UpdateAll: true}).Create(&[]Author{{ID: 1, Email: "x"}}).Error,
					"delete": hal.Delete(&Author{ID: 3}).Error,
					"page":   hal.Create(&Page{Title: "x"}).Error,
					"record": audit.Record(b.hal, b.app, audit.Event{Action: "user.login", ResourceType: "user"}),
				} {
					if verb == "record" && (name == "no function" || name == "other type") {
						continue // its id is made by the app, and its address is a parameter of any type
					}
					if !errors.Is(err, audit.ErrAudit) {
						t.Errorf("%s: error %v, want ErrAudit", verb, err)
					}
					var pg *pgconn.PgError
					if !errors.As(err, &pg) {
						t.Errorf("%s: the cause is lost: %v", verb, err)
					}
				}
				if after := b.authors(t); after != before {
					t.Errorf("rows changed without a trail:\n%s\n%s", before, after)
				}
			})
		}
	}
}

func (b *bundle) authors(t *testing.T) string {
	t.Helper()
	var text string
	must(t, b.Owner.Raw("SELECT coalesce(string_agg(a::text, ' ' ORDER BY id), '') || (SELECT count(*) FROM pages) FROM authors a").Scan(&text).Error)
	return text
}

// TestAudit_OwnErrors checks that a change's own failure is reported as without the plugin.
func TestAudit_OwnErrors(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seedAuthors(t, b)
	must(t, b.Owner.Exec(`CREATE FUNCTION rule() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'rule'; END $$;
		CREATE TRIGGER t BEFORE INSERT ON countries FOR EACH ROW EXECUTE FUNCTION rule()`).Error)
	for name, tc := range map[string]struct{ err, want error }{
		"duplicate key": {b.as(b.hal).Create(&Author{ID: 1, Email: "z"}).Error, gorm.ErrDuplicatedKey},
		"foreign key":   {b.as(b.hal).Delete(&Author{ID: 1}).Error, gorm.ErrForeignKeyViolated},
		"trigger":       {b.as(b.hal).Create(&Country{Code: "x"}).Error, nil},
	} {
		if tc.err == nil || errors.Is(tc.err, audit.ErrAudit) || tc.want != nil && !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: %v", name, tc.err)
		}
	}
	b.wantTrail(t)
}

func TestAudit_Unaudited(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, schema)
	use(t, db.App, audit.New(audit.Config{Rules: rules, Exclude: []audit.Exclusion{{Model: &Country{}, Reason: "seeded"}}}))
	b := newBundle(t, db, db.App)
	sent := recordSQL(b.app)
	hal := b.as(b.hal)
	for name, tc := range map[string]struct{ err, want error }{
		"exec":           {hal.Exec("UPDATE authors SET name = 'x'").Error, audit.ErrUnaudited},
		"raw":            {hal.Raw("DELETE FROM authors RETURNING id").Scan(&[]int{}).Error, audit.ErrUnaudited},
		"raw row":        {hal.Raw("WITH d AS (DELETE FROM authors RETURNING id) SELECT count(*) FROM d").Row().Scan(new(int)), audit.ErrUnaudited},
		"table":          {hal.Table("mystery").Where("1=1").Updates(map[string]any{"name": "x"}).Error, audit.ErrUnaudited},
		"table create":   {hal.Table("mystery").Create(map[string]any{"id": 1}).Error, audit.ErrUnaudited},
		"table delete":   {hal.Table("mystery").Where("1=1").Delete(nil).Error, audit.ErrUnaudited},
		"two tables":     {hal.Table("authors, pages").Where("1=1").Updates(map[string]any{"name": "x"}).Error, audit.ErrUnaudited},
		"unknown":        {hal.Exec("DELETE FROM mystery").Error, audit.ErrUnaudited},
		"do":             {hal.Exec("DO $$ BEGIN END $$").Error, audit.ErrUnaudited},
		"truncate":       {hal.Exec("TRUNCATE authors").Error, audit.ErrUnaudited},
		"unreadable":     {hal.Exec("SELECT 'x").Error, audit.ErrUnaudited},
		"two statements": {hal.Exec("SELECT 1; DELETE FROM authors").Error, audit.ErrUnaudited},
		"trail update":   {hal.Model(&models.AuditLog{}).Where("1=1").Update("action", "x").Error, audit.ErrAppendOnly},
		"trail delete":   {hal.Where("1=1").Delete(&models.AuditLog{}).Error, audit.ErrAppendOnly},
		"trail raw":      {hal.Exec("DELETE FROM audit_logs").Error, audit.ErrAppendOnly},
		"trail upsert": {hal.Clauses(clause.OnConflict{UpdateAll: true}).
			Create(&models.NewAuditLog{Action: "a.b", ResourceType: "c"}).Error, audit.ErrAppendOnly},
		"trail backdated": {hal.Create(&models.AuditLog{Action: "a.b", ResourceType: "c", CreatedAt: models.Tenant{}.CreatedAt.AddDate(2000, 0, 0)}).Error, audit.ErrAppendOnly},
	} {
		if !errors.Is(tc.err, tc.want) {
			t.Errorf("%s: error %v, want %v", name, tc.err, tc.want)
		}
	}
	for _, text := range sent.take() {
		if text != "BEGIN" && text != "ROLLBACK" && !strings.Contains(text, "FROM pg_catalog.") {
			t.Errorf("sent %q", text)
		}
	}
	must(t, hal.Exec("INSERT INTO countries (code) VALUES ('no')").Error)
	must(t, hal.Table("countries").Where("1=1").Updates(map[string]any{"name": "x"}).Error)
	must(t, hal.Raw("SELECT count(*) FROM authors FOR UPDATE OF authors").Error)
	must(t, hal.Create(&models.NewAuditLog{Action: "a.b", ResourceType: "c"}).Error)
	b.wantTrail(t, "a.b c nil:")
}

func TestAudit_RequireActor(t *testing.T) {
	t.Parallel()
	b := setupWith(t, audit.Config{Rules: rules, RequireActor: true})
	anonymous := tenancy.WithTenant(context.Background(), "hal")
	if err := b.as(anonymous).Create(&Author{ID: 1}).Error; !errors.Is(err, audit.ErrNoActor) {
		t.Errorf("create: %v, want ErrNoActor", err)
	}
	if err := audit.Record(anonymous, b.app, audit.Event{Action: "a.b", ResourceType: "c"}); !errors.Is(err, audit.ErrNoActor) {
		t.Errorf("record: %v, want ErrNoActor", err)
	}
	must(t, b.as(b.hal).Create(&Author{ID: 1}).Error)
}

// TestAudit_SystemScope: one record a call, before the first statement, whatever happens to it.
func TestAudit_SystemScope(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reason := func(ctx context.Context) context.Context { return tenancy.AsSystem(ctx, "nightly report") }
	count := func() (n int64) {
		must(t, b.Owner.Model(&models.AuditLog{}).Where("resource_type = 'system_scope'").Count(&n).Error)
		return n
	}
	ctx := reason(b.hal)
	if count() != 0 {
		t.Error("recorded before its first statement")
	}
	failed := errors.New("failed")
	_ = b.as(ctx).Transaction(func(tx *gorm.DB) error { tx.Find(&[]Page{}); return failed })
	if count() != 1 {
		t.Error("not recorded, or rolled back")
	}
	child, cancel := context.WithCancel(ctx)
	defer cancel()
	must(t, b.as(child).Create(&Author{ID: 1, TenantID: "hal"}).Error)
	if count() != 1 {
		t.Error("recorded twice for contexts derived from one")
	}
	must(t, b.as(reason(b.hal)).Find(&[]Page{}).Error)
	if count() != 2 {
		t.Error("a second scope was not recorded")
	}
	if m := metadata(t, b.trail(t)[0]); m["system_reason"] != "nightly report" {
		t.Errorf("a row of a system scope carries the reason %v", m["system_reason"])
	}
	if e := b.trail(t)[0]; deref(e.TenantID) != "hal" {
		t.Errorf("tenant %s, want the row's", deref(e.TenantID))
	}
	pool, err := b.app.DB()
	must(t, err)
	pool.SetMaxOpenConns(1)
	err = b.as(reason(b.hal)).Transaction(func(tx *gorm.DB) error { return tx.Find(&[]Page{}).Error })
	if !errors.Is(err, audit.ErrAudit) {
		t.Errorf("with one connection, in a transaction: %v, want ErrAudit", err)
	}
}

// TestAudit_Concurrent lets many writers meet on few rows: each row's trail
// must be a chain, with each old value the new value of the entry before.
func TestAudit_Concurrent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seedAuthors(t, b)
	var g errgroup.Group
	for w := range 8 {
		g.Go(func() error {
			for i := range 25 {
				name := fmt.Sprintf("%d.%d", w, i)
				var err error
				switch i % 3 {
				case 0:
					err = b.as(b.hal).Model(&Author{ID: 1}).Update("name", name).Error
				case 1:
					err = b.as(b.hal).Model(&Page{}).Where("id = 1").Update("views", gorm.Expr("views + 1")).Error
				case 2:
					err = b.as(b.hal).Clauses(clause.OnConflict{UpdateAll: true}).Create(&Author{ID: int64(100 + i), Email: name, Name: name}).Error
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	for _, column := range []string{"name", "views"} {
		var broken int
		must(t, b.Owner.Raw(`SELECT count(*) FROM (SELECT metadata->'changes'->(@column)->'old' AS old,
			lag(metadata->'changes'->(@column)->'new') OVER (PARTITION BY resource_type, resource_id ORDER BY created_at, id) AS previous
			FROM audit_logs WHERE jsonb_exists(metadata->'changes', @column)) e WHERE previous IS NOT NULL AND old <> previous`,
			sql.Named("column", column)).Scan(&broken).Error)
		if broken > 0 {
			t.Errorf("%d entries do not follow on the one before in %s", broken, column)
		}
	}
	var views, entries int
	must(t, b.Owner.Raw("SELECT views FROM pages WHERE id = 1").Scan(&views).Error)
	must(t, b.Owner.Raw("SELECT count(*) FROM audit_logs WHERE resource_type = 'pages'").Scan(&entries).Error)
	if views != 1+8*8 || entries != 8*8 {
		t.Errorf("views %d after %d entries, want %d and %d", views, entries, 1+8*8, 8*8)
	}
}

// TestPlugins_EachAlone uses each plugin without the other, and both in either order.
func TestPlugins_EachAlone(t *testing.T) {
	t.Parallel()
	for name, plugins := range map[string]func() []gorm.Plugin{
		"tenancy": func() []gorm.Plugin { return []gorm.Plugin{tenancy.New(tenancy.Config{Rules: rules})} },
		"audit":   func() []gorm.Plugin { return []gorm.Plugin{audit.New(audit.Config{Rules: rules})} },
		"tenancy, audit": func() []gorm.Plugin {
			return []gorm.Plugin{tenancy.New(tenancy.Config{Rules: rules}), audit.New(audit.Config{Rules: rules})}
		},
		"audit, tenancy": func() []gorm.Plugin {
			return []gorm.Plugin{audit.New(audit.Config{Rules: rules}), tenancy.New(tenancy.Config{Rules: rules})}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := pgtest.New(t, schema)
			for _, p := range plugins() {
				use(t, db.App, p)
			}
			b := newBundle(t, db, db.App)
			must(t, b.as(b.hal).Create(&Author{ID: 1, TenantID: "hal", Email: "1"}).Error)
			must(t, b.as(b.acme).Create(&Author{ID: 2, TenantID: "acme", Email: "2"}).Error)
			tx := b.as(b.hal).Model(&Author{}).Where("1=1").Update("name", "x")
			must(t, tx.Error)
			rows, entries := int64(1), 3
			if name == "audit" {
				rows, entries = 2, 4
			}
			if name == "tenancy" {
				entries = 0
			}
			if tx.RowsAffected != rows {
				t.Errorf("%d rows changed, want %d", tx.RowsAffected, rows)
			}
			if got := len(b.trail(t)); got != entries {
				t.Errorf("%d entries, want %d", got, entries)
			}
			if err := b.as(b.hal).Where("1=1) OR (1=1").Unscoped().Delete(&Author{}).Error; name != "audit" && !errors.Is(err, tenancy.ErrOpaqueSQL) {
				t.Errorf("unbalanced condition: %v", err)
			}
		})
	}
}

// TestAudit_UpsertIsOneStatement: it locks the rows, reads them, changes them and
// writes the trail, also without a transaction of GORM's or the caller's.
func TestAudit_UpsertIsOneStatement(t *testing.T) {
	t.Parallel()
	b := setup(t)
	seedAuthors(t, b)
	sent := recordSQL(b.app)
	bare := b.as(b.hal).Session(&gorm.Session{SkipDefaultTransaction: true})
	must(t, bare.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Author{ID: 1, Email: "1@hal", Name: "x"}).Error)
	if err := bare.Clauses(clause.OnConflict{UpdateAll: true}).Create(&Author{ID: 70, Email: "2@hal"}).Error; !errors.Is(err, gorm.ErrDuplicatedKey) {
		t.Errorf("error %v, want ErrDuplicatedKey", err)
	}
	if log := sent.take(); len(log) != 2 {
		t.Errorf("sent %q, want a statement for each", log)
	}
	b.wantTrail(t, `update authors 1: name "one"→"x"`)
}
