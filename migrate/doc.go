// Package migrate makes courtroll's two tables, keeps their indexes and
// functions at the version that this release needs, and makes the database keep
// an app's tenants apart.
//
//	owner, err := gorm.Open(postgres.Open(ownerDSN), &gorm.Config{}) // no plugins
//	_, err = migrate.New(owner, migrate.Config{}).Up(ctx)
//
// [Migrator.Up] may run at every start of every instance. Whatever the number
// of instances, each version is applied once, and an Up that finds nothing to
// do changes nothing. It creates the tables tenants and audit_logs if they do
// not exist. Where they do, another program may have made them and may go on
// using them: Up alters no column and no row, and takes an index that serves a purpose
// already instead of building a second one. [Migrator.Plan] says what it would do,
// [Migrator.Widen] alters a type where it is asked to, [Migrator.Down] undoes a version.
//
// The versions are SQL files that this package carries. Each is recorded in
// the table courtroll_migrations with a checksum of its text. A version runs
// in one transaction with its record, except index builds, which are
// concurrent, so that writers go on meanwhile, and safe to interrupt.
//
// [Migrator.Protect] is the second wall, which holds whatever SQL reaches the
// database: row-level security, foreign keys that cannot point at another
// tenant's row, and grants. It runs after Up and the app's AutoMigrate:
//
//	cfg := migrate.Config{AppRole: "shop_app", SystemRole: "shop_system"}
//	done, err := migrate.New(owner, cfg).Protect(ctx, &Project{}, &Invoice{})
//
// [Migrator.CaptureByTrigger] makes the database write the audit trail by itself,
// for changes that package audit does not see: SQL by hand, cascades, other
// triggers. It runs after AutoMigrate, too:
//
//	captured, err := migrate.New(owner, cfg).CaptureByTrigger(ctx, &Project{}, &Invoice{})
//
// [Migrator.Adopt] brings the tenant column to a table of an app that knew none, while
// the app goes on writing; [Migrator.AppendOnly] keeps the trail as it was written, and
// [Migrator.Retain] removes what is too old. Whatever alters a table steps back for the
// app, as [Config.TableLockTimeout] says. [Doctor] examines a database and lists what
// undermines all this.
//
// The database knows whose a transaction is by [models.TenantSetting]. A login
// without a tenant, at a log-in say, has two functions, and any login a third. They
// stand beside the table tenants and run with the owner's rights:
//
//	courtroll_resolve_tenant(kind, value) -- 'id', 'slug' or 'domain': id and is_active
//	courtroll_record_event(id, actor_id, action, resource_type, resource_id, ip_address, metadata)
//	courtroll_admit(tenant, mode) -- refuses a tenant that is not active
//
// Roles are made without a password: ALTER ROLE shop_app PASSWORD '…' is the
// operator's to say.
//
// All names of Up are unqualified: tables are found along the search_path, and
// what is created goes into its first schema. Set it in the owner's DSN or on the
// role.
//
// Limits: a table is confined from the moment that Protect has named it, so run
// it after each AutoMigrate. Who may set the tenant's setting freely is any
// tenant. Once row-level security is forced the owner sees no rows: data
// migrations run as SystemRole, dumps as a role with BYPASSRLS. The owner's
// connection must be direct or through a pooler in session mode, for the lock is
// a session's. An audit_logs that another program partitioned cannot be indexed
// concurrently; the error is PostgreSQL's.
package migrate
