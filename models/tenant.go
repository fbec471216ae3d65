package models

import "time"

// Tenant is a row of the tenants table.
//
// Its timestamps are in UTC. A false IsActive is stored as it stands, so a
// Tenant that was not filled in is inactive, while an empty Plan and a zero
// time take their defaults; [NewTenant] is the type to insert when all
// defaults are wanted.
type Tenant struct {
	// ID is the tenant's key, as [NewTenant.ID] was given.
	ID string `gorm:"column:id;type:text;primaryKey"`
	// Name is what people call the tenant.
	Name string `gorm:"column:name;type:text;not null"`
	// Slug is the tenant's unique short name, for subdomains and paths.
	Slug string `gorm:"column:slug;type:text;not null;unique"`
	// Domain is the e-mail domain of the tenant's people, nil when there is none.
	Domain *string `gorm:"column:domain;type:text"`
	// Logo is the address of the tenant's logo, nil when there is none.
	Logo *string `gorm:"column:logo;type:text"`
	// IsActive is false for a tenant that is suspended or closed.
	IsActive bool `gorm:"column:is_active;type:boolean DEFAULT true;not null"`
	// Plan is the billing tier.
	Plan string `gorm:"column:plan;type:text;not null;default:'free'"`
	// CreatedAt is set once, when the row is made.
	CreatedAt time.Time `gorm:"column:created_at;type:timestamptz;not null;default:now()"`
	// UpdatedAt moves with every update through GORM.
	UpdatedAt time.Time `gorm:"column:updated_at;type:timestamptz;not null;default:now();autoUpdateTime"`
}

// TableName returns [TenantsTable].
func (Tenant) TableName() string { return TenantsTable }

// NewTenant is what a caller inserts into the tenants table: ID, Name and Slug
// are required, and a nil field takes the column's default.
type NewTenant struct {
	// ID is the tenant's key: any text that is not blank and never changes.
	ID string `gorm:"column:id;type:text;primaryKey"`
	// Name is what people call the tenant.
	Name string `gorm:"column:name;type:text;not null"`
	// Slug is the tenant's unique short name, for subdomains and paths.
	Slug string `gorm:"column:slug;type:text;not null;unique"`
	// Domain is the e-mail domain of the tenant's people. Default: none.
	Domain *string `gorm:"column:domain;type:text"`
	// Logo is the address of the tenant's logo. Default: none.
	Logo *string `gorm:"column:logo;type:text"`
	// IsActive may be false for a tenant that is made before it may be used. Default: true.
	IsActive *bool `gorm:"column:is_active;type:boolean;not null;default:true"`
	// Plan is the billing tier. Default: 'free'.
	Plan *string `gorm:"column:plan;type:text;not null;default:'free'"`
	// CreatedAt is for imports that keep history. Default: the database's clock.
	CreatedAt *time.Time `gorm:"column:created_at;type:timestamptz;not null;default:now();autoCreateTime:false"`
	// UpdatedAt is for imports that keep history. Default: the database's clock.
	UpdatedAt *time.Time `gorm:"column:updated_at;type:timestamptz;not null;default:now();autoUpdateTime:false"`
}

// TableName returns [TenantsTable].
func (NewTenant) TableName() string { return TenantsTable }
