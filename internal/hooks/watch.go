package hooks

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
)

type kind uint8

const row kind = 4

func (k kind) String() string {
	return [...]string{"create", "query", "update", "delete", "row", "raw"}[k]
}

// inTransaction reports whether GORM runs the callbacks in a transaction of its own.
func (k kind) inTransaction() bool {
	return k.String() == "create" || k.String() == "update" || k.String() == "delete"
}

var errUnsupported = errors.New("GORM's callbacks are not as expected: this version of GORM is not supported")

// watch finds out whether a plugin's callbacks still run on all processors. GORM
// empties the chain of a processor whose callbacks' anchors contradict each
// other; its statements then do nothing and say nothing, so another processor's
// callbacks have to look, after each change of a chain.
type watch struct {
	plugin  string
	chains  []chain
	changed atomic.Bool
	broken  atomic.Pointer[error]
	mu      sync.Mutex
}

// roll is what our callbacks answer who are asked whether they are there: those
// of two plugins, and of two processors, have the same code.
type roll struct {
	watch *watch
	code  uintptr
	names map[string]bool
}

type rollKey struct{}

// asked reports whether the callback of that name is asked, not run. One that is
// wrapped around another of ours passes the question on.
func (w *watch) asked(db *gorm.DB, name string, wrapped func(*gorm.DB)) bool {
	if db.Statement.DB != nil {
		return false // a statement of GORM's
	}
	r, ok := db.Statement.Context.Value(rollKey{}).(*roll)
	if !ok {
		return false
	}
	if r.watch == w {
		r.names[name] = true
	} else if wrapped != nil && codeOf(wrapped) == r.code {
		wrapped(db)
	}
	return true
}

// ask returns whether f is our callback of that name, or wrapped around it.
func (w *watch) ask(f func(*gorm.DB), name string) bool {
	r := &roll{watch: w, code: codeOf(f), names: map[string]bool{}}
	f(&gorm.DB{Config: &gorm.Config{}, Statement: &gorm.Statement{Context: context.WithValue(context.Background(), rollKey{}, r)}})
	return r.names[name]
}

// chain is one processor's callbacks, and what of them is ours.
type chain struct {
	kind kind
	get  func(name string) func(*gorm.DB)
	fns  reflect.Value // what GORM made of the callbacks, and runs
	ours map[string]func(*gorm.DB)
}

// chainOf reads what GORM does not export: to run a statement and see instead
// would run other plugins' callbacks too.
func chainOf(k kind, processor any, get func(string) func(*gorm.DB), ours map[string]func(*gorm.DB)) (chain, error) {
	fns := reflect.ValueOf(processor).Elem().FieldByName("fns")
	if !fns.IsValid() || fns.Kind() != reflect.Slice {
		return chain{}, errUnsupported
	}
	return chain{k, get, fns, ours}, nil
}

// displaced returns the name of a callback that is not ours any more, or not run,
// empty if all are. Only what has the code of ours is asked, for any other would run.
func (w *watch) displaced(c chain) string {
	for name, f := range c.ours {
		if now := c.get(name); now == nil || codeOf(now) != codeOf(f) || !w.ask(now, name) || !c.runs(codeOf(f)) {
			return name
		}
	}
	return ""
}

func (c chain) runs(code uintptr) bool {
	for i := range c.fns.Len() {
		if c.fns.Index(i).Pointer() == code {
			return true
		}
	}
	return false
}

func codeOf(f func(*gorm.DB)) uintptr { return reflect.ValueOf(f).Pointer() }

// check returns the fault of the chains as they are now.
func (w *watch) check() error {
	if w.changed.Load() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changed.CompareAndSwap(true, false) {
			err := w.look()
			w.broken.Store(&err)
		}
	}
	if err := w.broken.Load(); err != nil {
		return *err
	}
	return nil
}

func (w *watch) look() error {
	for _, c := range w.chains {
		if name := w.displaced(c); name != "" {
			return fmt.Errorf("%s: callback %q: %w", w.plugin, name, ErrDisplaced)
		}
	}
	return nil
}
