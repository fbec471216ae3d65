package replay

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// Ways for a transaction to end.
const (
	commits   = "commit"
	fails     = "rollback"
	panics    = "panic"
	cancels   = "cancel"
	deepest   = 2 // levels of savepoints
	longest   = 4 // operations of a transaction
	savepoint = "by hand"
)

var errRolledBack = errors.New("rolled back on purpose")

// drawTransaction draws operations that are kept or lost together. Some of them
// are transactions again, which are savepoints: where one is lost, the outer goes
// on without it.
func drawTransaction(t *rapid.T, depth int) op {
	end := pick(t, "end", []string{commits, commits, commits, commits, fails, fails, panics, cancels})
	isolation := sql.LevelDefault
	if depth == 0 {
		isolation = pick(t, "isolation", []sql.IsolationLevel{sql.LevelDefault, sql.LevelDefault, sql.LevelRepeatableRead, sql.LevelSerializable})
	} else {
		end = pick(t, "inner end", []string{commits, fails, savepoint})
	}
	o := op{kind: "Transaction " + end, tx: true}
	if depth > 0 {
		o.kind = "Savepoint " + end
	}
	o.inner = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		if depth < deepest && rapid.IntRange(0, 3).Draw(t, "nested") == 0 {
			return drawTransaction(t, depth+1)
		}
		return drawPlain(t)
	}), 1, longest).Draw(t, "inner")
	o.text = o.kind + " {"
	for _, inner := range o.inner {
		o.text += " " + inner.text + ";"
	}
	o.text += " } " + isolation.String()
	if end == savepoint {
		o.tx = false // what fails before the savepoint loses the outer one, too
		o.run = func(db *gorm.DB) error { return bySavepoint(db, o.inner) }
		return o
	}
	o.run = func(db *gorm.DB) error {
		ctx, cancel := context.WithCancel(db.Statement.Context)
		defer cancel()
		return db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			if err := runAll(tx, o.inner); err != nil {
				return err
			}
			switch end {
			case fails:
				return errRolledBack
			case panics:
				panic(errPanic)
			case cancels:
				cancel()
			}
			return nil
		}, &sql.TxOptions{Isolation: isolation})
	}
	return o
}

// runAll runs what is in a transaction. An error loses it, but for one of a
// savepoint, or one that the database has not seen.
func runAll(tx *gorm.DB, all []op) error {
	for _, o := range all {
		err := o.run(tx.Session(&gorm.Session{}))
		if err == nil || errors.Is(err, gorm.ErrRecordNotFound) || errors.Is(err, gorm.ErrMissingWhereClause) {
			continue
		}
		if o.tx && !errors.Is(err, context.Canceled) {
			if kind, _ := classify(err); kind != again && kind != unexpected {
				continue
			}
		}
		return fmt.Errorf("in %s: %w", o.text, err)
	}
	return nil
}

// bySavepoint runs operations, and then takes all but the first one back.
func bySavepoint(tx *gorm.DB, all []op) error {
	if err := runAll(tx, all[:1]); err != nil {
		return err
	}
	if err := tx.SavePoint("mine").Error; err != nil {
		return err
	}
	err := runAll(tx, all[1:])
	if kind, _ := classify(err); kind == again || kind == unexpected || errors.Is(err, context.Canceled) {
		return err
	}
	return tx.RollbackTo("mine").Error
}
