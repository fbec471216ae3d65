// Package models holds the rows of courtroll's two tables and the words that
// its Go code and its SQL share.
//
// Each table has two types. [Tenant] and [AuditLog] are rows: what they hold
// is what the table holds, and a nullable column is a pointer. [NewTenant] and
// [NewAuditLog] are what a caller inserts: every column that has a default may
// be left nil, and the database fills it.
//
// The columns, their order, types, nullability and defaults are a contract:
// another program, in any language, may own or share the two tables.
package models
