package hooks

import (
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
)

type kind uint8

func (k kind) String() string {
	return [...]string{"create", "query", "update", "delete", "row", "raw"}[k]
}

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
		return chain{}, errors.New("its functions cannot be read: this version of GORM is not supported")
	}
	return chain{k, get, fns, ours}, nil
}

// displaced returns the name of a callback that is not ours any more, or not run,
// empty if all are. It compares code: two plugins of ours that wrap the same
// callback have the same, and so has a second handle's.
func (c chain) displaced() string {
	for name, f := range c.ours {
		if now := c.get(name); now == nil || codeOf(now) != codeOf(f) || !c.runs(codeOf(f)) {
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
		if name := c.displaced(); name != "" {
			return fmt.Errorf("%s: callback %q: %w", w.plugin, name, ErrDisplaced)
		}
	}
	return nil
}
