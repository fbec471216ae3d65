package walls

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// TestRaw sends SQL that has no predicate: the policies confine it.
func TestRaw(t *testing.T) {
	t.Parallel()
	eachForm(t, []form{ours, plain}, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		before := b.rows(t, "hal")
		acme := b.app.WithContext(b.acme)
		for name, query := range map[string]*gorm.DB{
			"Raw":        acme.Raw("SELECT * FROM books"),
			"Union":      acme.Raw("SELECT * FROM books WHERE title = 'a' UNION ALL SELECT * FROM books WHERE title = 'b'"),
			"With":       acme.Raw("WITH b AS (SELECT * FROM books) SELECT * FROM b"),
			"Function":   acme.Raw("SELECT b.* FROM books b, lower('x') WHERE true OR b.tenant_id = 'hal'"),
			"Fragment":   acme.Where("id IN (SELECT id FROM books)"),
			"RightJoin":  acme.Joins("RIGHT JOIN books b ON b.id = books.id"),
			"CountedAll": acme.Where("(SELECT count(*) FROM books) = 2"),
		} {
			var books []Book
			must(t, query.Find(&books).Error)
			if len(books) != 2 {
				t.Errorf("%s: %d books, want 2", name, len(books))
			}
			for _, book := range books {
				if book.TenantID != "acme" {
					t.Errorf("%s returned another tenant's book", name)
				}
			}
		}
		for _, c := range []struct {
			statement string
			want      int64
		}{
			{"UPDATE books SET copies = 7", 2},
			{"INSERT INTO books (tenant_id, title) VALUES ('acme', 'by hand')", 1},
			{"INSERT INTO genres VALUES ('" + f.name + "')", 1},
			{"DELETE FROM books USING books b WHERE b.id = books.id AND books.copies = 7", 2},
		} {
			tx := acme.Exec(c.statement)
			if tx.Error != nil || tx.RowsAffected != c.want {
				t.Errorf("%s: %d rows, %v; want %d", c.statement, tx.RowsAffected, tx.Error, c.want)
			}
		}
		if diff := cmp.Diff(before, b.rows(t, "hal")); diff != "" {
			t.Errorf("hal's rows changed: -before +after:\n%s", diff)
		}
		for statement, want := range map[string]error{
			"INSERT INTO books (tenant_id, title) VALUES ('hal', 'x')":                                     nil, // the policy's own error
			"UPDATE books SET tenant_id = 'hal'":                                                           nil,
			"SET courtroll.tenant_id = 'hal'":                                                              tenancy.ErrOpaqueSQL,
			"SELECT set_config('courtroll.tenant_id', 'hal', true)":                                        tenancy.ErrOpaqueSQL,
			"SELECT 1 WHERE current_setting('courtroll.tenant_id') = 'hal' AND EXISTS (SELECT FROM books)": tenancy.ErrOpaqueSQL,
			"RESET ALL":                tenancy.ErrOpaqueSQL,
			"SET ROLE " + b.SystemRole: tenancy.ErrOpaqueSQL,
			"SET SESSION AUTHORIZATION " + b.SystemRole: tenancy.ErrOpaqueSQL,
			"DO $$ BEGIN DELETE FROM books; END $$":     tenancy.ErrOpaqueSQL,
			"SELECT * FROM unheard_of":                  tenancy.ErrUnclassified,
			"DELETE FROM books; DELETE FROM shelves":    tenancy.ErrOpaqueSQL,
			"TRUNCATE books":                            tenancy.ErrMigrateHandle,
		} {
			if err := acme.Exec(statement).Error; err == nil || want != nil && !errors.Is(err, want) {
				t.Errorf("%s: got %v, want %v", statement, err, want)
			}
		}
		if err := b.app.WithContext(t.Context()).Exec("DELETE FROM books").Error; !errors.Is(err, tenancy.ErrNoTenant) {
			t.Errorf("without a tenant: got %v, want ErrNoTenant", err)
		}
	})
}

// TestRaw_NotProven lets nothing through on a table that Verify did not prove.
func TestRaw_NotProven(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	app := b.Open(tenancy.Postgres(b.AppDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{Rules: rules, RowLevelSecurity: true})))
	if err := app.WithContext(b.acme).Exec("DELETE FROM books").Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
		t.Errorf("before Verify: got %v, want ErrOpaqueSQL", err)
	}
	must(t, tenancy.Verify(t.Context(), app))
	must(t, app.WithContext(b.acme).Exec("DELETE FROM books").Error)
	must(t, b.Owner.Exec("ALTER TABLE books DISABLE ROW LEVEL SECURITY").Error)
	if err := tenancy.Verify(t.Context(), app); !errors.Is(err, tenancy.ErrUnprotected) {
		t.Errorf("got %v, want ErrUnprotected", err)
	}
	if err := app.WithContext(b.acme).Exec("DELETE FROM books").Error; !errors.Is(err, tenancy.ErrOpaqueSQL) {
		t.Errorf("after row-level security was taken off: got %v, want ErrOpaqueSQL", err)
	}
}

// TestPool uses the *sql.DB under the handle, which no plugin sees.
func TestPool(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	b.seed(t)
	pool, err := b.app.DB()
	must(t, err)
	count := func(stmt interface{ Scan(...any) error }) (n int) {
		must(t, stmt.Scan(&n))
		return n
	}
	const query = `SELECT count(*) FROM books`
	prepared, err := pool.PrepareContext(t.Context(), query)
	must(t, err)
	defer prepared.Close()
	tx, err := pool.BeginTx(b.acme, nil)
	must(t, err)
	inTx := tx.StmtContext(b.acme, prepared)
	defer inTx.Close()
	got := []int{
		count(pool.QueryRowContext(b.acme, query)), count(pool.QueryRowContext(t.Context(), query)), count(prepared.QueryRowContext(b.hal)),
		count(prepared.QueryRowContext(t.Context())), count(tx.QueryRow(query)), count(inTx.QueryRowContext(b.acme)),
		count(pool.QueryRowContext(b.system, query)),
	}
	if diff := cmp.Diff([]int{2, 0, 2, 0, 2, 2, 0}, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if _, err := tx.ExecContext(b.hal, `DELETE FROM books`); !errors.Is(err, tenancy.ErrTransactionTenant) {
		t.Errorf("got %v, want ErrTransactionTenant", err)
	}
	must(t, tx.Rollback())
}

// TestConnection keeps one connection for several statements and transactions.
func TestConnection(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		for _, ctx := range []context.Context{b.acme, b.hal, b.acme} {
			must(t, b.app.WithContext(ctx).Connection(func(tx *gorm.DB) error {
				var n, inTx int64
				err := errors.Join(tx.Create(&Book{Title: "c"}).Error, tx.Model(&Book{}).Count(&n).Error,
					tx.Transaction(func(tx *gorm.DB) error { return tx.Model(&Book{}).Count(&inTx).Error }),
					tx.Where("title = ?", "c").Delete(&Book{}).Error)
				if n != 3 || inTx != 3 {
					t.Errorf("%d books, %d in a transaction, want 3", n, inTx)
				}
				return err
			}))
		}
	})
}

// TestPool_Unbound is the pool of a handle that binds in transactions alone.
func TestPool_Unbound(t *testing.T) {
	t.Parallel()
	b := plain.setup(t)
	b.seed(t)
	pool, err := b.app.DB()
	must(t, err)
	var n int
	must(t, pool.QueryRowContext(b.acme, `SELECT count(*) FROM books`).Scan(&n))
	if n != 0 {
		t.Errorf("an unbound statement sees %d books", n)
	}
}

func TestNeedsTransaction(t *testing.T) {
	t.Parallel()
	b := plain.setup(t)
	b.seed(t)
	acme := b.app.WithContext(b.acme)
	read := func(db *gorm.DB) []error {
		rowsErr := func() error {
			rows, err := db.Model(&Book{}).Rows()
			if err != nil {
				return err
			}
			defer rows.Close()
			return rows.Err()
		}()
		var n int
		return []error{rowsErr, db.Model(&Book{}).Select("count(*)").Row().Scan(&n), db.Model(&Book{}).Select("count(*)").Scan(&n).Error}
	}
	for _, err := range read(acme) {
		if !errors.Is(err, tenancy.ErrNeedsTransaction) {
			t.Errorf("got %v, want ErrNeedsTransaction", err)
		}
	}
	must(t, acme.Transaction(func(tx *gorm.DB) error { return errors.Join(read(tx)...) }))
	must(t, errors.Join(read(ours.setup(t).app.WithContext(b.acme))...))
}

// TestTransactionTenant changes the tenant inside of a transaction.
func TestTransactionTenant(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		before := b.rows(t, "hal")
		must(t, b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
			var n int64
			must(t, tx.Model(&Book{}).Count(&n).Error)
			hal, system := tx.WithContext(b.hal), tx.WithContext(b.system)
			for name, err := range map[string]error{
				"read":   hal.Find(&[]Book{}).Error,
				"create": hal.Create(&Book{}).Error,
				"raw":    hal.Exec("DELETE FROM books").Error,
				"row":    hal.Model(&Book{}).Select("count(*)").Row().Scan(&n),
				"nested": hal.Transaction(func(tx *gorm.DB) error { return tx.Find(&[]Book{}).Error }),
			} {
				if !errors.Is(err, tenancy.ErrTransactionTenant) {
					t.Errorf("%s as another tenant: got %v, want ErrTransactionTenant", name, err)
				}
			}
			if err := system.Find(&[]Book{}).Error; !errors.Is(err, tenancy.ErrTransactionTenant) && !errors.Is(err, tenancy.ErrSystemLogin) {
				t.Errorf("in system scope: got %v, want ErrTransactionTenant", err)
			}
			return tx.Create(&Book{Title: "own"}).Error
		}))
		must(t, b.app.Transaction(func(tx *gorm.DB) error { // of nobody's yet
			if err := tx.WithContext(b.system).Find(&[]Book{}).Error; !errors.Is(err, tenancy.ErrSystemLogin) {
				t.Errorf("system scope in the app's transaction: got %v, want ErrSystemLogin", err)
			}
			return tx.WithContext(b.acme).Find(&[]Book{}).Error
		}))
		if diff := cmp.Diff(before, b.rows(t, "hal")); diff != "" {
			t.Errorf("hal's rows changed: -before +after:\n%s", diff)
		}
		must(t, b.app.WithContext(b.system).Transaction(func(tx *gorm.DB) error {
			if err := tx.WithContext(b.acme).Find(&[]Book{}).Error; !errors.Is(err, tenancy.ErrTransactionTenant) {
				t.Errorf("a tenant in a transaction of system scope: got %v, want ErrTransactionTenant", err)
			}
			return tx.Where("title = ?", "own").Delete(&Book{}).Error
		}))
		if n := len(b.rows(t, "acme")); n != 3 {
			t.Errorf("acme has %d rows, want 3: those of before", n)
		}
	})
}

// TestSetTransaction sets the isolation level before the transaction has a snapshot.
func TestSetTransaction(t *testing.T) {
	t.Parallel()
	for _, f := range []form{ours, plain} {
		b := f.setup(t)
		b.seed(t)
		must(t, b.app.WithContext(b.acme).Transaction(func(tx *gorm.DB) error {
			var level string
			var books []Book
			err := errors.Join(tx.Exec("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").Error,
				tx.Raw("SELECT current_setting('transaction_isolation')").Scan(&level).Error, tx.Find(&books).Error)
			if level != "serializable" || len(books) != 2 {
				t.Errorf("%s: level %s, %d books", f.name, level, len(books))
			}
			return err
		}))
	}
}

// TestPreparedStatements alternates tenants and system scope over GORM's cache of
// statements, which knows them by their text alone.
func TestPreparedStatements(t *testing.T) {
	t.Parallel()
	eachForm(t, forms, func(t *testing.T, f form) {
		b := f.setup(t)
		b.seed(t)
		configured := b.Open(f.dialector(b.AppDSN), &gorm.Config{PrepareStmt: true})
		f.install(t, configured, b.DB)
		for name, db := range map[string]*gorm.DB{"session": b.app.Session(&gorm.Session{PrepareStmt: true}), "config": configured} {
			for range 3 {
				for _, c := range []struct {
					who  string
					db   *gorm.DB
					want int
				}{{"system", db.WithContext(b.system), 4}, {"acme", db.WithContext(b.acme), 2}, {"hal", db.WithContext(b.hal), 2}} {
					var read []Book
					must(t, c.db.Raw("SELECT * FROM books").Find(&read).Error)
					var inTx []Book
					must(t, c.db.Transaction(func(tx *gorm.DB) error { return tx.Raw("SELECT * FROM books").Find(&inTx).Error }))
					if len(read) != c.want || len(inTx) != c.want {
						t.Errorf("%s, %s: %d books, %d in a transaction, want %d", name, c.who, len(read), len(inTx), c.want)
					}
				}
			}
		}
	})
}
