package audit

import (
	"context"
	"fmt"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// Filter narrows what [List] and [Export] read. The zero value is everything that
// the context may see; an entry matches if it matches each field that is set.
type Filter struct {
	// TenantID narrows to one tenant in system scope. In a tenant's context it
	// must be empty or the context's own.
	TenantID string
	// WithoutTenant narrows to system events, which have no tenant. System scope only.
	WithoutTenant bool
	// ActorID, Action, ResourceType and ResourceID narrow to equal values where not
	// empty. [ResourceID] makes the id of a composite key. A ResourceID wants its
	// ResourceType beside it: alone it is looked for in all that the rest finds.
	ActorID      string
	Action       string
	ResourceType string
	ResourceID   string
	// RequestID narrows to what one request did: [Actor.RequestID]. In a tenant behind
	// row-level security, which keeps its index from being used, it is looked for in
	// what the rest finds, so that From and To make it faster.
	RequestID string
	// ChangedField narrows to the changes of a column, by its name in the database. It
	// has no index: it is looked for in what the rest finds.
	ChangedField string
	// From and To narrow to a time: From is in it, To is not. Default: all times.
	From, To time.Time
	// OldestFirst turns the order of [List] round. [Export] has it in any case.
	OldestFirst bool
	// Limit is the number of entries of a page of [List]. Default: 50, also for a
	// negative one. More than 1000 are cut to that.
	Limit int
}

// reading is a filter as the context may use it.
type reading struct {
	filter Filter
	tenant string // empty: of all, or of none
	query  *gorm.DB
	// time is what the entries are ordered by. Across tenants it is an expression
	// of its own: an index of created_at itself would tempt the planner to walk past
	// the entries of all others on its way to one tenant's.
	time, instant string
}

const (
	byTime  = `created_at`
	acrossT = `timezone('UTC', created_at)`
)

// read returns the entries that the context may see and the filter names.
func (f Filter) read(ctx context.Context, db *gorm.DB) (*reading, error) {
	r := &reading{filter: f, query: db.WithContext(ctx).Model(&models.AuditLog{}), time: byTime, instant: `?`}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return nil, fmt.Errorf("%w: From is not before To", ErrFilter)
	}
	if err := r.scope(ctx); err != nil {
		return nil, err
	}
	for _, c := range []struct{ condition, value string }{
		{`actor_id = ?`, f.ActorID},
		{`action = ?`, f.Action},
		{`resource_type = ?`, f.ResourceType},
		{`resource_id = ?`, f.ResourceID},
		{`metadata->>'request_id' = ?`, f.RequestID},
		{`(metadata->'changes'->?::text) IS NOT NULL`, f.ChangedField},
	} {
		if c.value != "" {
			r.query = r.query.Where(c.condition, c.value)
		}
	}
	if !f.From.IsZero() {
		r.query = r.query.Where(r.time+` >= `+r.instant, f.From.UTC())
	}
	if !f.To.IsZero() {
		r.query = r.query.Where(r.time+` < `+r.instant, f.To.UTC())
	}
	r.query = r.query.Session(&gorm.Session{})
	return r, nil
}

func (r *reading) scope(ctx context.Context) error {
	tenant, err := tenancy.FromContext(ctx)
	_, system := tenancy.SystemFromContext(ctx)
	switch {
	case err != nil && !system:
		return err
	case !system && r.filter.WithoutTenant:
		return fmt.Errorf("entries without a tenant are read in system scope: %w", tenancy.ErrCrossTenant)
	case !system && r.filter.TenantID != "" && r.filter.TenantID != tenant:
		return tenancy.ErrCrossTenant
	case r.filter.WithoutTenant && r.filter.TenantID != "":
		return fmt.Errorf("%w: TenantID and WithoutTenant exclude each other", ErrFilter)
	case r.filter.WithoutTenant:
		r.query = r.query.Where(`tenant_id IS NULL`)
		return nil
	case system && r.filter.TenantID == "":
		r.time, r.instant = acrossT, `timezone('UTC', ?::timestamptz)`
		return nil
	case system:
		tenant = r.filter.TenantID
	}
	r.tenant = tenant
	r.query = r.query.Where(`tenant_id = ?`, tenant)
	return nil
}

// page returns up to limit entries behind a position, the zero one being before all.
func (r *reading) page(after position, limit int) ([]models.AuditLog, error) {
	query, way, beyond := r.query, ` DESC`, ` < `
	if r.filter.OldestFirst {
		way, beyond = ``, ` > `
	}
	if after != (position{}) {
		query = query.Where(`(`+r.time+`, id)`+beyond+`(`+r.instant+`, ?)`, after.at, after.id.String())
	}
	var entries []models.AuditLog
	err := query.Order(r.time + way + `, id` + way).Limit(limit).Find(&entries).Error
	return entries, err
}
