package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
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
	// Action is noun.verb, as user.login. Required.
	Action string
	// ResourceType and ResourceID say what was acted on. ResourceType is required.
	ResourceType string
	ResourceID   string
	// Outcome defaults to [Success].
	Outcome Outcome
	// TenantID is the tenant concerned, where the context names none: in system
	// scope. Elsewhere it must be empty or the context's own.
	TenantID string
	// Data is kept in the metadata under "data", as JSON.
	Data map[string]any
}

// Record writes an event to the trail, with the tenant and the actor of ctx. It
// uses db's transaction if db is in one, and the event commits or vanishes with
// it. With no tenant in ctx, as at a failed log-in, the event has none: a function
// of the database that migrate makes writes it, for which the app's login needs no
// right to write entries without a tenant. Errors match [ErrAudit].
func Record(ctx context.Context, db *gorm.DB, event Event) error {
	if err := record(ctx, db, event); err != nil {
		return &ChangeError{Kind: ErrAudit, Cause: err}
	}
	return nil
}

func record(ctx context.Context, db *gorm.DB, event Event) error {
	if strings.TrimSpace(event.Action) == "" || strings.TrimSpace(event.ResourceType) == "" {
		return errors.New("an event needs an action and a resource type")
	}
	pool := db.WithContext(ctx).Statement.ConnPool
	if p, ok := db.Plugins[PluginName].(*Plugin); ok {
		if actor, _ := ActorFromContext(ctx); p.config.RequireActor && !actor.named() {
			return ErrNoActor
		}
		if err := p.recordScope(ctx, isTransaction(pool)); err != nil {
			return err
		}
	}
	return insert(ctx, pool, event)
}

func insert(ctx context.Context, pool gorm.ConnPool, event Event) error {
	e, err := entryOf(ctx)
	if err != nil {
		return err
	}
	_, system := tenancy.SystemFromContext(ctx)
	tenant, err := eventTenant(event, e.tenant, system)
	if err != nil {
		return err
	}
	metadata, err := eventMetadata(event, e.metadata)
	if err != nil {
		return err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return err
	}
	if tenant == nil && !system {
		_, err = pool.ExecContext(ctx, `SELECT `+models.RecordFunction+`($1::uuid, $2, $3, $4, $5, $6, $7::text::jsonb)`,
			id.String(), e.actor, event.Action, event.ResourceType, orNil(event.ResourceID), e.ip, metadata)
		return err
	}
	_, err = pool.ExecContext(ctx, `INSERT INTO `+trail.Quote(models.AuditLogsTable)+`
		("id", "actor_id", "tenant_id", "action", "resource_type", "resource_id", "ip_address", "metadata", "created_at")
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8::text::jsonb, clock_timestamp())`,
		id.String(), e.actor, tenant, event.Action, event.ResourceType, orNil(event.ResourceID), e.ip, metadata)
	return err
}

func eventTenant(event Event, own *string, system bool) (*string, error) {
	switch {
	case system:
		return orNil(event.TenantID), nil
	case event.TenantID != "" && (own == nil || event.TenantID != *own):
		return nil, tenancy.ErrCrossTenant
	}
	return own, nil
}

func eventMetadata(event Event, common string) (string, error) {
	var m map[string]any
	if err := json.Unmarshal([]byte(common), &m); err != nil {
		return "", err
	}
	m["outcome"] = Success
	if event.Outcome != "" {
		m["outcome"] = event.Outcome
	}
	if len(event.Data) > 0 {
		m["data"] = event.Data
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
		if err := insert(ctx, p.handle.ConnPool, Event{Action: "system_scope.open", ResourceType: "system_scope"}); err != nil {
			return fmt.Errorf("recording the system scope: %w", err)
		}
		return nil
	})
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
