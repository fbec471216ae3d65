// Package hooks puts a plugin's callbacks around those of GORM's six
// processors. GORM passes over much in silence: a callback of the same name
// replaces the first one, one without an anchor runs too late, and one that
// another plugin anchors at the statement runs between it and ours. So what must
// be next to the statement is wrapped around GORM's own callback.
package hooks

import (
	"fmt"

	"gorm.io/gorm"
)

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
		defer func() {
			panicked := recover()
			if panicked != nil {
				_ = db.AddError(fmt.Errorf("panic in a statement: %T", panicked))
			}
			s.Close(db)
			if panicked != nil {
				panic(panicked)
			}
		}()
		statement(db)
	}
}

// Plugin holds a plugin's callbacks on all processors.
type Plugin struct {
	Name                                    string
	Create, Query, Update, Delete, Row, Raw Set
}

// Register registers the callbacks on db. An error leaves db unfit for use.
func (p Plugin) Register(db *gorm.DB) error {
	cb := db.Callback()
	return registerAll(p, cb.Create(), cb.Query(), cb.Update(), cb.Delete(), cb.Row(), cb.Raw())
}

// processor and callback are what is used of two of GORM's types that have no exported name.
type processor[C any] interface {
	Get(name string) func(*gorm.DB)
	Before(name string) C
	Replace(name string, fn func(*gorm.DB)) error
}

type callback interface {
	Register(name string, fn func(*gorm.DB)) error
}

func registerAll[C callback, P processor[C]](p Plugin, processors ...P) error {
	for i, r := range []struct {
		kind string
		set  Set
	}{
		{"create", p.Create},
		{"query", p.Query},
		{"update", p.Update},
		{"delete", p.Delete},
		{"row", p.Row},
		{"raw", p.Raw},
	} {
		if err := register(processors[i], p.Name, r.kind, r.set); err != nil {
			return fmt.Errorf("registering callbacks of %s: %w", r.kind, err)
		}
	}
	return nil
}

func register[C callback, P processor[C]](p P, plugin, kind string, set Set) error {
	guard, own := plugin+":guard_"+kind, "gorm:"+kind
	statement := p.Get(own)
	switch {
	case statement == nil:
		return fmt.Errorf("GORM's callback %q is missing", own)
	case p.Get(guard) != nil:
		return fmt.Errorf("a callback %q is there already", guard)
	}
	if err := p.Before("*").Register(guard, set.Guard); err != nil {
		return err
	}
	return p.Replace(own, set.around(statement))
}
