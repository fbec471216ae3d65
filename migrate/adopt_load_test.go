package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// shopWriter is one program of the app: it changes rows of its own, and knows what it
// committed.
type shopWriter struct {
	p      *protected
	id     int
	isNew  bool // it knows the tenant column
	source string
	rand   *rand.Rand

	rows    map[int64]bill
	longest time.Duration
	worst   string
	writes  int
	retries bool // its transaction is of REPEATABLE READ
}

type bill struct {
	client int64 // 0 for none
	number string
	cents  int64
}

// load is the writers of a test.
type load struct {
	list []*shopWriter
	wg   sync.WaitGroup
	errs chan error
}

var tenants = []string{"globex", "acme"} // of the clients of odd and even ids

const clientCount = 20

// startLoad starts two writers of one version, who share the rows.
func (p *protected) startLoad(t *testing.T, ctx context.Context, source string, seed uint64, rows map[int64]bill, isNew bool) *load {
	l := &load{errs: make(chan error, 16)}
	for i := range 2 {
		w := &shopWriter{p: p, id: i, isNew: isNew, source: source, rows: map[int64]bill{}, rand: rand.New(rand.NewPCG(seed, uint64(i)))}
		if isNew {
			w.id += 100
		}
		for id, b := range rows {
			if id%2 == int64(i) {
				w.rows[id] = b
			}
		}
		l.list = append(l.list, w)
		conn, err := p.app.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.wg.Go(func() {
			defer conn.Close()
			if err := w.work(ctx, conn); err != nil {
				l.errs <- fmt.Errorf("writer %d: %w", w.id, err)
			}
		})
	}
	return l
}

// end waits for the writers, and fails the test if a write failed.
func (l *load) end(t *testing.T) {
	t.Helper()
	l.wg.Wait()
	close(l.errs)
	for err := range l.errs {
		t.Error(err)
	}
}

// work makes random transactions until ctx ends; the last one is brought to its end.
func (w *shopWriter) work(ctx context.Context, conn *sql.Conn) error {
	for ; ctx.Err() == nil; time.Sleep(3 * time.Millisecond) { // others need the machine, too
		err := w.transaction(conn)
		if code(err) == "40001" && w.retries {
			continue // of REPEATABLE READ: the backfill has changed its row meanwhile
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// transaction makes one of a few changes, some of which take long, or are undone.
func (w *shopWriter) transaction(conn *sql.Conn) error {
	options := &sql.TxOptions{}
	if w.retries = w.rand.IntN(4) == 0; w.retries {
		options.Isolation = sql.LevelRepeatableRead
	}
	tx, err := conn.BeginTx(context.Background(), options)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	after := map[int64]*bill{}
	for range 1 + w.rand.IntN(3) {
		if err := w.change(tx, after); err != nil {
			return err
		}
		if w.rand.IntN(100) == 0 {
			time.Sleep(time.Duration(w.rand.IntN(400)) * time.Millisecond) // a transaction that is slow
		}
	}
	if w.rand.IntN(5) == 0 {
		return tx.Rollback()
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	for id, b := range after {
		if b == nil {
			delete(w.rows, id)
		} else {
			w.rows[id] = *b
		}
	}
	return nil
}

// change inserts, updates, moves or deletes one row, each row once in a transaction.
func (w *shopWriter) change(tx *sql.Tx, after map[int64]*bill) error {
	id, old := w.pick(after)
	switch kind := w.rand.IntN(10); {
	case id == 0 || kind < 4:
		return w.insert(tx, after)
	case kind < 6:
		old.cents++
		after[id] = &old
		return w.exec(tx, `UPDATE bills SET cents = $2 WHERE id = $1`, id, old.cents)
	case kind < 8:
		return w.move(tx, after, id, old)
	default:
		after[id] = nil
		return w.exec(tx, `DELETE FROM bills WHERE id = $1`, id)
	}
}

func (w *shopWriter) pick(after map[int64]*bill) (int64, bill) {
	for id, b := range w.rows {
		if _, touched := after[id]; !touched {
			return id, b
		}
	}
	return 0, bill{}
}

func (w *shopWriter) insert(tx *sql.Tx, after map[int64]*bill) error {
	w.writes++
	b := bill{client: int64(w.rand.IntN(clientCount + 1)), cents: 1}
	b.number = fmt.Sprintf("%s-%d-%d", tenants[w.rand.IntN(2)], w.id, w.writes)
	columns, values, args := `client_id, number, cents`, `nullif($1::bigint, 0), $2, $3`, []any{b.client, b.number, b.cents}
	if w.isNew {
		columns, values, args = columns+`, tenant_id`, values+`, $4`, append(args, tenantOf(w.source, b))
	}
	var id int64
	began := time.Now()
	err := tx.QueryRow(`INSERT INTO bills (`+columns+`) VALUES (`+values+`) RETURNING id`, args...).Scan(&id)
	w.took("INSERT", time.Since(began))
	after[id] = &b
	return err
}

// move gives a row to another client.
func (w *shopWriter) move(tx *sql.Tx, after map[int64]*bill, id int64, b bill) error {
	b.client = 1 + int64(w.rand.IntN(clientCount))
	after[id] = &b
	if w.isNew && w.source == "Parent" {
		return w.exec(tx, `UPDATE bills SET client_id = $2, tenant_id = $3 WHERE id = $1`, id, b.client, tenantOf(w.source, b))
	}
	return w.exec(tx, `UPDATE bills SET client_id = $2 WHERE id = $1`, id, b.client)
}

func (w *shopWriter) exec(tx *sql.Tx, statement string, args ...any) error {
	began := time.Now()
	result, err := tx.Exec(statement, args...)
	w.took(statement, time.Since(began))
	if err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	if n, _ := result.RowsAffected(); n != 1 {
		return errors.New(statement + ": the row is lost")
	}
	return nil
}

func (w *shopWriter) took(what string, d time.Duration) {
	if d > w.longest {
		w.longest, w.worst = d, what
	}
}

// tenantOf is what a bill's tenant should be in the end.
func tenantOf(source string, b bill) string {
	switch {
	case source == "Constant":
		return "o'ne"
	case source != "Parent":
		for _, tenant := range tenants {
			if b.number[:len(tenant)] == tenant {
				return tenant
			}
		}
		return "acme"
	case b.client == 0:
		return "nobody"
	}
	return tenants[(b.client+1)%2]
}
