package audit

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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
	// Outcome narrows to events that ended so. A change has none.
	Outcome Outcome
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
	// negative one. More than 1000 are cut to that. [Export] does not look at it.
	Limit int
}

// reading is a filter as the context may use it.
type reading struct {
	filter Filter
	tenant string // empty: of all, or of none
	where  []condition
	key    []byte // of cursors
	// time is what the entries are ordered by. Across tenants it is an expression
	// of its own: an index of created_at itself would tempt the planner to walk past
	// the entries of all others on its way to one tenant's.
	time, instant string
}

type condition struct {
	sql  string
	args []any
}

// read returns the entries that the context may see and the filter names.
func (f Filter) read(ctx context.Context, db *gorm.DB) (*reading, error) {
	r := &reading{filter: f, time: `created_at`, instant: `?`}
	if p, ok := db.Plugins[PluginName].(*Plugin); ok {
		r.key = p.config.CursorKey
	}
	if err := f.check(); err != nil {
		return nil, err
	}
	if db.DryRun {
		return nil, fmt.Errorf("%w: the handle is a dry run", ErrFilter)
	}
	if err := r.scope(ctx); err != nil {
		return nil, err
	}
	r.equal(`actor_id = ?`, f.ActorID)
	r.equal(`action = ?`, f.Action)
	if f.Action != "" && f.Action != "create" && f.Action != "update" {
		// For those two, which most entries are, the index of actions costs too much.
		r.where = append(r.where, condition{sql: `action NOT IN ('create', 'update')`})
	}
	r.equal(`metadata->>'outcome' = ?`, string(f.Outcome))
	r.ofType(f.ResourceType)
	r.equal(`resource_id = ?`, f.ResourceID)
	r.equal(`metadata->>'request_id' = ?`, f.RequestID)
	r.equal(`(metadata->'changes'->?::text) IS NOT NULL`, f.ChangedField)
	r.bound(` >= `, f.From)
	r.bound(` < `, f.To)
	return r, nil
}

// The times that PostgreSQL has.
var (
	firstTime = time.Date(-4712, 1, 1, 0, 0, 0, 0, time.UTC)
	lastTime  = time.Date(294276, 1, 1, 0, 0, 0, 0, time.UTC)
)

// check finds what the server would refuse, with which a caller's transaction ended,
// or take for something else.
func (f Filter) check() error {
	for _, text := range []string{f.TenantID, f.ActorID, f.Action, string(f.Outcome), f.ResourceType, f.ResourceID, f.RequestID, f.ChangedField} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%w: a text of the filter is no UTF-8, or has a NUL", ErrFilter)
		}
	}
	for _, at := range []time.Time{f.From, f.To} {
		if !at.IsZero() && (at.Before(firstTime) || at.After(lastTime)) {
			return fmt.Errorf("%w: From and To are between 4713 BC and the year 294276", ErrFilter)
		}
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return fmt.Errorf("%w: From is not before To", ErrFilter)
	}
	return nil
}

func (r *reading) scope(ctx context.Context) error {
	tenant, err := tenancy.FromContext(ctx)
	_, system := tenancy.SystemFromContext(ctx)
	switch f := r.filter; {
	case err != nil && !system:
		return err
	case !system && f.WithoutTenant:
		return &refusal{"entries without a tenant are read in system scope: use tenancy.AsSystem", tenancy.ErrCrossTenant}
	case !system && f.TenantID != "" && f.TenantID != tenant:
		return &refusal{"TenantID names another tenant than the context: leave it empty, or use tenancy.AsSystem", tenancy.ErrCrossTenant}
	case f.WithoutTenant && f.TenantID != "":
		return fmt.Errorf("%w: TenantID and WithoutTenant exclude each other", ErrFilter)
	case f.WithoutTenant:
		r.where = append(r.where, condition{sql: `tenant_id IS NULL`})
		return nil
	case system && f.TenantID == "":
		r.time, r.instant = `timezone('UTC', created_at)`, `timezone('UTC', ?::timestamptz)`
		return nil
	case system:
		tenant = f.TenantID
	}
	r.tenant = tenant
	r.equal(`tenant_id = ?`, tenant)
	return nil
}

func (r *reading) equal(sql, value string) {
	if value != "" {
		r.where = append(r.where, condition{sql, []any{value}})
	}
}

// ofType narrows to a type, which the text of the statement names: a plan that is
// made for any type walks through all of a tenant's entries to those of a rare one.
func (r *reading) ofType(name string) {
	if plainName.MatchString(name) {
		r.where = append(r.where, condition{sql: `resource_type = '` + name + `'`})
		return
	}
	r.equal(`resource_type = ?`, name)
}

// plainName has nothing that could end a literal, or that GORM takes for a parameter.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,63}$`)

// bound narrows to a time, if there is one. An entry's time has microseconds: what
// lies between two is the later one.
func (r *reading) bound(operator string, at time.Time) {
	if !at.IsZero() {
		at = at.Add(time.Microsecond - 1).Truncate(time.Microsecond)
		r.where = append(r.where, condition{r.time + operator + r.instant, []any{at.UTC()}})
	}
}

// bare returns a handle with nothing of db's but its connection and ctx: a condition
// left on it would hide entries.
func bare(ctx context.Context, db *gorm.DB) *gorm.DB {
	return db.Session(&gorm.Session{NewDB: true, Context: ctx})
}

// page returns a query for up to limit entries behind a position.
func (r *reading) page(db *gorm.DB, after position, limit int) *gorm.DB {
	way, beyond := ` DESC`, ` < `
	if r.filter.OldestFirst {
		way, beyond = ``, ` > `
	}
	where := r.where
	if after.behind {
		where = append(slices.Clone(where), condition{`(` + r.time + `, id)` + beyond + `(` + r.instant + `, ?)`, []any{after.at, after.id.String()}})
	}
	query := db.Model(&models.AuditLog{})
	for _, c := range where {
		query = query.Where(c.sql, c.args...)
	}
	return query.Order(r.time + way + `, id` + way).Limit(limit)
}
