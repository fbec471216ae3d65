package tenancy

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/identity"
	"github.com/courtroll/courtroll/internal/pgpipe"
)

// Postgres returns GORM's dialector for PostgreSQL, whose connections tell
// row-level security whose each statement is. It takes the place of
// [postgres.Open].
//
// A statement whose context names a tenant carries three settings, by which
// policies and triggers may know it: courtroll.tenant_id, courtroll.actor_id and
// courtroll.request_id (package audit's Actor.ID and Actor.RequestID; empty where
// there are none). They travel in the same message and hold for that statement or
// transaction alone: no round trip is added, and nothing is left on a connection,
// also not on one of a pooler in transaction mode. This includes statements on
// the *sql.DB of [gorm.DB.DB] and on its transactions and prepared statements,
// but not what is done with the *pgx.Conn inside: [database/sql.Conn.Raw] gives a
// driver's connection with the method Conn() *pgx.Conn, which is unbound. In system
// scope the tenant is empty. A context without a tenant binds nothing.
//
// A transaction belongs to the tenant of its context, or of its first statement
// that names one; a statement of another is [ErrTransactionTenant] and is not
// sent. One whose context names none belongs to the transaction's. BEGIN is sent
// with the first statement of the transaction. With a tenant, a statement that
// PostgreSQL refuses in a transaction block (VACUUM) fails.
//
// default_query_exec_mode in the DSN may be cache_statement, which is the
// default, and, for poolers in transaction mode, cache_describe or exec; any
// other makes [gorm.Open] fail. All else is as with postgres.Open, but that a
// statement without arguments whose connection is lost before its answer is not
// sent a second time: pgx's driver does that, though the server may have run it.
func Postgres(dsn string) gorm.Dialector {
	return newDialector(func() (*pgx.ConnConfig, error) { return pgx.ParseConfig(dsn) })
}

// PostgresConfig is [Postgres] for a config made by [pgx.ParseConfig], of which a
// copy is taken, and options of pgx's own driver.
func PostgresConfig(config *pgx.ConnConfig, options ...stdlib.OptionOpenDB) gorm.Dialector {
	config = config.Copy()
	return newDialector(func() (*pgx.ConnConfig, error) { return config.Copy(), nil }, options...)
}

type dialector struct {
	postgres.Dialector
	config  func() (*pgx.ConnConfig, error)
	options []stdlib.OptionOpenDB
}

func newDialector(config func() (*pgx.ConnConfig, error), options ...stdlib.OptionOpenDB) gorm.Dialector {
	return &dialector{Dialector: postgres.Dialector{Config: &postgres.Config{}}, config: config, options: options}
}

// Initialize implements [gorm.Dialector].
func (d *dialector) Initialize(db *gorm.DB) error {
	config, err := d.config()
	if err != nil {
		return err
	}
	setup, err := zoned(config)
	if err != nil {
		return err
	}
	pool, err := pgpipe.Open(config, bindingOf, setup, d.options...)
	if err != nil {
		return fmt.Errorf("tenancy: %w", err)
	}
	return postgres.Dialector{Config: &postgres.Config{Conn: pool}}.Initialize(db)
}

// zoned reads timestamps without zone in the session's, as postgres.Open does.
func zoned(config *pgx.ConnConfig) (func(*pgx.Conn), error) {
	zone := ""
	for name, value := range config.RuntimeParams {
		if strings.EqualFold(name, "timezone") || name == "time_zone" {
			delete(config.RuntimeParams, name)
			config.RuntimeParams["timezone"], zone = value, value
		}
	}
	if zone == "" {
		return nil, nil //nolint:nilnil // there is nothing to set up
	}
	location, err := time.LoadLocation(zone)
	return func(conn *pgx.Conn) {
		conn.TypeMap().RegisterType(&pgtype.Type{
			Name: "timestamp", OID: pgtype.TimestampOID, Codec: &pgtype.TimestampCodec{ScanLocation: location},
		})
	}, err
}

// bindingOf says what the statements of a context are bound to.
func bindingOf(ctx context.Context) (pgpipe.Binding, error) {
	s := scopeOf(ctx)
	if s.check() != nil {
		return pgpipe.Binding{}, nil
	}
	actor, request := identity.From(ctx)
	if s.system != nil {
		return pgpipe.Binding{System: true, Actor: actor, Request: request}, nil
	}
	if !utf8.ValidString(s.tenant) || strings.ContainsRune(s.tenant, 0) {
		return pgpipe.Binding{}, &StatementError{Err: ErrTenantFormat}
	}
	return pgpipe.Binding{Tenant: s.tenant, Actor: actor, Request: request}, nil
}
