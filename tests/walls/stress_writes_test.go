package walls

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// most is how many books a worker has, about.
const most = 8

// newBook is one of which nobody has heard.
func (w *worker) newBook() (Book, change) {
	w.serial++
	book := Book{Title: fmt.Sprintf("%s%05d", w.prefix, w.serial), Copies: w.rng.IntN(100), ShelfID: &w.shelf}
	return book, change{book.Title, absent, book.Copies}
}

// some are titles of the worker's books; creating is what a verb does instead of nothing.
func (w *worker) some(n int) []string { return w.pick(n, w.rng.IntN(most)) }

func (w *worker) create(ctx context.Context) error {
	if len(w.settled) > most {
		return w.remove(ctx)
	}
	book, c := w.newBook()
	err := w.settles(w.db(ctx).Create(&book).Error, true, c)
	w.ids[book.Title] = book.ID
	return err
}

func (w *worker) remove(ctx context.Context) error {
	for _, title := range w.some(1) {
		result := w.db(ctx).Where("title = ?", title).Delete(&Book{})
		return w.settles(hits(result), true, change{title, w.settled[title], absent})
	}
	return nil
}

// changes has one of its books changed by f, or creates one.
func (w *worker) changes(ctx context.Context, f func(book Book, copies int) error) error {
	titles := w.some(1)
	if len(titles) == 0 {
		return w.create(ctx)
	}
	book := Book{ID: w.ids[titles[0]], Title: titles[0], Copies: w.settled[titles[0]]}
	copies := w.rng.IntN(1000)
	return w.settles(f(book, copies), true, change{book.Title, book.Copies, copies})
}

var writes = []verb{
	{name: "create", do: (*worker).create},
	{name: "create again", do: (*worker).create},
	{name: "create several", do: func(w *worker, ctx context.Context) error {
		if len(w.settled) > most {
			return w.remove(ctx)
		}
		a, first := w.newBook()
		b, second := w.newBook()
		books := []Book{a, b}
		err := w.settles(w.db(ctx).Create(&books).Error, true, first, second)
		w.ids[a.Title], w.ids[b.Title] = books[0].ID, books[1].ID
		return err
	}},
	{name: "update", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			return hits(w.db(ctx).Model(&Book{}).Where("title = ?", book.Title).Update("copies", copies))
		})
	}},
	{name: "raw update", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			return hits(w.db(ctx).Exec(`UPDATE books SET copies = ? WHERE title = ?`, copies, book.Title))
		})
	}},
	{name: "db update", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			return one(w.pool.ExecContext(ctx, `UPDATE books SET copies = $1 WHERE title = $2`, copies, book.Title))
		})
	}},
	{name: "db update, simple", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			return one(w.pool.ExecContext(ctx, fmt.Sprintf(`UPDATE books SET copies = %d WHERE title = '%s'`, copies, book.Title)))
		})
	}},
	{name: "save", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			book.Copies, book.ShelfID = copies, &w.shelf
			return hits(w.db(ctx).Save(&book))
		})
	}},
	{name: "upsert", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			book.Copies = copies
			return hits(w.db(ctx).Clauses(clause.OnConflict{
				Columns: []clause.Column{{Name: "id"}}, DoUpdates: clause.AssignmentColumns([]string{"copies"}),
			}).Create(&book))
		})
	}},
	{name: "upsert of a shared shelf", do: func(w *worker, ctx context.Context) error {
		return w.db(ctx).Clauses(clause.OnConflict{
			Columns: []clause.Column{{Name: "tenant_id"}, {Name: "name"}}, DoUpdates: clause.AssignmentColumns([]string{"name"}),
		}).Create(&Shelf{Name: "common"}).Error
	}},
	{name: "duplicate", fails: true, do: func(w *worker, ctx context.Context) error {
		return w.db(ctx).Create(&Shelf{Name: "shelf 0"}).Error
	}},
	{name: "delete", do: (*worker).remove},
	{name: "hot", do: func(w *worker, ctx context.Context) error {
		err := hits(w.db(ctx).Model(&Book{}).Where("title = ?", "hot-a").UpdateColumn("copies", gorm.Expr("copies + 1")))
		return w.heats(err, true, 1)
	}},
	{name: "raw hot", do: func(w *worker, ctx context.Context) error { // both tenants have a row of that title
		err := hits(w.db(ctx).Exec(`UPDATE books SET copies = copies + 1 WHERE title = 'hot-b'`))
		return w.heats(err, true, 1)
	}},
}

// both are the hot books, in an order that deadlocks with the other.
func (w *worker) both() []string {
	if w.rng.IntN(2) == 0 {
		return []string{"hot-a", "hot-b"}
	}
	return []string{"hot-b", "hot-a"}
}

var transactions = []verb{
	{name: "commit", do: func(w *worker, ctx context.Context) error {
		a, first := w.newBook()
		b, second := w.newBook()
		if len(w.settled) > most {
			return w.remove(ctx)
		}
		err := w.transaction(ctx, func(tx *gorm.DB) error { return errors.Join(tx.Create(&a).Error, tx.Create(&b).Error) }, first, second)
		w.ids[a.Title], w.ids[b.Title] = a.ID, b.ID
		return err
	}},
	{name: "replace", do: func(w *worker, ctx context.Context) error {
		titles := w.some(1)
		if len(titles) == 0 {
			return w.create(ctx)
		}
		book, made := w.newBook()
		err := w.transaction(ctx, func(tx *gorm.DB) error {
			return errors.Join(hits(tx.Where("title = ?", titles[0]).Delete(&Book{})), tx.Create(&book).Error)
		}, made, change{titles[0], w.settled[titles[0]], absent})
		w.ids[book.Title] = book.ID
		return err
	}},
	{name: "rollback", fails: true, do: func(w *worker, ctx context.Context) error {
		book, c := w.newBook()
		return w.transaction(ctx, func(tx *gorm.DB) error { return errors.Join(tx.Create(&book).Error, errBack) }, c)
	}},
	{name: "by hand", do: func(w *worker, ctx context.Context) error {
		book, c := w.newBook()
		tx := w.db(ctx).Begin()
		if tx.Error != nil {
			return tx.Error
		}
		err := tx.Create(&book).Error
		if err != nil || w.rng.IntN(2) == 0 || len(w.settled) > most {
			return errors.Join(err, tx.Rollback().Error)
		}
		w.ids[book.Title] = book.ID
		return w.settles(tx.Commit().Error, true, c)
	}},
	{name: "nothing", do: func(w *worker, ctx context.Context) error {
		tx := w.db(ctx).Begin()
		if tx.Error != nil {
			return tx.Error
		}
		return tx.Rollback().Error
	}},
	{name: "savepoint", do: func(w *worker, ctx context.Context) error {
		lost := Book{Title: w.prefix + "lost"}
		kept, c := w.newBook()
		if len(w.settled) > most {
			return w.remove(ctx)
		}
		err := w.transaction(ctx, func(tx *gorm.DB) error {
			back := tx.Transaction(func(tx *gorm.DB) error {
				return errors.Join(tx.Create(&lost).Error, tx.Create(&Shelf{Name: "shelf 0"}).Error, errBack)
			})
			if isBroken(back) {
				return back
			}
			return tx.Create(&kept).Error
		}, c)
		w.ids[kept.Title] = kept.ID
		return err
	}},
	{name: "panic", fails: true, do: func(w *worker, ctx context.Context) (err error) {
		book, c := w.newBook()
		defer func() {
			if p := recover(); p != nil {
				err = w.settles(errBack, false, c)
			}
		}()
		return w.transaction(ctx, func(tx *gorm.DB) error {
			if err := tx.Create(&book).Error; err != nil {
				return err
			}
			panic("in the body")
		}, c)
	}},
	{name: "failed, then committed", fails: true, do: func(w *worker, ctx context.Context) error {
		book, c := w.newBook()
		return w.transaction(ctx, func(tx *gorm.DB) error {
			if err := tx.Create(&book).Error; err != nil {
				return err
			}
			if err := tx.Create(&Shelf{Name: "shelf 0"}).Error; !isDuplicate(err) {
				return err
			}
			return nil // the server rolls back
		}, c)
	}},
	{name: "the other's statement", fails: true, do: func(w *worker, ctx context.Context) error {
		other := map[string]context.Context{"acme": w.hal, "hal": w.acme}[w.tenant]
		book, c := w.newBook()
		return w.transaction(ctx, func(tx *gorm.DB) error {
			if err := tx.Create(&book).Error; err != nil {
				return err
			}
			return tx.WithContext(other).Find(&[]Book{}).Error
		}, c)
	}},
	{name: "sleep", fails: true, do: func(w *worker, ctx context.Context) error { return w.sleep(ctx, w.db(ctx)) }},
	{name: "sleep in a transaction", fails: true, do: func(w *worker, ctx context.Context) error {
		book, c := w.newBook()
		return w.transaction(ctx, func(tx *gorm.DB) error {
			if err := tx.Create(&book).Error; err != nil {
				return err
			}
			return w.sleep(ctx, tx)
		}, c)
	}},
	{name: "locks", do: func(w *worker, ctx context.Context) error {
		n, tried := 0, false
		err := w.db(ctx).Transaction(func(tx *gorm.DB) error {
			n, tried = 0, false
			for _, title := range w.both() {
				var book Book
				if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).Where("title = ?", title).Take(&book).Error; err != nil {
					return err
				}
				if err := hits(tx.Exec(`UPDATE books SET copies = copies + 1 WHERE title = ?`, title)); err != nil {
					return err
				}
				n++
			}
			tried = true
			return nil
		})
		return w.heats(err, tried, n)
	}},
	{name: "locks given up", do: func(w *worker, ctx context.Context) error {
		return w.db(ctx).Transaction(func(tx *gorm.DB) error {
			short, cancel := context.WithTimeout(ctx, time.Duration(w.rng.IntN(50))*time.Millisecond)
			defer cancel()
			var books []Book
			return w.looked("locks given up", tx.WithContext(short).Clauses(clause.Locking{Strength: "UPDATE"}).Find(&books).Error, &books)
		})
	}},
	{name: "db transaction", do: func(w *worker, ctx context.Context) error {
		return w.changes(ctx, func(book Book, copies int) error {
			tx, err := w.pool.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
			if err != nil {
				return err
			}
			defer tx.Rollback()
			for _, n := range []int{-2, copies} { // the first is never seen
				if err := one(tx.ExecContext(ctx, `UPDATE books SET copies = $1 WHERE title = $2`, n, book.Title)); err != nil {
					return err
				}
			}
			return tx.Commit()
		})
	}},
}

// one is hits for what database/sql returns.
func one(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	return hits(&gorm.DB{Error: err, RowsAffected: n})
}

// sleep has the context end in the middle of a query.
func (w *worker) sleep(ctx context.Context, db *gorm.DB) error {
	short, cancel := context.WithTimeout(ctx, time.Duration(1+w.rng.IntN(5))*time.Millisecond)
	defer cancel()
	var books []Book
	err := db.WithContext(short).Raw(`SELECT books.* FROM books, pg_sleep(?) WHERE title = 'hot-a'`, 1).Scan(&books).Error
	if err == nil {
		w.sees("sleep", books)
	}
	return err
}

// isBroken reports whether a nested transaction failed for more than it was to.
func isBroken(err error) bool {
	if !errors.Is(err, errBack) {
		return true
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, each := range joined.Unwrap() {
		if !errors.Is(each, errBack) && !isDuplicate(each) {
			return true
		}
	}
	return false
}
