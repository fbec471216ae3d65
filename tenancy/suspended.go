package tenancy

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgpipe"
	"github.com/courtroll/courtroll/internal/sqllex"
	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/internal/suspension"
	"github.com/courtroll/courtroll/models"
)

// Suspended says what becomes of the statements of a tenant whose row in tenants has
// is_active = false, or which has no row there: one that was deleted is not written
// to by a request that had begun before. System scope is not asked about.
//
// The database is asked for each statement: one that starts after the suspension has
// committed is refused, in every process. A transaction that began before is refused
// at its next statement; one of isolation level REPEATABLE READ or SERIALIZABLE, which
// sees the register as it was when it began, may finish.
//
// With a dialector of [Postgres] the question travels in the message that binds the
// statement, at no round trip more, and covers what is sent on the *sql.DB of
// [gorm.DB.DB]; it holds for all handles on that pool. What is done with the *pgx.Conn
// inside of it is not asked about, and a text of several statements, one of which
// begins or ends a transaction, is [ErrSeveralStatements].
//
// With any other it costs one round trip for each statement and is asked for GORM's
// statements alone, package audit's Record not among them. A statement that writes gets
// a transaction with its question, if it is in none, at two round trips more; where its
// rows outlive it (Row, Rows and Scan of INSERT … RETURNING) it is [ErrNeedsTransaction].
// Each statement has a snapshot of its own: the answer may be older than the statement by
// an instant, in which the suspension commits. Package lifecycle's Delete waits for the
// transactions that are open then. A read outside of a transaction (a SELECT that calls a
// function which writes is one) and its question may be further apart.
type Suspended uint8

const (
	// IgnoreSuspended asks nobody: an inactive tenant works as any other.
	IgnoreSuspended Suspended = iota
	// RefuseSuspended refuses every statement, with [ErrSuspended].
	RefuseSuspended
	// ReadOnlySuspended refuses with [ErrSuspended] what PostgreSQL refuses in a
	// transaction that can only read: writes, whatever makes them, and SELECT … FOR
	// UPDATE. Other reads go on. With a dialector other than [Postgres], Row, Rows and
	// Scan of a suspended tenant outside of a transaction are [ErrNeedsTransaction], and
	// a Row that writes fails with PostgreSQL's own error.
	ReadOnlySuspended
)

var modes = map[Suspended]suspension.Mode{IgnoreSuspended: "", RefuseSuspended: suspension.Refuse, ReadOnlySuspended: suspension.ReadOnly}

// Rules returns the rules that the plugin was made with.
func (p *Plugin) Rules() Rules { return p.config.Rules }

// Suspended returns what becomes of the statements of a suspended tenant.
func (p *Plugin) Suspended() Suspended { return p.config.Suspended }

// watchSuspended makes the driver ask, or else the plugin.
func (p *Plugin) watchSuspended(db *gorm.DB) error {
	mode, known := modes[p.config.Suspended]
	switch {
	case !known:
		return fmt.Errorf("tenancy: Config.Suspended is %d, which means nothing", p.config.Suspended)
	case mode == "":
		return nil
	}
	var function string
	err := stmtpool.ScanRow(db.Statement.Context, db.ConnPool, &function, suspension.FindSQL)
	if err != nil {
		return fmt.Errorf("tenancy: looking for %s: %w", models.AdmitFunction, err)
	}
	if function == "" {
		return &StatementError{Err: ErrCannotAsk}
	}
	pool, err := db.DB()
	if err != nil || !pgpipe.Admit(pool, function, mode) {
		p.asks = suspension.AskSQL(function)
	}
	return nil
}

// asking is the question of one statement, on a connection that does not ask itself.
type asking struct {
	ctx    context.Context //nolint:containedctx // the statement's, which is over before it is
	sql    string
	tenant string
	mode   suspension.Mode
	pool   *stmtpool.Pool
	rows   bool // outlive the callbacks, and a transaction that they open
	exec   bool // its text was written by hand, and no row of it is read
}

// ask puts the question behind the check of the final text.
func (p *Plugin) ask(stmt *gorm.Statement, rows bool) {
	pool, s := stmtpool.Of(stmt), scopeOf(stmt.Context)
	if p.asks == "" || pool == nil || s.system != nil || s.check() != nil || suspension.IsPast(stmt.Context) {
		return
	}
	a := asking{ctx: stmt.Context, sql: p.asks, tenant: s.tenant, mode: modes[p.config.Suspended], pool: pool, rows: rows}
	a.exec = !rows && stmt.Dest == nil
	pool.Verify = append(pool.Verify, a.admit)
}

// admit asks. Where the statement is alone it gets a transaction, if it may write, and
// one that can only read, if the tenant is suspended.
func (a asking) admit(query string, _ []any) error {
	if pgpipe.ReachesNoRow(query) {
		return nil // a transaction that has failed, or has no snapshot yet, takes no question
	}
	if (a.exec || mayWrite(query)) && !a.pool.InTransaction() {
		if a.rows {
			return &StatementError{Err: ErrNeedsTransaction}
		}
		if err := a.pool.Begin(a.ctx); err != nil {
			return err
		}
	}
	suspended, err := a.ask()
	switch {
	case err != nil || !suspended:
		return err
	case !a.pool.InTransaction() && a.rows:
		return &StatementError{Err: ErrNeedsTransaction}
	case !a.pool.InTransaction():
		if err := a.pool.Begin(a.ctx); err != nil {
			return err
		}
		_, err = a.ask()
	}
	a.pool.Explain = func(err error) error { return suspension.Explain(err, true) }
	return err
}

// mayWrite reports whether a text may write by its own words; what the functions do
// that it calls is not known. A text that cannot be read may.
func mayWrite(query string) bool {
	r, err := sqllex.ReadRoutine(query)
	if err != nil || len(r.Writes) > 0 {
		return true
	}
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimLeft(query, "( \t\r\n")), " ")
	return word != "select" && word != "with" && word != "values"
}

func (a asking) ask() (suspended bool, err error) {
	err = stmtpool.ScanRow(a.ctx, a.pool.ConnPool, &suspended, a.sql, a.tenant, string(a.mode))
	return suspended, suspension.Explain(err, false)
}

// isSuspension reports whether the statement was refused to a suspended tenant, also
// where somebody has made another error of that.
func isSuspension(db *gorm.DB) bool {
	pool := stmtpool.Of(db.Statement)
	return errors.Is(db.Error, ErrSuspended) || pool != nil && errors.Is(pool.Err, ErrSuspended)
}
