package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"gorm.io/gorm"
)

// makeOldTables makes the tables of an app that knows no tenants.
func makeOldTables(ctx context.Context, owner *gorm.DB, app string, rows int) error {
	for _, statement := range []string{
		`CREATE TABLE customers (id bigserial PRIMARY KEY, region text NOT NULL)`,
		`CREATE TABLE invoices (id bigserial PRIMARY KEY, customer_id bigint NOT NULL CONSTRAINT fk_invoices_customer REFERENCES customers, number text NOT NULL)`,
		`INSERT INTO customers (region) SELECT CASE n % 2 WHEN 0 THEN 'North' ELSE 'South' END FROM generate_series(1, 1000) n`,
		`GRANT SELECT, INSERT, UPDATE ON customers, invoices TO ` + app,
		`GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ` + app,
	} {
		if err := owner.WithContext(ctx).Exec(statement).Error; err != nil {
			return err
		}
	}
	fill := `INSERT INTO invoices (customer_id, number) SELECT 1 + n % 1000, 'old-' || n FROM generate_series(1, ?) n`
	return errors.Join(owner.WithContext(ctx).Exec(fill, rows).Error,
		owner.WithContext(ctx).Exec(`CREATE UNIQUE INDEX idx_invoices_number ON invoices (number)`).Error)
}

// load is the old version of the app at work.
type load struct {
	stop func()
	wg   sync.WaitGroup

	mu         sync.Mutex
	err        error
	worst      time.Duration
	statements int
}

// startLoad has the old version read, insert and move invoices until end.
func startLoad(ctx context.Context, app *gorm.DB) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{stop: stop}
	for _, statement := range []string{
		`SELECT number FROM invoices WHERE id = (SELECT 1 + floor(random() * 1000)::bigint)`,
		`INSERT INTO invoices (customer_id, number) VALUES (1 + floor(random() * 1000)::bigint, gen_random_uuid()::text)`,
		`UPDATE invoices SET customer_id = 1 + customer_id % 1000 WHERE id = (SELECT 1 + floor(random() * 1000)::bigint)`,
	} {
		l.wg.Go(func() {
			for ; ctx.Err() == nil; time.Sleep(2 * time.Millisecond) {
				began := time.Now()
				err := app.Exec(statement).Error // brought to its end, whatever ends
				l.took(time.Since(began), err)
			}
		})
	}
	return l
}

func (l *load) took(d time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.worst, l.err = max(l.worst, d), errors.Join(l.err, err)
	l.statements++
}

// end ends the load, and returns the errors that it met.
func (l *load) end() error {
	l.stop()
	l.wg.Wait()
	return l.err
}

func (l *load) longest() time.Duration { return l.worst }

func (l *load) count() int { return l.statements }
