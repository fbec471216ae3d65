package suspension

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

const deleteBooks = `DELETE FROM books WHERE tenant_id = 'acme'`

// TestTexts refuses a text that leaves, or brings back to life, the transaction in
// which the question failed, and lets others through.
func TestTexts(t *testing.T) {
	t.Parallel()
	b := setup(t, forms[0], tenancy.RefuseSuspended)
	pool, err := b.app.DB()
	must(t, err)
	for _, text := range []string{
		`ROLLBACK TO SAVEPOINT s; ` + deleteBooks, `/* a */ rollback to s ;` + deleteBooks, `COMMIT; ` + deleteBooks,
		`SELECT 1; END; ` + deleteBooks, `ROLLBACK; BEGIN; ` + deleteBooks, `PREPARE TRANSACTION 'x'; ` + deleteBooks, `ROLLBACK TO s; ` + deleteBooks + ` AND title <> $x`,
	} {
		b.suspend(t, false)
		tx, err := pool.BeginTx(b.acme, nil)
		must(t, err)
		for _, before := range []string{`SELECT 1`, `SAVEPOINT s`} {
			_, err = tx.ExecContext(b.acme, before)
			must(t, err)
		}
		b.suspend(t, true)
		_, err = tx.ExecContext(b.acme, deleteBooks)
		_, err2 := tx.ExecContext(b.acme, text)
		if !errors.Is(err, tenancy.ErrSuspended) || !errors.Is(err2, tenancy.ErrSeveralStatements) {
			t.Errorf("%s: %v, then %v", text, err, err2)
		}
		_ = tx.Rollback()
		if n := b.count(t); n != 4 {
			t.Fatalf("%s: %d books are left, want 4", text, n)
		}
	}
	b.suspend(t, false)
	for _, text := range []string{`SELECT 1;`, `SELECT 'COMMIT; x'; SELECT 2 -- ; COMMIT`, `ROLLBACK; -- over`} {
		if _, err := pool.ExecContext(b.acme, text); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// TestSearchPath asks the function that was there when the plugin was installed, wherever
// the transaction looks for names.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	for _, f := range []form{forms[0], forms[3]} {
		b := setup(t, f, tenancy.RefuseSuspended)
		must(t, b.super.Exec(`CREATE SCHEMA side; GRANT USAGE ON SCHEMA side TO `+b.AppRole+`;
			CREATE FUNCTION side.courtroll_admit(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false'`).Error)
		in := func(path string) error {
			return b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
				raw := tx.Statement.ConnPool
				_, err := raw.ExecContext(b.acme, `SET LOCAL search_path = `+path)
				must(t, err)
				if f.isOurs() { // with and without a prepared statement
					_, err = raw.ExecContext(b.acme, `SELECT 1`)
				}
				return errors.Join(err, tx.Table("public.books").Find(&[]Book{}).Error)
			})
		}
		must(t, in("side, public"))
		must(t, in("pg_temp"))
		b.suspend(t, true)
		if err := in("side, public"); !errors.Is(err, tenancy.ErrSuspended) {
			t.Errorf("%s: %v, want ErrSuspended", f.name, err)
		}
	}
}

// alonePool notes what is executed on it outside of a transaction.
type alonePool struct {
	*sql.DB
	alone bool
}

func (p *alonePool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.alone = true
	return p.DB.ExecContext(ctx, query, args...)
}

// GetDBConn implements [gorm.GetDBConnector].
func (p *alonePool) GetDBConn() (*sql.DB, error) { return p.DB, nil }

// TestAskedInTransaction has a statement that writes run in the transaction that it was
// asked about in, for which a deletion waits.
func TestAskedInTransaction(t *testing.T) {
	t.Parallel()
	b := setup(t, forms[3], tenancy.RefuseSuspended)
	db, err := b.app.DB()
	must(t, err)
	pool := &alonePool{DB: db}
	app := b.Open(postgres.New(postgres.Config{Conn: pool}), &gorm.Config{SkipDefaultTransaction: true})
	must(t, app.Use(tenancy.New(tenancy.Config{Rules: rules, Suspended: tenancy.RefuseSuspended})))
	acme := app.WithContext(b.acme)
	must(t, acme.Model(&Book{}).Where("title = ?", "a").Update("copies", 2).Error)
	must(t, acme.Where("title = ?", "a").Delete(&Book{}).Error)
	if pool.alone {
		t.Error("a statement ran outside of the transaction of its question")
	}
	if n := b.count(t); n != 3 {
		t.Errorf("%d books are left, want 3", n)
	}
}

// TestCannotAsk refuses statements once nobody can be asked any more: Down undid the
// version, or somebody took the right away.
func TestCannotAsk(t *testing.T) {
	t.Parallel()
	for name, statement := range map[string]string{
		"Dropped": `DROP FUNCTION courtroll_admit(text, text)`,
		"Revoked": `REVOKE ALL ON FUNCTION courtroll_admit(text, text) FROM PUBLIC, $app`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			eachForm(t, tenancy.RefuseSuspended, func(t *testing.T, b *bundle) {
				b.works(t, b.app, "acme")
				before := b.count(t)
				must(t, b.super.Exec(strings.ReplaceAll(statement, "$app", b.AppRole)).Error)
				if err := b.app.WithContext(b.acme).Create(&Book{Title: "c"}).Error; !errors.Is(err, tenancy.ErrCannotAsk) {
					t.Errorf("got %v", err)
				}
				if n := b.count(t); n != before {
					t.Errorf("%d books are there, want %d", n, before)
				}
			})
		})
	}
}
