package audit

import (
	"cmp"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/stmtpool"
	"github.com/courtroll/courtroll/internal/trail"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// Outcome says how an event ended.
type Outcome string

// The outcomes of events.
const (
	Success Outcome = "success"
	Failure Outcome = "failure"
)

// Event is something to record that is no change of a row: a log-in, an
// export, a check of a permission.
type Event struct {
	// Action is noun.verb, as user.login: two parts or more of letters, digits, "_"
	// and "-", joined by ".", of 200 bytes at most. Required. So it is never that of a
	// change; nor may it be system_scope.open, which is recorded by itself, or tenant.delete and
	// tenant.delete_begun, which are package lifecycle's.
	Action string
	// Version is that of the [Definition] that the event is an instance of, and is kept
	// in the metadata under "version". Zero is the newest of its action in
	// [Config.Events], and none where that is nil.
	Version int
	// ResourceType and ResourceID say what was acted on. ResourceType is required.
	// Of ResourceID no more than 1 KiB is kept, with a marker, and a blank one is NULL.
	ResourceType string
	ResourceID   string
	// Outcome is [Success] or [Failure]. Default: Success.
	Outcome Outcome
	// TenantID is the tenant concerned, where the context names none: in system
	// scope. Elsewhere it must be empty or the context's own.
	TenantID string
	// Data is kept in the metadata under "data", as JSON. What stands under a name
	// that speaks of a secret (password, apiToken, X-Api-Key and the like) is
	// redacted at any depth, also in structs and in json.RawMessage. Struct tags of
	// package audit are read of the type that [Define] was given, not of what is in
	// here. What the trail could not hold is changed so that the event is recorded all
	// the same: NUL becomes U+FFFD, texts are cut at 16 KiB with a marker, numbers that
	// no number of PostgreSQL's can hold become texts, and what lies deeper than 64
	// levels is left out, with a marker.
	Data map[string]any
	// BestEffort is for an event that must not keep the app from going on: where it
	// cannot be recorded, [Record] returns nil, and the loss is counted by
	// [Plugin.Lost] and given to [Config.OnLost]. A transaction goes on, for the event
	// is written behind a savepoint, at two more round trips. Where the handle has no
	// plugin, there is nothing to tell of a loss, and so it has no effect.
	// Default: Record returns the error, and a transaction has failed.
	BestEffort bool
}

// Record writes an event to the trail, with the tenant and the actor of ctx. It
// uses db's transaction if db is in one, and the event commits or vanishes with
// it. With no tenant in ctx, as at a failed log-in, the event has none: a function
// of the database that migrate makes writes it, for which the app's login needs no
// right to write entries without a tenant.
//
// An error is an [*EventError], which matches [ErrAudit]. Before anything is sent,
// an event that is wrong in itself is [ErrEvent], and where [Config.Events] is set,
// one that is not in it, or not as it is there, is [ErrUndefinedEvent]. A handle
// without the plugin knows no Config.Events, and records any event.
//
// Of an event with BestEffort these are errors all the same: the two above, and
// [ErrDefinition]; an event that is another tenant's, or not the transaction's
// tenant's, and package tenancy's other errors; [ErrNoActor]; that a system scope
// could not be recorded; and that the transaction could not be kept, as when ctx
// ends while the event is written, which takes the connection with it.
func Record(ctx context.Context, db *gorm.DB, event Event) error {
	if err := record(ctx, db, event, nil); err != nil {
		return &EventError{Action: event.Action, Cause: err}
	}
	return nil
}

// record records an event of a type, nil for one of [Record]'s.
func record(ctx context.Context, db *gorm.DB, event Event, own *eventType) error {
	pool := db.WithContext(ctx).Statement.ConnPool
	p, ok := db.Plugins[PluginName].(*Plugin)
	var defined eventTypes
	if ok {
		defined = p.events
	}
	row, err := checkedRow(ctx, event, defined, own)
	if err != nil {
		return err
	}
	if !ok {
		return row.insert(ctx, pool)
	}
	if actor, _ := ActorFromContext(ctx); p.config.RequireActor && !actor.named() {
		return ErrNoActor
	}
	if err := p.recordScope(ctx, isTransaction(pool)); err != nil {
		return err
	}
	if event.BestEffort {
		return p.attempt(ctx, pool, event, row)
	}
	return row.insert(ctx, pool)
}

// statement is the INSERT of an event, ready to be sent.
type statement struct {
	query string
	args  []any
}

func (s statement) insert(ctx context.Context, pool gorm.ConnPool) error {
	_, err := pool.ExecContext(ctx, s.query, s.args...)
	return err
}

// checkedRow finds what is wrong with an app's event before anything is sent.
func checkedRow(ctx context.Context, event Event, defined eventTypes, own *eventType) (s statement, err error) {
	if err := event.check(); err != nil {
		return s, err
	}
	t, err := defined.find(event, own)
	if err != nil {
		return s, err
	}
	data, err := dataOf(event.Data)
	if err != nil {
		return s, err
	}
	if t != nil {
		if err := t.check(event, data); err != nil {
			return s, err
		}
		withhold(t.schema.Schema(), data)
		event.Version = t.Version
	}
	return eventRow(ctx, event, data)
}

// eventRow returns the entry of an event, of which nothing but the tenant is checked.
func eventRow(ctx context.Context, event Event, data map[string]any) (s statement, err error) {
	e, err := entryOf(ctx)
	if err != nil {
		return s, err
	}
	_, system := tenancy.SystemFromContext(ctx)
	tenant, err := eventTenant(event, e.tenant, system)
	if err != nil {
		return s, err
	}
	metadata, err := eventMetadata(event, data, e.metadata)
	if err != nil {
		return s, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return s, err
	}
	resource, resourceID := orNil(event.ResourceType), orNil(safeText(event.ResourceID, maxResourceID))
	if tenant == nil && !system {
		return statement{`SELECT ` + models.RecordFunction + `($1::uuid, $2, $3, $4, $5, $6, $7::text::jsonb)`,
			[]any{id.String(), e.actor, event.Action, resource, resourceID, e.ip, metadata}}, nil
	}
	return statement{`INSERT INTO ` + trail.Quote(models.AuditLogsTable) + `
		("id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "created_at")
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, clock_timestamp())`,
		[]any{id.String(), e.actor, tenant, event.Action, resource, resourceID, e.ip, metadata}}, nil
}

// maxResourceID keeps an event's resource within an entry of an index: it may be
// what somebody typed into a log-in form.
const maxResourceID = 1 << 10

func eventTenant(event Event, own *string, system bool) (*string, error) {
	switch {
	case system:
		return orNil(event.TenantID), nil
	case event.TenantID != "" && (own == nil || event.TenantID != *own):
		return nil, tenancy.ErrCrossTenant
	}
	return own, nil
}

func eventMetadata(event Event, data map[string]any, common string) (string, error) {
	var m map[string]any
	if err := json.Unmarshal([]byte(common), &m); err != nil {
		return "", err
	}
	m["outcome"] = cmp.Or(event.Outcome, Success)
	if event.Version != 0 {
		m["version"] = event.Version
	}
	if len(data) > 0 {
		m["data"] = safeValue(data, 0)
	}
	text, err := json.Marshal(m)
	return string(text), err
}

// recordSystemScope leaves the record of a system scope before its first statement.
func (p *Plugin) recordSystemScope(db *gorm.DB) {
	if db.Error != nil || db.DryRun {
		return
	}
	if err := p.recordScope(db.Statement.Context, isTransaction(db.Statement.ConnPool)); err != nil {
		_ = db.AddError(&ChangeError{Kind: ErrAudit, Cause: err})
	}
}

// scopeWait bounds the wait for the connection on which a system scope is
// recorded: transactions that hold all connections would wait for each other.
const scopeWait = 5 * time.Second

// recordScope records the system scope of ctx once, on a connection of its
// own: it is committed when this returns, and no rollback takes it back.
func (p *Plugin) recordScope(ctx context.Context, inTransaction bool) error {
	scope, ok := tenancy.SystemFromContext(ctx)
	if !ok {
		return nil
	}
	return scope.Once(func() error {
		if !p.hasSecondConnection(ctx, inTransaction) {
			return errors.New("the first statement of a system scope is in a transaction that holds the pool's only connection")
		}
		ctx, cancel := context.WithTimeout(ctx, scopeWait)
		defer cancel()
		row, err := eventRow(ctx, Event{Action: scopeOpen, ResourceType: "system_scope"}, nil)
		if err == nil {
			err = row.insert(ctx, p.handle.ConnPool)
		}
		if err != nil {
			return scopeError(err)
		}
		return nil
	})
}

// scopeError names the way out where the app's own login tried, which row-level
// security keeps from writing entries without a tenant.
func scopeError(err error) error {
	var state interface{ SQLState() string }
	if errors.As(err, &state) && state.SQLState() == "42501" {
		return fmt.Errorf("recording the system scope: %w: %w", tenancy.ErrSystemLogin, err)
	}
	return fmt.Errorf("recording the system scope: %w", err)
}

// hasSecondConnection reports whether a connection beside the statement's own
// can be had: not where a transaction holds the only one that the pool may open.
func (p *Plugin) hasSecondConnection(ctx context.Context, inTransaction bool) bool {
	pool, err := p.handle.DB()
	// The tenancy plugin may send system scope to another pool.
	if routed, ok := p.handle.ConnPool.(interface {
		DBOf(ctx context.Context) (*sql.DB, error)
	}); ok {
		pool, err = routed.DBOf(ctx)
	}
	return err != nil || !inTransaction || pool.Stats().MaxOpenConnections != 1
}

func isTransaction(pool gorm.ConnPool) bool { return (&stmtpool.Pool{ConnPool: pool}).InTransaction() }
