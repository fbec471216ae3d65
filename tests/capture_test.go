package tests

import (
	"context"
	"database/sql"
	"sync"

	"gorm.io/gorm"
)

// sentSQL records what a handle sends, BEGIN and COMMIT included.
type sentSQL struct {
	gorm.ConnPool
	mu   sync.Mutex
	log  []string
	args []any // of the last query
}

// recordSQL puts a recorder between the handle and its pool.
func recordSQL(db *gorm.DB) *sentSQL {
	s := &sentSQL{ConnPool: db.Statement.ConnPool}
	db.ConnPool, db.Statement.ConnPool = s, s
	return s
}

func (s *sentSQL) add(sql string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, sql)
}

// take returns what was sent since it was last asked.
func (s *sentSQL) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	log := s.log
	s.log = nil
	return log
}

func (s *sentSQL) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s.add(query)
	return s.ConnPool.ExecContext(ctx, query, args...)
}

func (s *sentSQL) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s.add(query)
	s.args = args
	return s.ConnPool.QueryContext(ctx, query, args...)
}

func (s *sentSQL) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s.add(query)
	return s.ConnPool.QueryRowContext(ctx, query, args...)
}

func (s *sentSQL) BeginTx(ctx context.Context, opts *sql.TxOptions) (gorm.ConnPool, error) {
	s.add("BEGIN")
	tx, err := s.ConnPool.(gorm.TxBeginner).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &sentTx{Tx: tx, sent: s}, nil
}

// sentTx records what a transaction sends.
type sentTx struct {
	*sql.Tx
	sent *sentSQL
}

func (t *sentTx) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	t.sent.add(query)
	return t.Tx.ExecContext(ctx, query, args...)
}

func (t *sentTx) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	t.sent.add(query)
	return t.Tx.QueryContext(ctx, query, args...)
}

func (t *sentTx) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	t.sent.add(query)
	return t.Tx.QueryRowContext(ctx, query, args...)
}

func (t *sentTx) Commit() error {
	t.sent.add("COMMIT")
	return t.Tx.Commit()
}

func (t *sentTx) Rollback() error {
	t.sent.add("ROLLBACK")
	return t.Tx.Rollback()
}
