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
// # The second and the third wall
//
// [Postgres] is a dialector whose connections tell row-level security whose each
// statement is, at no extra round trip. On tables that migrate's Protect has
// given policies and composite keys, and with Config.RowLevelSecurity,
// the database confines what the plugin cannot: SQL written by hand, a library
// that takes the *sql.DB, a reference to another tenant's row. System scope then
// is a login of its own, Config.System. [Verify] proves the policies at the
// start, and [Resolve] finds a tenant before there is one.
//
// # What is not
//
// Without row-level security, SQL written by hand is refused where it reaches a
// tenant-owned table or cannot be read; statements that go to the *sql.DB behind
// GORM are not seen; and a foreign key may be pointed at another tenant's row.
// With it, whoever can run SQL of his own can set the tenant too: the policies
// stop mistakes. In both cases what a function does that it calls is not seen,
// and a view that is declared shared shows what it shows.
package tenancy
