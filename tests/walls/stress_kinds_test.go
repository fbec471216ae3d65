package walls

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// errBack is what the body of a transaction returns to have it undone.
var errBack = errors.New("undo it")

// sentinels are tried in this order: an error may match several.
var sentinels = []struct {
	kind string
	err  error
}{
	{"undo", errBack},
	{"another tenant's transaction", tenancy.ErrTransactionTenant},
	{"23505", gorm.ErrDuplicatedKey},
	{"commit was a rollback", pgx.ErrTxCommitRollback},
	{"canceled", context.Canceled},
	{"timeout", context.DeadlineExceeded},
	{"tx done", sql.ErrTxDone},
	{"conn done", sql.ErrConnDone},
	{"bad connection", driver.ErrBadConn},
	{"reset", syscall.ECONNRESET},
	{"broken pipe", syscall.EPIPE},
	{"refused", syscall.ECONNREFUSED},
	{"unexpected EOF", io.ErrUnexpectedEOF},
	{"EOF", io.EOF},
	{"closed", net.ErrClosed},
	{"deadline", os.ErrDeadlineExceeded},
}

// kindOf names an error by what an app could match it with.
func kindOf(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) {
			return s.kind
		}
	}
	if strings.HasSuffix(err.Error(), "conn closed") { // pgx has no name for it
		return "conn closed"
	}
	return fmt.Sprintf("%T %v", err, err)
}

// refusals are kinds after which nothing was committed: the server said so before
// the end of the transaction, or nothing was sent.
var refusals = []string{"undo", "another tenant's transaction", "commit was a rollback", "23505", "40P01", "57014", "22012", "55P03", "25P02"}

// expectedKinds are those of a workload in which connections are killed, contexts
// end and rows are locked.
var expectedKinds = append([]string{
	"canceled", "timeout", "tx done", "conn done", "bad connection",
	"reset", "broken pipe", "unexpected EOF", "EOF", "closed", "deadline", "conn closed",
	"57P01", // terminated by an administrator
}, refusals...)

// kinds counts errors.
type kinds struct {
	mu     sync.Mutex
	counts map[string]int
	sample map[string]string
}

func newKinds() *kinds { return &kinds{counts: map[string]int{}, sample: map[string]string{}} }

func (k *kinds) add(verb string, err error) {
	if err == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	kind := kindOf(err)
	k.counts[kind]++
	k.sample[kind] = fmt.Sprintf("%s: %v", verb, err)
}

func (k *kinds) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(maps.Keys(k.counts))
}

// onlyThese fails the test for each other kind.
func (k *kinds) onlyThese(t *testing.T, expected ...string) {
	t.Helper()
	for _, kind := range k.names() {
		if !slices.Contains(expected, kind) {
			t.Errorf("an error of no expected kind, %d times: %s", k.counts[kind], k.sample[kind])
		}
	}
	t.Logf("errors: %v", k.counts)
}

// isRefusal reports whether an error proves that nothing was committed. Where it
// is that of connecting it must be all there is: GORM puts the error of what came
// next around one that it had before.
func isRefusal(err error) bool {
	_, never := err.(*pgconn.ConnectError) //nolint:errorlint // not within another
	return never || slices.Contains(refusals, kindOf(err))
}

func isDuplicate(err error) bool { return err != nil && kindOf(err) == "23505" }
