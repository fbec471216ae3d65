package audit

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// Filter narrows what [List] returns. The zero value is everything that the
// context may see.
type Filter struct {
	// TenantID narrows to one tenant in system scope. In a tenant's context it
	// must be empty or the context's own.
	TenantID string
	// WithoutTenant narrows to system events, which have no tenant. System scope only.
	WithoutTenant bool
	// ActorID, Action, ResourceType and ResourceID narrow to equal values where not empty.
	ActorID      string
	Action       string
	ResourceType string
	ResourceID   string
	// Limit is the number of entries of a page. Default: 50, also for a negative
	// one. More than 1000 are cut to that.
	Limit int
}

const (
	defaultLimit = 50
	maxLimit     = 1000
)

// Page is one page of the trail, newest first.
type Page struct {
	Entries []models.AuditLog
	// Next is the cursor of the page after this one, empty if this is the last.
	Next string
}

// List returns the entries of the trail that match the filter, newest first,
// from the cursor of an earlier page or, where it is empty, from the start. A
// tenant's context sees the entries of that tenant, a system scope sees all;
// any other context is [tenancy.ErrNoTenant]. Pages do not shift while writers
// insert. A cursor that List did not make is [ErrCursor].
func List(ctx context.Context, db *gorm.DB, filter Filter, cursor string) (Page, error) {
	query := db.WithContext(ctx).Model(&models.AuditLog{})
	query, err := scoped(ctx, query, filter)
	if err != nil {
		return Page{}, err
	}
	if query, err = after(query, cursor); err != nil {
		return Page{}, err
	}
	limit := filter.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	limit = min(limit, maxLimit)
	var page Page
	err = query.Order("created_at DESC, id DESC").Limit(limit + 1).Find(&page.Entries).Error
	if err != nil {
		return Page{}, fmt.Errorf("audit: listing: %w", err)
	}
	if len(page.Entries) > limit {
		page.Entries = page.Entries[:limit]
		page.Next = cursorOf(page.Entries[limit-1])
	}
	return page, nil
}

func scoped(ctx context.Context, query *gorm.DB, filter Filter) (*gorm.DB, error) {
	tenant, err := tenancy.FromContext(ctx)
	_, system := tenancy.SystemFromContext(ctx)
	switch {
	case err != nil && !system:
		return nil, fmt.Errorf("audit: listing: %w", err)
	case !system && (filter.WithoutTenant || filter.TenantID != "" && filter.TenantID != tenant):
		return nil, fmt.Errorf("audit: listing: %w", tenancy.ErrCrossTenant)
	case !system:
		query = query.Where("tenant_id = ?", tenant)
	case filter.WithoutTenant:
		query = query.Where("tenant_id IS NULL")
	case filter.TenantID != "":
		query = query.Where("tenant_id = ?", filter.TenantID)
	}
	for _, f := range []struct{ column, value string }{
		{"actor_id", filter.ActorID},
		{"action", filter.Action},
		{"resource_type", filter.ResourceType},
		{"resource_id", filter.ResourceID},
	} {
		if f.value != "" {
			query = query.Where(f.column+" = ?", f.value)
		}
	}
	return query, nil
}

// A cursor is the place of an entry in the order of the list. It holds no
// filter and no tenant: whoever forges one reads on in his own list.
const cursorSize = 8 + 16

func cursorOf(entry models.AuditLog) string {
	raw := binary.BigEndian.AppendUint64(make([]byte, 0, cursorSize), uint64(entry.CreatedAt.UnixMicro()))
	return base64.RawURLEncoding.EncodeToString(append(raw, entry.ID[:]...))
}

func after(query *gorm.DB, cursor string) (*gorm.DB, error) {
	if cursor == "" {
		return query, nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) != cursorSize {
		return nil, fmt.Errorf("audit: listing: %w", ErrCursor)
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw))).UTC()
	return query.Where("(created_at, id) < (?, ?)", at, uuid.UUID(raw[8:]).String()), nil
}

// Change is the change of one column: its value before and after as JSON, null
// for SQL's NULL and where the row was not there.
type Change struct {
	Old json.RawMessage `json:"old"`
	New json.RawMessage `json:"new"`
}

// Changes returns the changed columns of an entry by name, empty if it is an event.
func Changes(entry models.AuditLog) (map[string]Change, error) {
	if entry.Metadata == nil {
		return nil, nil
	}
	var metadata struct {
		Changes map[string]Change `json:"changes"`
	}
	if err := json.Unmarshal(*entry.Metadata, &metadata); err != nil {
		return nil, fmt.Errorf("audit: reading the metadata of entry %s: %w", entry.ID, err)
	}
	return metadata.Changes, nil
}
