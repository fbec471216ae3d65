package pgpipe

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// tx is a transaction, which belongs to one tenant.
type tx struct {
	conn    *Conn
	ctx     context.Context //nolint:containedctx // BeginTx's, as pgx's driver keeps it: Commit has none
	pending string          // the BEGIN that is not sent yet
	binding Binding
	lost    bool // the BEGIN failed: what follows would run outside of a transaction
}

// join returns what a statement in the transaction is bound to. One whose
// context names no tenant is the transaction's; the first that names one gives
// it to a transaction that has none.
func (t *tx) join(ctx context.Context, b Binding) (Binding, error) {
	switch {
	case t.lost:
		return b, errLost
	case b.isZero():
		return t.binding, nil
	case t.binding.isZero() || MaySwitch(ctx):
		t.binding = b
	case b.Tenant != t.binding.Tenant || b.System != t.binding.System:
		return b, ErrTransactionTenant
	}
	return b, nil
}

// begin sends the BEGIN by itself, for what is done without this package. Where
// it fails the connection is given up: that would run outside of the transaction.
func (t *tx) begin() {
	if t.pending == "" {
		return
	}
	if _, err := t.conn.inner.Conn().Exec(t.ctx, t.pending); err != nil {
		t.lost = true
		t.giveUp()
	}
	t.pending = ""
}

// giveUp closes the connection at once, and the server rolls back.
func (t *tx) giveUp() {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
	cancel()
	_ = t.conn.inner.Conn().Close(ctx)
}

// Commit implements [driver.Tx].
func (t *tx) Commit() error {
	if t.lost {
		_ = t.end("rollback")
		return errLost
	}
	return t.end("commit")
}

// Rollback implements [driver.Tx].
func (t *tx) Rollback() error { return t.end("rollback") }

func (t *tx) end(command string) error {
	t.conn.tx = nil
	if t.pending != "" || t.lost {
		return nil
	}
	tag, err := t.conn.inner.Conn().Exec(t.ctx, command)
	if err != nil {
		if t.conn.status() != 'I' {
			t.giveUp()
		}
		return err
	}
	if command == "commit" && tag.String() == "ROLLBACK" {
		return pgx.ErrTxCommitRollback
	}
	return nil
}
