package walls

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
)

// verb is something that a worker does.
type verb struct {
	name     string
	do       func(w *worker, ctx context.Context) error
	prepares bool // it needs prepared statements
	fails    bool // it always ends in an error
}

var verbs = append(append(reads, writes...), transactions...)

var reads = []verb{
	{name: "find", do: func(w *worker, ctx context.Context) error {
		var books []Book
		return w.looked("find", w.db(ctx).Find(&books).Error, &books)
	}},
	{name: "find own", do: func(w *worker, ctx context.Context) error {
		var books []Book
		return w.looked("find own", w.own(w.db(ctx)).Find(&books).Error, &books)
	}},
	{name: "raw", do: func(w *worker, ctx context.Context) error {
		var books []Book
		return w.looked("raw", w.db(ctx).Raw(`SELECT * FROM books`).Scan(&books).Error, &books)
	}},
	{name: "raw with an argument", do: func(w *worker, ctx context.Context) error {
		var books []Book
		return w.looked("raw with an argument", w.db(ctx).Raw(`SELECT * FROM books WHERE copies >= ?`, 0).Find(&books).Error, &books)
	}},
	{name: "raw foreign", do: func(w *worker, ctx context.Context) error {
		var titles []string
		err := w.db(ctx).Raw(`SELECT title FROM books WHERE tenant_id <> ? UNION ALL SELECT name FROM shelves WHERE tenant_id <> ?`, w.tenant, w.tenant).Scan(&titles).Error
		if len(titles) > 0 {
			w.t.Errorf("raw foreign: %s got %d rows of the other", w.tenant, len(titles))
		}
		return err
	}},
	{name: "count", do: func(w *worker, ctx context.Context) error {
		var n int64
		err := w.db(ctx).Model(&Book{}).Where("title IN ?", append(w.pick(9, 0), "hot-a", "hot-b")).Count(&n).Error
		if err == nil && int(n) != len(w.pick(9, 0))+2 {
			w.t.Errorf("count: got %d, want %d", n, len(w.pick(9, 0))+2)
		}
		return err
	}},
	{name: "preload", do: func(w *worker, ctx context.Context) error {
		var shelves []Shelf
		err := w.db(ctx).Preload("Books").Find(&shelves).Error
		for _, shelf := range shelves {
			w.isOwn("preload, shelf", shelf.TenantID, err)
			for _, book := range shelf.Books {
				w.isOwn("preload, book", book.TenantID, err)
			}
		}
		return err
	}},
	{name: "rows half read", do: (*worker).halfRead},
	{name: "rows left to the context", do: func(w *worker, ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		rows, err := w.pool.QueryContext(ctx, `SELECT tenant_id, n FROM books, generate_series(1, 500) AS n`)
		if err == nil {
			err = w.scan(rows, 2)
		}
		cancel() // nobody closes the rows
		return err
	}},
	{name: "system", do: func(w *worker, ctx context.Context) error {
		var tenants []string
		if err := w.app.WithContext(w.system).Model(&Book{}).Where("title = ?", "hot-a").Distinct().Pluck("tenant_id", &tenants).Error; err != nil {
			return err
		}
		if len(tenants) != 2 {
			w.t.Errorf("system scope sees the tenants %q", tenants)
		}
		return w.backend(ctx)
	}},
	{name: "db", do: func(w *worker, ctx context.Context) error {
		rows, err := w.pool.QueryContext(ctx, `SELECT tenant_id, title FROM books`)
		if err != nil {
			return err
		}
		return errors.Join(w.scan(rows, -1), rows.Close())
	}},
	{name: "db statement", prepares: true, do: func(w *worker, ctx context.Context) error {
		rows, err := w.stmt.QueryContext(ctx, 0)
		if err != nil {
			return err
		}
		return errors.Join(w.scan(rows, -1), rows.Close())
	}},
	{name: "db connection", do: func(w *worker, ctx context.Context) error {
		conn, err := w.pool.Conn(ctx)
		if err != nil {
			return err
		}
		for range 3 {
			rows, queryErr := conn.QueryContext(ctx, `SELECT tenant_id, title FROM books WHERE copies >= $1`, 0)
			if err = queryErr; err != nil {
				break
			}
			err = errors.Join(w.scan(rows, 3), rows.Close())
		}
		return errors.Join(err, conn.Close())
	}},
	{name: "backend", do: (*worker).backend},
	{name: "error", fails: true, do: func(w *worker, ctx context.Context) error {
		return w.db(ctx).Raw(`SELECT tenant_id, 1 / (copies - copies) FROM books WHERE title = ?`, "hot-a").Scan(&[]Book{}).Error
	}},
}

// looked checks books that were read.
func (w *worker) looked(what string, err error, books *[]Book) error {
	if err != nil {
		for _, book := range *books {
			w.isOwn(what, book.TenantID, err)
		}
		*books = nil
		return err
	}
	w.sees(what, *books)
	return nil
}

// isOwn checks what is in a struct, also after an error: then it may be nothing.
func (w *worker) isOwn(what, tenant string, err error) {
	if tenant != w.tenant && (err == nil || tenant != "") {
		w.t.Errorf("%s: %s got a row of %q with the error %v", what, w.tenant, tenant, err)
	}
}

// halfRead closes rows of which there are more, on one connection or in a transaction.
func (w *worker) halfRead(ctx context.Context) error {
	read := func(db *gorm.DB) error {
		rows, err := db.Model(&Book{}).Select("tenant_id, title").Rows()
		if err != nil {
			return err
		}
		defer rows.Close()
		return w.scan(rows, 1+w.rng.IntN(3))
	}
	if w.rng.IntN(2) == 0 {
		return read(w.db(ctx))
	}
	return w.db(ctx).Transaction(func(tx *gorm.DB) error { return errors.Join(read(tx), read(tx)) })
}

// scan reads up to n rows, all if it is negative, whose first column is the tenant.
func (w *worker) scan(rows *sql.Rows, n int) error {
	for read := 0; read != n && rows.Next(); read++ {
		var tenant string
		var other any
		if err := rows.Scan(&tenant, &other); err != nil {
			return err
		}
		if tenant != w.tenant {
			return fmt.Errorf("%s got a row of %q: %w", w.tenant, tenant, errForeign)
		}
	}
	return rows.Err()
}

var errForeign = errors.New("a row of the other tenant")

// backend notes which backend serves the tenant, and what it was told.
func (w *worker) backend(ctx context.Context) error {
	var pid int
	var tenant, actor string
	err := w.pool.QueryRowContext(ctx, `SELECT pg_backend_pid(), current_setting('courtroll.tenant_id'), current_setting('courtroll.actor_id')`).
		Scan(&pid, &tenant, &actor)
	if err != nil {
		return err
	}
	if tenant != w.tenant || actor != "u_1" {
		w.t.Errorf("a statement of %s is bound to %q and %q", w.tenant, tenant, actor)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.backends[w.tenant][pid] = true
	return nil
}
