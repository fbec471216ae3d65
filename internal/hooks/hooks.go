// Package hooks puts a plugin's callbacks around those of GORM's six
// processors. GORM passes over much in silence: a callback of the same name
// replaces the first one, one without an anchor runs too late, and one that
// another plugin anchors at the statement runs between it and ours. So what must
// be next to the statement is wrapped around GORM's own callback, and each of
// the two looks for the other before a statement goes on.
package hooks

import (
	"errors"
	"fmt"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/stmtpool"
)

// ErrDisplaced is a statement on a handle whose callbacks are not those that
// were registered.
var ErrDisplaced = errors.New("another plugin replaced, removed or cut off this plugin's callbacks: install it before this one")

// Set holds a plugin's callbacks on one processor.
type Set struct {
	Guard func(*gorm.DB) // runs before everything, BEGIN included
	Open  func(*gorm.DB) // runs right before the statement
	Close func(*gorm.DB) // runs right after the statement, failed or not, and before COMMIT
}

// around returns GORM's callback between Open and Close. A panic in it is the
// statement's error for Close, and goes on.
func (s Set) around(statement func(*gorm.DB)) func(*gorm.DB) {
	return func(db *gorm.DB) {
		s.Open(db)
		returned := false
		defer func() {
			if !returned {
				_ = db.AddError(errPanic)
			}
			s.Close(db)
		}()
		statement(db)
		returned = true
	}
}

var errPanic = errors.New("a callback panicked")

// Plugin holds a plugin's callbacks on all processors.
type Plugin struct {
	Name                                    string
	Create, Query, Update, Delete, Row, Raw Set
}

// Register registers the callbacks on db. An error leaves db unfit for use.
func (p Plugin) Register(db *gorm.DB) error {
	cb := db.Callback()
	w := &watch{plugin: p.Name}
	if err := registerAll(p, w, cb.Create(), cb.Query(), cb.Update(), cb.Delete(), cb.Row(), cb.Raw()); err != nil {
		return err
	}
	w.changed.Store(true)
	return w.check()
}

// processor and callback are what is used of two of GORM's types that have no exported name.
type processor[C any] interface {
	Get(name string) func(*gorm.DB)
	Match(fn func(*gorm.DB) bool) C
	Replace(name string, fn func(*gorm.DB)) error
}

type callback[C any] interface {
	Before(name string) C
	Register(name string, fn func(*gorm.DB)) error
}

func registerAll[C callback[C], P processor[C]](p Plugin, w *watch, processors ...P) error {
	for i, set := range []Set{p.Create, p.Query, p.Update, p.Delete, p.Row, p.Raw} {
		if err := register(processors[i], w, kind(i), set); err != nil {
			return fmt.Errorf("registering callbacks of %s: %w", kind(i), err)
		}
	}
	return nil
}

func register[C callback[C], P processor[C]](p P, w *watch, k kind, set Set) error {
	guardName, own := fmt.Sprintf("%s:guard_%s", w.plugin, k), "gorm:"+k.String()
	statement := p.Get(own)
	switch {
	case statement == nil:
		return fmt.Errorf("GORM's callback %q is missing: install this plugin before the one that removed it", own)
	case !canSettle(p):
		return errUnsupported
	case p.Get(guardName) != nil:
		return fmt.Errorf("a callback %q is there already: install this plugin once", guardName)
	}
	guard := func(db *gorm.DB) {
		if w.asked(db, guardName, nil) {
			return
		}
		if err := w.check(); err != nil {
			stop(db, k, err)
			return
		}
		set.Guard(db)
	}
	inner := settled(set.around(statement))
	around := func(db *gorm.DB) {
		if w.asked(db, own, statement) {
			return
		}
		if err := w.check(); err != nil {
			stop(db, k, err)
			stmtpool.Close(db)
			return // and the statement is left out
		}
		inner(db)
	}
	// GORM calls the match when it puts a chain together, before it has the result.
	changes := func(*gorm.DB) bool {
		w.changed.Store(true)
		if k.inTransaction() {
			settleAll(p, codeOf(guard), codeOf(around))
		}
		return true
	}
	if err := p.Match(changes).Before("*").Register(guardName, guard); err != nil {
		return err
	}
	if err := p.Replace(own, around); err != nil {
		return err
	}
	c, err := chainOf(k, p, p.Get, map[string]func(*gorm.DB){guardName: guard, own: around})
	w.chains = append(w.chains, c)
	return err
}

// stop ends a statement, also for a callback that does not look at its error. For
// GORM's Row, whose Scan would be a panic, there is a row with the error.
func stop(db *gorm.DB, k kind, err error) {
	if !errors.Is(db.Error, ErrDisplaced) {
		_ = db.AddError(err)
	}
	pool := stmtpool.Open(db)
	pool.Verify = append(pool.Verify, func(string, []any) error { return err })
	rows, _ := db.Get("rows")
	if k == row && rows != true {
		db.Statement.Dest = stmtpool.RefusedRow(err)
	}
}
