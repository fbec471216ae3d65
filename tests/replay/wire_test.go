package replay

import (
	"context"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
)

// wire listens at both ends: as GORM's logger it hears each statement that GORM
// built, and as pgx's tracer what was sent for it. Both go by the operation whose
// context they have.
type wire struct {
	mu       sync.Mutex
	prepared map[preparedName]string
	all      map[string]*traffic
}

type preparedName struct {
	conn *pgx.Conn
	name string
}

// traffic is the statements of one operation, without BEGIN and the like.
type traffic struct {
	built int      // by GORM
	sent  []string // to the server
}

// take returns the traffic since it was last asked, by operation.
func (w *wire) take() map[string]*traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

// count calls f with the traffic of the context's operation, if it has one.
func (w *wire) count(ctx context.Context, f func(*traffic)) {
	actor, ok := audit.ActorFromContext(ctx)
	if !ok {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]*traffic{}
	}
	if w.all[actor.ID] == nil {
		w.all[actor.ID] = &traffic{}
	}
	f(w.all[actor.ID])
}

var (
	control = regexp.MustCompile(`(?i)^\s*(begin|commit|rollback|savepoint|release|deallocate|set transaction)\b`)
	isWrite = regexp.MustCompile(`(?i)\b(INSERT INTO|UPDATE|DELETE FROM) "\w+"`) // as GORM writes it
)

// Trace implements [logger.Interface].
func (w *wire) Trace(ctx context.Context, _ time.Time, text func() (string, int64), _ error) {
	built, _ := text()
	if control.MatchString(built) {
		return
	}
	w.count(ctx, func(t *traffic) { t.built++ })
}

// LogMode implements [logger.Interface].
func (w *wire) LogMode(logger.LogLevel) logger.Interface { return w }

// Info implements [logger.Interface].
func (w *wire) Info(context.Context, string, ...any) {}

// Warn implements [logger.Interface].
func (w *wire) Warn(context.Context, string, ...any) {}

// Error implements [logger.Interface].
func (w *wire) Error(context.Context, string, ...any) {}

// TraceQueryStart implements [pgx.QueryTracer].
func (w *wire) TraceQueryStart(ctx context.Context, conn *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	w.mu.Lock()
	text, ok := w.prepared[preparedName{conn, data.SQL}]
	w.mu.Unlock()
	if !ok {
		text = data.SQL
	}
	if !control.MatchString(text) {
		w.count(ctx, func(t *traffic) { t.sent = append(t.sent, text) })
	}
	return ctx
}

// TraceQueryEnd implements [pgx.QueryTracer].
func (w *wire) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// TracePrepareStart implements [pgx.PrepareTracer].
func (w *wire) TracePrepareStart(ctx context.Context, conn *pgx.Conn, data pgx.TracePrepareStartData) context.Context {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.prepared == nil {
		w.prepared = map[preparedName]string{}
	}
	w.prepared[preparedName{conn, data.Name}] = data.SQL
	return ctx
}

// TracePrepareEnd implements [pgx.PrepareTracer].
func (w *wire) TracePrepareEnd(context.Context, *pgx.Conn, pgx.TracePrepareEndData) {}

// fault says what is wrong with the traffic: a change and its entry are one
// statement, and each of GORM's is sent as one.
func (t *traffic) fault() string {
	for _, text := range t.sent {
		if isWrite.MatchString(text) && !strings.Contains(text, models.AuditLogsTable) {
			return "a change was sent without its entry: " + text
		}
	}
	if len(t.sent) > t.built {
		return "more statements were sent than GORM built:\n" + strings.Join(t.sent, "\n")
	}
	return ""
}
