// Package migrate makes courtroll's two tables and keeps their indexes and
// functions at the version that this release needs.
//
//	owner, err := gorm.Open(postgres.Open(ownerDSN), &gorm.Config{}) // no plugins
//	_, err = migrate.New(owner, migrate.Config{}).Up(ctx)
//
// [Migrator.Up] may run at every start of every instance. Whatever the number
// of instances, each version is applied once, and an Up that finds nothing to
// do changes nothing. It creates the tables tenants and audit_logs if they do
// not exist. Where they do, another program may have made them and may go on
// using them: Up alters no column, and takes an index that serves a purpose
// already instead of building a second one.
//
// The versions are SQL files that this package carries. Each is recorded in
// the table courtroll_migrations with a checksum of its text. A version runs
// in one transaction with its record, except index builds, which are
// concurrent, so that writers go on meanwhile, and safe to interrupt.
//
// All names are unqualified: tables are found along the search_path, and what
// is created goes into its first schema. Set it in the owner's DSN or on the
// role.
//
// Limits: the owner's connection must be direct or through a pooler in session
// mode, for the lock is a session's. An audit_logs that another program
// partitioned cannot be indexed concurrently; the error is PostgreSQL's.
package migrate
