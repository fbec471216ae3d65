package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/models"
)

// Resource is what entries are about.
type Resource struct {
	// TenantID is whose it is, in system scope. In a tenant's context it must be
	// empty or the context's own.
	TenantID string
	// Type is the name of the table without its schema, ID the key as [ResourceID] makes
	// it. Both are required. Rows of one key in tables of one name are one resource, and
	// a row whose key was changed is another from then on, whose creation is not in the
	// trail.
	Type, ID string
}

// Timeline returns all entries of a resource, oldest first, page by page as they are
// asked for. It ends with the first error, which comes with an empty entry.
func Timeline(ctx context.Context, db *gorm.DB, resource Resource) iter.Seq2[models.AuditLog, error] {
	filter := Filter{TenantID: resource.TenantID, ResourceType: resource.Type, ResourceID: resource.ID, OldestFirst: true, Limit: maxLimit}
	return func(yield func(models.AuditLog, error) bool) {
		if resource.Type == "" || resource.ID == "" {
			yield(models.AuditLog{}, fmt.Errorf("audit: reading a timeline: %w: a resource needs Type and ID", ErrFilter))
			return
		}
		for cursor := ""; ; {
			page, err := List(ctx, db, filter, cursor)
			if err != nil {
				yield(models.AuditLog{}, err)
				return
			}
			for _, entry := range page.Entries {
				if !yield(entry, nil) {
					return
				}
			}
			if cursor = page.Next; cursor == "" {
				return
			}
		}
	}
}

// State is what the trail says of a row at a time.
type State struct {
	// Exists is whether the row was there. A soft-deleted row is.
	Exists bool
	// SoftDeleted is whether it was soft-deleted by then, and not restored.
	SoftDeleted bool
	// Fields are the row's columns as the trail has them: redacted, hashed or cut
	// where they are. One that is not in it was NULL or not there, or is not known:
	// see Partial. Columns stay under the names that they had when they were changed.
	Fields map[string]json.RawMessage
	// Partial is set where the trail does not begin with the row's creation: of the
	// fields, those are known that were changed before or after.
	Partial bool
	// Last is the entry that made it so, nil if there is none by then.
	Last *models.AuditLog
	// Gaps are what the trail up to then contradicts itself in.
	Gaps []Gap
}

// Gap is an entry whose old value is not what the trail had before: something
// changed the row and left no entry, or the column was altered in between. Times
// that GORM sets at every update are none, for an update of them alone leaves no entry.
type Gap struct {
	Entry uuid.UUID
	// Field is the column, empty where the row itself was, or was not, there.
	Field string
}

// AsOf returns the state of a resource at a time, by folding its entries up to then,
// that of the time itself included; the zero time is the newest entry's. Entries have
// the time of the database's clock, from which the app's may differ. Columns that came or went since are no error. An
// error is one of [List]'s, metadata of another form, or [ErrFilter] where a resource
// has entries of several tenants and names none.
func AsOf(ctx context.Context, db *gorm.DB, resource Resource, at time.Time) (State, error) {
	table := modelled(db, resource.Type)
	f := fold{at: at, auto: autoColumns(table)}
	for entry, err := range Timeline(ctx, db, resource) {
		if err == nil {
			err = f.add(entry)
		}
		if err != nil {
			return State{}, err
		}
		if f.whole {
			break
		}
	}
	if deleted, known := f.Fields[table.DeletedAt]; f.Exists && table.DeletedAt != "" && (known || !f.Partial) {
		f.SoftDeleted = isMarked(deleted, table.Flag)
	}
	return f.State, nil
}

// isMarked reports whether the value of a column of soft deletion says that the row is.
func isMarked(value json.RawMessage, flag bool) bool {
	switch unquoted(orNull(value)) {
	case unquoted(orNull(nil)):
		return false
	case "0", "false":
		return !flag
	}
	return true
}

// Diff returns the fields that differ between two states, by name: Old is of s, New
// of the later one. What is not in a state counts as null.
func (s State) Diff(later State) map[string]Change {
	changes := map[string]Change{}
	for _, fields := range []map[string]json.RawMessage{s.Fields, later.Fields} {
		for name := range fields {
			before, after := orNull(s.Fields[name]), orNull(later.Fields[name])
			if !sameJSON(before, after) {
				changes[name] = Change{Old: before, New: after}
			}
		}
	}
	return changes
}

// modelled returns a table as the models say that the plugin knows, empty if it
// knows none.
func modelled(db *gorm.DB, table string) *plan.Audited {
	if p, ok := db.Plugins[PluginName].(*Plugin); ok {
		if s, err := p.audited(nil, table); err == nil && s.table != nil {
			return s.table
		}
	}
	return &plan.Audited{Columns: []plan.Column{{Name: "updated_at", Auto: true}}} // as they are usually
}

// autoColumns returns the columns of a table that GORM sets at every update.
func autoColumns(table *plan.Audited) (names []string) {
	for _, c := range table.Columns {
		if c.Auto {
			names = append(names, c.Name)
		}
	}
	return names
}
