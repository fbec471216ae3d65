package tenancy

import (
	"context"
	"fmt"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/models"
)

// Lookup is how a tenant is looked for: [BySlug], [ByDomain] or [ByID].
type Lookup struct{ kind, value string }

// BySlug looks for the tenant with the slug, as it is written.
func BySlug(slug string) Lookup { return Lookup{"slug", slug} }

// ByDomain looks for the tenant with the e-mail domain of its people. A domain of
// several tenants is that of none.
func ByDomain(domain string) Lookup { return Lookup{"domain", domain} }

// ByID looks for the tenant with the id, to learn whether it may work.
func ByID(id string) Lookup { return Lookup{"id", id} }

// Resolve returns the id of an active tenant, before any tenant is known: at a
// log-in. It needs neither a tenant in ctx nor a right to read the table: the
// database answers by a function that tells id and is_active alone, which
// migrate makes. Anything but one active tenant is [ErrUnknownTenant].
func Resolve(ctx context.Context, db *gorm.DB, by Lookup) (string, error) {
	nobody := context.WithValue(ctx, contextKey{}, scope{})
	rows, err := db.WithContext(nobody).Statement.ConnPool.QueryContext(nobody,
		`SELECT id, is_active FROM `+models.ResolveFunction+`($1, $2)`, by.kind, by.value)
	if err != nil {
		return "", fmt.Errorf("tenancy: resolving a tenant by %s: %w", by.kind, err)
	}
	defer rows.Close()
	var found []string
	for rows.Next() {
		var id string
		var active bool
		if err := rows.Scan(&id, &active); err != nil {
			return "", fmt.Errorf("tenancy: resolving a tenant by %s: %w", by.kind, err)
		}
		if active {
			found = append(found, id)
		}
	}
	if err := rows.Err(); err != nil {
		return "", fmt.Errorf("tenancy: resolving a tenant by %s: %w", by.kind, err)
	}
	if len(found) != 1 {
		return "", &StatementError{Table: models.TenantsTable, Err: ErrUnknownTenant}
	}
	return found[0], nil
}
