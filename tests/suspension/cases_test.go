package suspension

import (
	"context"
	"database/sql"
	"errors"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// operation is one way to the database. Its statement must reach a tenant's rows.
type operation struct {
	name   string
	writes bool
	// rows are read after the callbacks, outside of a transaction.
	rows bool
	// byHand is SQL that runs behind row-level security alone.
	byHand bool
	// raw goes straight to the *sql.DB, where tenancy.Postgres alone asks.
	raw bool
	do  func(db *gorm.DB, ctx context.Context) error
}

var operations = []operation{
	{name: "find", do: func(db *gorm.DB, _ context.Context) error { return db.Find(&[]Book{}).Error }},
	{name: "first", do: func(db *gorm.DB, _ context.Context) error { return db.First(&Book{}).Error }},
	{name: "count", do: func(db *gorm.DB, _ context.Context) error { var n int64; return db.Model(&Book{}).Count(&n).Error }},
	{name: "pluck", do: func(db *gorm.DB, _ context.Context) error {
		return db.Model(&Book{}).Pluck("title", &[]string{}).Error
	}},
	{name: "preload", do: func(db *gorm.DB, _ context.Context) error { return db.Preload("Books").Find(&[]Shelf{}).Error }},
	{name: "batches", do: func(db *gorm.DB, _ context.Context) error {
		return db.FindInBatches(&[]Book{}, 1, func(*gorm.DB, int) error { return nil }).Error
	}},
	{name: "generics", do: func(db *gorm.DB, ctx context.Context) error {
		_, err := gorm.G[Book](db).Find(ctx)
		return err
	}},
	{name: "association find", do: func(db *gorm.DB, _ context.Context) error {
		return db.Model(&Shelf{ID: 1}).Association("Books").Find(&[]Book{})
	}},
	{name: "row", rows: true, do: func(db *gorm.DB, _ context.Context) error {
		var n int
		return db.Model(&Book{}).Select("count(*)").Row().Scan(&n)
	}},
	{name: "rows", rows: true, do: func(db *gorm.DB, _ context.Context) error {
		rows, err := db.Model(&Book{}).Rows()
		if err != nil {
			return err
		}
		return errors.Join(rows.Close(), rows.Err())
	}},
	{name: "scan", rows: true, do: func(db *gorm.DB, _ context.Context) error { return db.Model(&Book{}).Scan(&[]Book{}).Error }},
	{name: "transaction of a read", do: func(db *gorm.DB, _ context.Context) error {
		return db.Transaction(func(tx *gorm.DB) error { return tx.Find(&[]Book{}).Error })
	}},
	{name: "create", writes: true, do: func(db *gorm.DB, _ context.Context) error { return db.Create(&Book{Title: "n"}).Error }},
	{name: "create of many", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.CreateInBatches(make([]Book, 3), 2).Error
	}},
	{name: "create without a transaction", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Create(&Book{Title: "n"}).Error
	}},
	{name: "update", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Model(&Book{}).Where("title = ?", "a").Update("copies", gorm.Expr("copies + 1")).Error
	}},
	{name: "update column without a transaction", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Session(&gorm.Session{SkipDefaultTransaction: true}).Model(&Book{}).Where("title = ?", "a").UpdateColumn("copies", 7).Error
	}},
	{name: "save", writes: true, do: func(db *gorm.DB, _ context.Context) error { return db.Save(&Shelf{ID: 1, Name: "saved"}).Error }},
	{name: "upsert", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Clauses(clause.OnConflict{DoNothing: true}).Create(&Book{ID: 1, Title: "up"}).Error
	}},
	{name: "delete", writes: true, do: func(db *gorm.DB, _ context.Context) error { return db.Where("title = ?", "b").Delete(&Book{}).Error }},
	{name: "generic delete", writes: true, do: func(db *gorm.DB, ctx context.Context) error {
		_, err := gorm.G[Book](db).Where("title = ?", "a").Delete(ctx)
		return err
	}},
	{name: "association append", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Model(&Shelf{ID: 1}).Association("Books").Append(&Book{Title: "n"})
	}},
	{name: "association clear", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Model(&Shelf{ID: 1}).Association("Books").Clear()
	}},
	{name: "transaction of writes", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return errors.Join(tx.Create(&Book{Title: "n"}).Error, tx.Where("title = ?", "a").Delete(&Book{}).Error)
		})
	}},
	{name: "transaction with a savepoint", writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Transaction(func(tx *gorm.DB) error { return tx.Create(&Book{Title: "n"}).Error })
		})
	}},
	{name: "raw", byHand: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Raw(`SELECT * FROM books WHERE title = ?`, "a").Find(&[]Book{}).Error
	}},
	{name: "exec", byHand: true, writes: true, do: func(db *gorm.DB, _ context.Context) error {
		return db.Exec(`UPDATE books SET copies = copies + 1 WHERE title = ?`, "a").Error
	}},
	{name: "sql.DB query", raw: true, do: func(db *gorm.DB, ctx context.Context) error {
		pool, err := db.DB()
		if err != nil {
			return err
		}
		var n int
		return pool.QueryRowContext(ctx, `SELECT count(*) FROM books WHERE title = $1`, "a").Scan(&n)
	}},
	{name: "sql.DB exec without arguments", raw: true, writes: true, do: func(db *gorm.DB, ctx context.Context) error {
		return execRaw(ctx, db, nil, `DELETE FROM books WHERE tenant_id = current_setting('courtroll.tenant_id')`)
	}},
	{name: "sql.DB exec behind a SET", raw: true, writes: true, do: func(db *gorm.DB, ctx context.Context) error {
		return execRaw(ctx, db, nil, `SET LOCAL work_mem = '4MB'; DELETE FROM books WHERE tenant_id = current_setting('courtroll.tenant_id')`)
	}},
	{name: "sql.DB transaction", raw: true, writes: true, do: func(db *gorm.DB, ctx context.Context) error {
		return execRaw(ctx, db, &sql.TxOptions{}, `DELETE FROM books WHERE tenant_id = current_setting('courtroll.tenant_id') AND title = $1`, "a")
	}},
	{name: "sql.DB prepared", raw: true, writes: true, do: func(db *gorm.DB, ctx context.Context) error {
		pool, err := db.DB()
		if err != nil {
			return err
		}
		stmt, err := pool.PrepareContext(ctx, `DELETE FROM books WHERE tenant_id = current_setting('courtroll.tenant_id') AND title = $1`)
		if err != nil {
			return err
		}
		defer func() { _ = stmt.Close() }()
		_, err = stmt.ExecContext(ctx, "a")
		return err
	}},
}

func execRaw(ctx context.Context, db *gorm.DB, options *sql.TxOptions, query string, args ...any) error {
	pool, err := db.DB()
	if err != nil {
		return err
	}
	if options == nil {
		_, err = pool.ExecContext(ctx, query, args...)
		return err
	}
	tx, err := pool.BeginTx(ctx, options)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, query, args...); err != nil {
		return errors.Join(err, tx.Rollback())
	}
	return tx.Commit()
}

// runs reports whether the form covers the operation.
func (o operation) runs(f form) bool {
	return (!o.byHand || f.walled && !f.audited) && (!o.raw || f.isOurs())
}
