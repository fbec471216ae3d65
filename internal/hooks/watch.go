package hooks

import (
	"context"
	"sync"
	"sync/atomic"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

type kind uint8

const kinds = 6

func (k kind) String() string {
	return [...]string{"create", "query", "update", "delete", "row", "raw"}[k]
}

// watch finds out whether a plugin's guards still run on all processors. GORM
// empties the chain of a processor whose callbacks' anchors contradict each
// other; its statements then do nothing and say nothing, so another processor's
// guard has to look, after each change of a chain.
type watch struct {
	plugin  string
	root    *gorm.DB
	changed atomic.Bool
	broken  atomic.Pointer[error]
	probing atomic.Int32
	mu      sync.Mutex
}

// compiling is called when GORM puts a chain together, before it knows the result.
func (w *watch) compiling(*gorm.DB) bool {
	w.changed.Store(true)
	return true
}

// check returns the fault of the chains as they are now.
func (w *watch) check() error {
	if w.changed.Load() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.changed.CompareAndSwap(true, false) {
			err := w.probe()
			w.broken.Store(&err)
		}
	}
	if err := w.broken.Load(); err != nil {
		return *err
	}
	return nil
}

type probeKey struct{}

// probe is which guards a round of dry runs has reached.
type probe struct {
	watch   *watch
	reached [kinds]bool
}

// probed reports whether the statement is one of probe's, which ends here.
func (w *watch) probed(db *gorm.DB, k kind) bool {
	if w.probing.Load() == 0 || db.Statement.Context == nil {
		return false
	}
	p, ok := db.Statement.Context.Value(probeKey{}).(*probe)
	if !ok || p.watch != w {
		return ok
	}
	p.reached[k] = true
	stop(db, gorm.ErrDryRunModeUnsupported)
	return true
}

// probe sends nothing: its statements are dry runs without a transaction.
func (w *watch) probe() error {
	w.probing.Add(1)
	defer w.probing.Add(-1)
	p := &probe{watch: w}
	dry := w.root.Session(&gorm.Session{
		NewDB: true, DryRun: true, SkipDefaultTransaction: true, SkipHooks: true, Logger: logger.Discard,
		Context: context.WithValue(context.Background(), probeKey{}, p),
	})
	const table = "courtroll_probe"
	row := map[string]any{"id": 1}
	dry.Table(table).Create(row)
	dry.Table(table).Find(&[]map[string]any{})
	dry.Table(table).Where("id = 1").Updates(row)
	dry.Table(table).Where("id = 1").Delete(nil)
	dry.Table(table).Select("id").Row()
	dry.Exec("SELECT 1")
	for k, reached := range p.reached {
		if !reached {
			return displaced(w.plugin, kind(k))
		}
	}
	return nil
}
