package walls

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// patience is after how long a verb counts as stuck. It is longer than any wait
// for a connection and for the end of a deadlock.
const patience = 20 * time.Second

// probeSQL asks for what a statement before left on the connection.
const probeSQL = `SELECT coalesce(current_setting('courtroll.tenant_id', true), '') || coalesce(current_setting('courtroll.actor_id', true), '')
	|| coalesce(current_setting('courtroll.request_id', true), ''), (SELECT count(*) FROM books) + (SELECT count(*) FROM shelves)`

// load is two tenants that do everything at once on one handle.
type load struct {
	*bundle
	t        *testing.T
	pool     *sql.DB
	prepared *gorm.DB   // prepares its statements; nil where none can be prepared
	turn     sync.Mutex // held while prepared is used
	stmt     *sql.Stmt  // used by both tenants; likewise nil
	kinds    *kinds
	workers  []*worker

	mu       sync.Mutex
	ran      map[string]int
	well     map[string]int
	probes   int
	backends map[string]map[int]bool // of each tenant
	hot      map[string]*[2]int      // increments of the tenant's hot books: sure ones, and perhaps ones
}

// newLoad makes workers, each of which has a shelf.
func newLoad(t *testing.T, b *bundle, conns, workers int, prepares bool) *load {
	t.Helper()
	l := &load{
		bundle: b, t: t, kinds: newKinds(), ran: map[string]int{}, well: map[string]int{},
		backends: map[string]map[int]bool{"acme": {}, "hal": {}}, hot: map[string]*[2]int{"acme": {}, "hal": {}},
	}
	var err error
	l.pool, err = b.app.DB()
	must(t, err)
	l.pool.SetMaxOpenConns(conns)
	l.pool.SetMaxIdleConns(conns)
	if prepares {
		l.prepared = b.app.Session(&gorm.Session{PrepareStmt: true})
		l.stmt, err = l.pool.PrepareContext(t.Context(), `SELECT tenant_id, title FROM books WHERE copies >= $1`)
		must(t, err)
		t.Cleanup(func() { _ = l.stmt.Close() })
	}
	for tenant, ctx := range map[string]context.Context{"acme": b.acme, "hal": b.hal} {
		must(t, b.super.Create(&[]Book{{TenantID: tenant, Title: "hot-a"}, {TenantID: tenant, Title: "hot-b"}}).Error)
		shelves := make([]Shelf, workers)
		for i := range shelves {
			shelves[i] = Shelf{TenantID: tenant, Name: fmt.Sprint("shelf ", i)}
		}
		must(t, b.super.Create(&shelves).Error)
		for i, shelf := range shelves {
			l.workers = append(l.workers, &worker{
				load: l, tenant: tenant, ctx: ctx, shelf: shelf.ID, prefix: fmt.Sprintf("%s-%02d-", tenant, i), ids: map[string]int64{},
				ledger: ledger{settled: map[string]int{}, story: map[string][]string{}}, rng: rand.New(rand.NewPCG(uint64(i), uint64(len(tenant)))),
				deck: []int{len(l.workers) % len(verbs)},
			})
		}
	}
	return l
}

// sharesBackends proves that what follows means something: both tenants have
// the same backends, one after the other.
func (l *load) sharesBackends(want int) {
	l.t.Helper()
	for deadline := time.Now().Add(patience); l.shared() < want && time.Now().Before(deadline); {
		var asking sync.WaitGroup
		for _, w := range l.workers {
			asking.Go(func() {
				if err := w.backend(w.ctx); err != nil {
					l.t.Error(err)
				}
			})
		}
		asking.Wait()
	}
	if n := l.shared(); n != want {
		l.t.Fatalf("the tenants shared %d backends, want %d", n, want)
	}
}

// shared is how many backends served both tenants.
func (l *load) shared() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid := range l.backends["acme"] {
		if l.backends["hal"][pid] {
			n++
		}
	}
	return n
}

// run makes all workers work, with probes between them, until the time is up and
// each verb has come through. A busy machine gets more time for that.
func (l *load) run(d time.Duration) {
	end, last := time.Now().Add(d), time.Now().Add(d+time.Minute)
	l.runWhile(func() bool {
		now := time.Now()
		return now.Before(end) || now.Before(last) && len(l.untried()) > 0
	})
}

// runWhile makes all workers work, with probes between them.
func (l *load) runWhile(goesOn func() bool) {
	var running sync.WaitGroup
	for _, w := range l.workers {
		running.Go(func() {
			for goesOn() {
				w.work(w.nextVerb())
			}
		})
	}
	for range 3 {
		running.Go(func() {
			for goesOn() {
				l.kinds.add("probe", l.probe(l.t.Context()))
				time.Sleep(time.Millisecond)
			}
		})
	}
	running.Wait()
}

// probe finds what others left for a statement that belongs to nobody.
func (l *load) probe(ctx context.Context) error {
	var settings string
	var rows int
	if err := l.pool.QueryRowContext(ctx, probeSQL).Scan(&settings, &rows); err != nil {
		return err
	}
	if settings != "" || rows != 0 {
		l.t.Errorf("a statement without tenant finds the settings %q and %d rows", settings, rows)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.probes++
	return nil
}

// worker is one goroutine of a tenant, with books of its own.
type worker struct {
	*load
	ledger
	tenant string
	ctx    context.Context
	rng    *rand.Rand
	shelf  int64
	prefix string // of its books' titles
	handle *gorm.DB
	verb   string
	serial int
	ids    map[string]int64
	deck   []int // verbs still to do

	lastWell time.Time // when a verb last succeeded, under the load's mutex
}

// nextVerb deals all verbs before it deals one again. Each worker begins with
// another one, so that a busy machine comes to all of them, too.
func (w *worker) nextVerb() verb {
	if len(w.deck) == 0 {
		w.deck = w.rng.Perm(len(verbs))
	}
	next := w.deck[0]
	w.deck = w.deck[1:]
	return verbs[next]
}

// work does one verb, every fifth time with a context that ends at any moment.
func (w *worker) work(v verb) {
	if v.prepares && w.prepared == nil {
		return
	}
	begun, ctx := time.Now(), w.ctx
	w.verb = v.name
	// One at a time: GORM holds a lock while it prepares, for which it waits for a
	// connection, and transactions that wait for the lock may have them all.
	if w.handle = w.app; w.prepared != nil && w.turn.TryLock() {
		defer w.turn.Unlock()
		w.handle = w.prepared
	}
	if w.rng.IntN(5) == 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(w.rng.Int64N(int64(200*time.Millisecond))))
		defer cancel()
	}
	err := w.try(ctx, v)
	if took := time.Since(begun); took > patience {
		w.t.Errorf("%s took %s", v.name, took)
	}
	if v.fails && err == nil {
		w.t.Errorf("%s succeeded", v.name)
	}
	w.kinds.add(v.name, err)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ran[v.name]++
	if err == nil {
		w.well[v.name]++
		w.lastWell = time.Now()
	}
}

func (w *worker) try(ctx context.Context, v verb) error {
	defer func() {
		if p := recover(); p != nil {
			w.t.Errorf("%s panicked: %v\n%s", v.name, p, debug.Stack())
		}
	}()
	return v.do(w, ctx)
}

// db is the worker's handle for a verb.
func (w *worker) db(ctx context.Context) *gorm.DB { return w.handle.WithContext(ctx) }

// own are the worker's books as the database has them.
func (w *worker) own(db *gorm.DB) *gorm.DB { return db.Where("title LIKE ?", w.prefix+"%") }

// settles notes what became of changes, whose commit was tried or not.
func (w *worker) settles(err error, tried bool, changes ...change) error {
	how := fmt.Sprintf("%s: %v", w.verb, err)
	switch {
	case err == nil:
		w.settle(committed, changes, how)
	case !tried || isRefusal(err):
		w.settle(undone, changes, how)
	default:
		w.settle(unknown, changes, how)
	}
	return err
}

// transaction has changes made by a body.
func (w *worker) transaction(ctx context.Context, body func(tx *gorm.DB) error, changes ...change) error {
	tried := false
	err := w.db(ctx).Transaction(func(tx *gorm.DB) error {
		err := body(tx)
		tried = err == nil
		return err
	})
	return w.settles(err, tried, changes...)
}

// sees checks that rows are the tenant's, and that none of the worker's is missing.
func (w *worker) sees(what string, books []Book) {
	var mine []Book
	for _, book := range books {
		if book.TenantID != w.tenant {
			w.t.Errorf("%s: %s got a book of %q", what, w.tenant, book.TenantID)
		}
		if strings.HasPrefix(book.Title, w.prefix) {
			mine = append(mine, book)
		}
	}
	sure := w.sure(mine)
	for title, copies := range w.settled {
		if got, ok := sure[title]; !ok || got != copies {
			w.t.Errorf("%s: %s: got %d copies (there: %t), want %d, after %q", what, title, got, ok, copies, w.story[title])
		}
	}
	if len(sure) != len(w.settled) {
		w.t.Errorf("%s: got %d books of %s, want %d", what, len(sure), w.prefix, len(w.settled))
	}
}

// hits is the error of a statement that did not meet the one row that it should.
func hits(result *gorm.DB) error {
	if result.Error == nil && result.RowsAffected != 1 {
		return fmt.Errorf("%d rows were affected instead of one: %w", result.RowsAffected, errMissed)
	}
	return result.Error
}

var errMissed = errors.New("a row was missed, or one too many met")

// heats counts increments of a hot book.
func (w *worker) heats(err error, tried bool, n int) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.hot[w.tenant][0] += n
	case tried && !isRefusal(err):
		w.hot[w.tenant][1] += n
	}
	return err
}

// addsUp holds all that is in the database against what the workers believe.
func (l *load) addsUp() {
	l.t.Helper()
	var books []Book
	must(l.t, l.super.Find(&books).Error)
	copies := map[string]int{}
	for _, book := range books {
		if strings.HasPrefix(book.Title, "hot") {
			copies[book.TenantID] += book.Copies
		}
	}
	all, faults := byTitle(books)
	sure, unsure := 0, 0
	for _, w := range l.workers {
		faults = append(faults, w.check(all)...)
		sure, unsure = sure+w.done, unsure+len(w.open)
	}
	for title := range all {
		faults = append(faults, title+" is there, and nobody made it")
	}
	for tenant, n := range l.hot {
		if got := copies[tenant]; got < n[0] || got > n[0]+n[1] {
			faults = append(faults, fmt.Sprintf("%s's hot books have %d copies, want %d to %d", tenant, got, n[0], n[0]+n[1]))
		}
	}
	for _, fault := range faults {
		l.t.Error(fault)
	}
	if sure < len(l.workers)/2 || sure < 2*unsure {
		l.t.Errorf("%d changes are known to be committed, and of %d nobody knows: too little was tested", sure, unsure)
	}
	l.t.Logf("%d books, %d changes, %d unknown, hot: acme %v, hal %v", len(books), sure, unsure, *l.hot["acme"], *l.hot["hal"])
}

// untried are the verbs that never succeeded, or never failed as they must.
func (l *load) untried() (names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, v := range verbs {
		if (!v.prepares || l.prepared != nil) && (l.ran[v.name] == 0 || !v.fails && l.well[v.name] == 0) {
			names = append(names, v.name)
		}
	}
	return names
}

// ranAll checks that each verb was tested.
func (l *load) ranAll() {
	l.t.Helper()
	if names := l.untried(); len(names) > 0 {
		l.t.Errorf("never came through: %q", names)
	}
	if l.probes == 0 {
		l.t.Error("no probe came through")
	}
	l.t.Logf("%d backends of both, %d probes, ran: %v", l.shared(), l.probes, l.ran)
}

// isWell checks that the pool works after all that, and that nothing uses it.
func (l *load) isWell() {
	l.t.Helper()
	for deadline := time.Now().Add(5 * time.Second); l.pool.Stats().InUse > 0 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond) // transactions whose context ended are rolled back by and by
	}
	if n := l.pool.Stats().InUse; n != 0 {
		l.t.Errorf("%d connections are still in use", n)
	}
	for range 2 * l.pool.Stats().OpenConnections {
		l.kinds.add("probe", l.probe(l.t.Context())) // one that was killed while it was idle says so once
	}
	for range 20 {
		for _, ctx := range []context.Context{l.acme, l.hal} {
			tenant, _ := tenancy.FromContext(ctx)
			var books []Book
			if err := l.app.WithContext(ctx).Where("title LIKE ?", "hot%").Find(&books).Error; err != nil || len(books) != 2 {
				l.t.Errorf("after all that %s finds %d hot books (%v), want 2", tenant, len(books), err)
			}
		}
		if err := l.probe(l.t.Context()); err != nil {
			l.t.Errorf("after all that a probe fails: %v", err)
		}
	}
}
