// Package wiki has the models of examples/quickstart, which examples/doctor takes too.
package wiki

import "time"

// Page is tenant-owned because it has a tenant_id. Titles are unique within a
// tenant: the index starts with the tenant, so one tenant's titles never meet
// another's.
type Page struct {
	ID        int64
	TenantID  string `gorm:"not null;uniqueIndex:pages_tenant_title,priority:1"`
	Title     string `gorm:"not null;uniqueIndex:pages_tenant_title,priority:2"`
	Namespace string `gorm:"not null"`
	Length    int64  `gorm:"not null"` // relative to what it was before the first edit of the file
	Revisions int64  `gorm:"not null"`
	EditedAt  time.Time
}

// Revision is what one edit did to a page. That it is a page of the same tenant the
// foreign key says, to which Protect adds the tenant.
type Revision struct {
	ID       int64
	TenantID string `gorm:"not null;index:revisions_tenant_page,priority:1"`
	PageID   int64  `gorm:"not null;index:revisions_tenant_page,priority:2"`
	Page     *Page
	Comment  string `gorm:"not null"`
	Delta    int64  `gorm:"not null"`
	Minor    bool   `gorm:"not null"`
	Robot    bool   `gorm:"not null"`
	EditedAt time.Time
}

// Models are all of them.
func Models() []any { return []any{&Page{}, &Revision{}} }
