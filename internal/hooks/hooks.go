// Package hooks registers a plugin's callbacks around those of GORM's six
// processors, and notices what GORM passes over: a callback of the same name
// replaces the first one in silence, and one without an anchor runs too late.
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
	After(name string) C
}

type callback[C any] interface {
	Before(name string) C
	Register(name string, fn func(*gorm.DB)) error
}

func registerAll[C callback[C], P processor[C]](p Plugin, processors ...P) error {
	for i, r := range []struct {
		kind string
		next string // GORM's callback after the statement, where there is one
		set  Set
	}{
		{"create", "gorm:save_after_associations", p.Create},
		{"query", "gorm:preload", p.Query},
		{"update", "gorm:save_after_associations", p.Update},
		{"delete", "gorm:after_delete", p.Delete},
		{"row", "", p.Row},
		{"raw", "", p.Raw},
	} {
		if err := register(processors[i], p.Name, r.kind, r.next, r.set); err != nil {
			return fmt.Errorf("registering callbacks of %s: %w", r.kind, err)
		}
	}
	return nil
}

func register[C callback[C], P processor[C]](p P, plugin, kind, next string, set Set) error {
	own := "gorm:" + kind
	if p.Get(own) == nil {
		return fmt.Errorf("GORM's callback %q is missing", own)
	}
	// An After alone would be appended to the end of the chain, past COMMIT.
	after := p.After(own)
	if next != "" {
		after = after.Before(next)
	}
	for _, r := range []struct {
		name  string
		where C
		fn    func(*gorm.DB)
	}{
		{"guard", p.Before("*"), set.Guard},
		{"open", p.Before(own), set.Open},
		{"close", after, set.Close},
	} {
		name := plugin + ":" + r.name + "_" + kind
		if p.Get(name) != nil {
			return fmt.Errorf("a callback %q is there already", name)
		}
		if err := r.where.Register(name, r.fn); err != nil {
			return err
		}
	}
	return nil
}
