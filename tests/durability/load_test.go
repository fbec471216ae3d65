package durability

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/audit"
)

// outcome is what a client knows of a request.
type outcome string

const (
	committed outcome = "committed"
	refused   outcome = "refused" // by the server, before COMMIT, or undone by the client
	unknown   outcome = "unknown"
)

// refusals are what the server says before COMMIT.
var refusals = []string{"40P01", "23505", "25P02"}

func outcomeOf(err error) outcome {
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return committed
	case errors.As(err, &pg) && slices.Contains(refusals, pg.Code), errors.Is(err, audit.ErrAudit) && errors.As(err, &pg),
		errors.Is(err, gorm.ErrDuplicatedKey), errors.Is(err, errUndo):
		return refused
	}
	return unknown
}

// ledger is what the clients were told of each request that changes something.
type ledger struct {
	mu   sync.Mutex
	said map[string]outcome
	ran  map[string]int // of each verb, those that were committed
}

func (l *ledger) add(verb, request string, o outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said[request] = o
	if o == committed {
		l.ran[verb]++
	}
}

func (l *ledger) told() map[string]outcome {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.said)
}

// hot is how many rows of each tenant all workers write.
const hot = 4

// load is what goes on while the server crashes.
type load struct {
	*private
	ledger ledger
	serial atomic.Int64
	stop   atomic.Bool
	all    sync.WaitGroup
}

var errUndo = errors.New("undo")

// worker writes as one tenant on one handle.
type worker struct {
	*load
	name, tenant string
	db           *gorm.DB
	rng          *rand.Rand
	hot          int64   // the first of the tenant's hot rows
	own          []int64 // rows that it made, and that are there as far as it knows
}

func newLoad(p *private, workers int) *load {
	l := &load{private: p, ledger: ledger{said: map[string]outcome{}, ran: map[string]int{}}}
	l.serial.Store(1000)
	for form, db := range p.handles {
		for i := range workers {
			w := &worker{load: l, name: fmt.Sprint(form, " ", i), tenant: "acme", db: db, rng: rand.New(rand.NewPCG(uint64(i), uint64(len(form)))), hot: 1}
			if i%2 == 1 {
				w.tenant, w.hot = "hal", 101
			}
			l.all.Go(w.run)
		}
	}
	return l
}

func (l *load) end() { l.stop.Store(true); l.all.Wait() }

// verbs make changes with the context of a request, and return how many rows
// changed. Each writes the request's name, so that a row that it writes changes.
var verbs = []struct {
	name string
	do   func(w *worker, db *gorm.DB, request string) (int64, error)
}{
	{"create", func(w *worker, db *gorm.DB, request string) (int64, error) {
		tx := db.Create(&Doc{ID: w.newID(), Title: request})
		return tx.RowsAffected, tx.Error
	}},
	{"create of many", func(w *worker, db *gorm.DB, request string) (int64, error) {
		docs := make([]Doc, 10)
		for i := range docs {
			docs[i] = Doc{ID: w.newID(), Title: request}
		}
		tx := db.Create(&docs)
		return tx.RowsAffected, tx.Error
	}},
	{"update", func(w *worker, db *gorm.DB, request string) (int64, error) {
		tx := db.Model(&Doc{ID: w.hot}).Updates(map[string]any{"title": request, "note": request})
		return tx.RowsAffected, tx.Error
	}},
	{"update of many", func(w *worker, db *gorm.DB, request string) (int64, error) {
		tx := db.Model(&Doc{}).Where("id < ?", 1000).Updates(map[string]any{"title": request, "n": gorm.Expr("n + 1"), "note": nil})
		return tx.RowsAffected, tx.Error
	}},
	{"update of nothing", func(w *worker, db *gorm.DB, _ string) (int64, error) {
		return 0, db.Model(&Doc{}).Where("id < ?", 1000).Update("n", gorm.Expr("n")).Error
	}},
	{"upsert", func(w *worker, db *gorm.DB, request string) (int64, error) {
		docs := []Doc{{ID: w.newID(), Title: request}}
		for i := range int64(hot) {
			docs = append(docs, Doc{ID: w.hot + i, Title: request, N: 1})
		}
		tx := db.Clauses(clause.OnConflict{UpdateAll: true}).Create(&docs)
		return tx.RowsAffected, tx.Error
	}},
	{"soft delete", func(w *worker, db *gorm.DB, _ string) (int64, error) {
		tx := db.Delete(&Doc{ID: w.someOwn()})
		return tx.RowsAffected, tx.Error
	}},
	{"restore", func(w *worker, db *gorm.DB, _ string) (int64, error) {
		tx := db.Unscoped().Model(&Doc{}).Where("id >= 1000 AND deleted_at IS NOT NULL").Update("deleted_at", nil)
		return tx.RowsAffected, tx.Error
	}},
	{"delete", func(w *worker, db *gorm.DB, _ string) (int64, error) {
		tx := db.Unscoped().Delete(&Doc{ID: w.someOwn()})
		return tx.RowsAffected, tx.Error
	}},
	{"delete of a hot one", func(w *worker, db *gorm.DB, _ string) (int64, error) {
		tx := db.Unscoped().Delete(&Doc{ID: w.hot + hot - 1}) // an upsert makes it again
		return tx.RowsAffected, tx.Error
	}},
}

func (w *worker) newID() int64 {
	id := w.serial.Add(1)
	w.own = append(w.own, id)
	return id
}

func (w *worker) someOwn() int64 {
	if len(w.own) == 0 {
		return -1
	}
	i := w.rng.IntN(len(w.own))
	id := w.own[i]
	w.own = slices.Delete(w.own, i, i+1)
	return id
}

func (w *worker) run() {
	for n := 0; !w.stop.Load(); n++ {
		verb, request := w.rng.IntN(len(verbs)), fmt.Sprintf("%s.%d", w.name, n)
		if n%4 == 0 {
			w.nested(request, verb)
			continue
		}
		rows, err := verbs[verb].do(w, w.as(w.db, request), request)
		if rows > 0 || err != nil {
			w.note(verb, request, err)
		}
	}
}

func (w *worker) as(db *gorm.DB, request string) *gorm.DB {
	return db.WithContext(as(w.t.Context(), w.tenant, request))
}

// note takes down what the client was told. A request that failed and changed
// nothing either way is unknown, for nobody knows how many rows it would have met.
func (w *worker) note(verb int, request string, err error) {
	w.ledger.add(verbs[verb].name, request, outcomeOf(err))
}

// nested runs verbs in a transaction, in one within it, and in one that is undone.
func (w *worker) nested(request string, first int) {
	type part struct {
		verb    int
		request string
	}
	var kept, undone []part
	run := func(tx *gorm.DB, parts *[]part, suffix string, verb int) error {
		p := part{verb, request + suffix}
		rows, err := verbs[verb].do(w, w.as(tx, p.request), p.request)
		if rows > 0 || err != nil {
			*parts = append(*parts, p)
		}
		return err
	}
	err := w.as(w.db, request).Transaction(func(tx *gorm.DB) error {
		if err := run(tx, &kept, "a", first); err != nil {
			return err
		}
		_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(run(tx, &undone, "b", w.rng.IntN(len(verbs))), errUndo) })
		return tx.Transaction(func(tx *gorm.DB) error {
			_ = tx.Transaction(func(tx *gorm.DB) error { return errors.Join(run(tx, &undone, "c", w.rng.IntN(len(verbs))), errUndo) })
			return run(tx, &kept, "d", w.rng.IntN(len(verbs)))
		})
	})
	for _, p := range kept {
		w.note(p.verb, p.request, err)
	}
	for _, p := range undone {
		w.note(p.verb, p.request, errUndo)
	}
}

// ranAll demands that each verb was committed.
func (l *load) ranAll(t *testing.T) {
	t.Helper()
	for _, verb := range verbs {
		if l.ledger.ran[verb.name] == 0 && verb.name != "update of nothing" {
			t.Errorf("no %s was committed", verb.name)
		}
	}
	t.Logf("committed: %v", l.ledger.ran)
}
