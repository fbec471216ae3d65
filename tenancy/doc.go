// Package tenancy makes every statement of a GORM app belong to one tenant.
//
//	err = db.Use(tenancy.New(tenancy.Config{}))
//	ctx = tenancy.WithTenant(ctx, "acme")
//	db.WithContext(ctx).Create(&Project{Name: "roof"}) // tenant_id = acme
//	db.WithContext(ctx).Find(&projects)                // acme's projects alone
//
// # What is guaranteed
//
// A statement sees and changes the rows of its context's tenant and no others,
// or it fails with an error that says what to do, and changes nothing. A
// created row is stamped with the tenant; a row, an update or an upsert that
// names another tenant is refused, and an upsert that meets another tenant's
// row fails with [gorm.ErrDuplicatedKey]. Without a tenant in the context,
// statements on tenant-owned tables send nothing. The only way across tenants
// is [AsSystem], which needs a reason.
//
// A table is tenant-owned if its model has the tenant column. The tables of
// [github.com/courtroll/courtroll/models] are known: a tenant sees its own row
// of tenants and its own rows of audit_logs.
//
// # What is not
//
// SQL written by hand is refused where it reaches a tenant-owned table or cannot
// be read. What a function does that it calls is not seen, nor are statements
// that go to the *sql.DB behind GORM, and a view that is declared shared shows
// what it shows. A foreign key may be pointed at another tenant's row. Database
// constraints are the walls for these.
package tenancy
