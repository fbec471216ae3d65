package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	statementTimeout = time.Minute
	dropAttempts     = 6 // of five seconds each, which DROP DATABASE itself waits
	inUse            = "55006"
)

// create makes the roles and the database. The names are ours, of letters,
// digits and underscores, and need no quotes.
func (d *Database) create(ctx context.Context) error {
	err := d.as(ctx, "", func(conn *pgx.Conn) error {
		var statements []string
		for _, r := range d.roles {
			statements = append(statements, `CREATE ROLE `+r.name+` LOGIN PASSWORD '`+r.secret+`'`)
		}
		// template0 has no surprises: no tables, and a public schema in which only its owner may create.
		statements = append(statements, `CREATE DATABASE `+d.Name+` TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'`)
		return run(ctx, conn, "making roles and database", statements...)
	})
	if err != nil {
		return err
	}
	return d.as(ctx, d.Name, func(conn *pgx.Conn) error {
		// The schema belongs to the database's owner, as a role that a login with NOINHERIT must take on.
		if err := run(ctx, conn, "letting the owner create tables",
			`SET ROLE pg_database_owner`, `GRANT CREATE ON SCHEMA public TO `+d.OwnerRole); err != nil {
			return err
		}
		return conn.QueryRow(ctx, `SELECT ARRAY(SELECT rolname::text FROM pg_roles
			WHERE rolname = session_user AND NOT rolsuper AND pg_has_role(oid, $1::text::name, 'MEMBER'))`, d.OwnerRole).Scan(&d.TrustedRoles)
	})
}

// checkPrivileges names what the login lacks, before anything is made.
func (d *Database) checkPrivileges(ctx context.Context) error {
	var login string
	var createDB, createRole bool
	err := d.as(ctx, "", func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx, `SELECT rolname, rolsuper OR rolcreatedb, rolsuper OR rolcreaterole
			FROM pg_roles WHERE rolname = current_user`).Scan(&login, &createDB, &createRole)
	})
	if err != nil {
		return fmt.Errorf("reading the privileges of the login: %w", err)
	}
	var missing []string
	if !createDB {
		missing = append(missing, "CREATEDB")
	}
	if !createRole {
		missing = append(missing, "CREATEROLE")
	}
	if len(missing) == 0 {
		return nil
	}
	return &PrivilegeError{Role: login, Missing: missing}
}

// PrivilegeError is a login of DATABASE_URL that may not make databases or roles.
type PrivilegeError struct {
	Role    string
	Missing []string // CREATEDB, CREATEROLE
}

// Error implements error.
func (e *PrivilegeError) Error() string {
	return fmt.Sprintf("the login of %s lacks %s, which making a database and roles of the example's own needs: "+
		"ALTER ROLE %s %s, or unset %[1]s for a private server", urlVariable, strings.Join(e.Missing, " and "),
		pgx.Identifier{e.Role}.Sanitize(), strings.Join(e.Missing, " "))
}

// discard drops everything that create may have made, and stops a private server.
func (d *Database) discard(ctx context.Context) error {
	if d.config.URL == "" { // it all goes with the server
		return d.server.Stop()
	}
	ctx = context.WithoutCancel(ctx)
	return d.as(ctx, "", func(conn *pgx.Conn) error {
		var errs []error
		errs = append(errs, d.dropDatabase(ctx, conn))
		for _, role := range slices.Backward(d.roleNames()) {
			errs = append(errs, run(ctx, conn, "dropping role "+role, `DROP ROLE IF EXISTS `+role))
		}
		return errors.Join(errs...)
	})
}

// dropDatabase waits for connections that are being closed. Closing others by
// force is a privilege that the login need not have.
func (d *Database) dropDatabase(ctx context.Context, conn *pgx.Conn) (err error) {
	for range dropAttempts {
		err = run(ctx, conn, "dropping database "+d.Name, `DROP DATABASE IF EXISTS `+d.Name)
		if !hasState(err, inUse) {
			break
		}
	}
	return err
}

func hasState(err error, state string) bool {
	var e interface{ SQLState() string }
	return errors.As(err, &e) && e.SQLState() == state
}

// keep lets the login of the URL read what was kept: nobody knows the passwords
// of the roles any more. It does not become a member of the app's role, which policies
// confine to one tenant.
func (d *Database) keep(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx)
	return d.as(ctx, "", func(conn *pgx.Conn) error {
		roles, readers := strings.Join(d.roleNames(), ", "), d.OwnerRole
		if d.SystemRole != "" {
			readers += ", " + d.SystemRole
		}
		err := run(ctx, conn, "granting the kept roles", `GRANT `+readers+` TO CURRENT_USER`)
		c := conn.Config()
		fmt.Fprintf(d.config.Out, "\nKept database %[1]s. To look at it, and to drop all of it:\n"+
			"  psql -h %[2]s -p %[3]d -U %[4]s -d %[1]s\n"+
			"  psql -h %[2]s -p %[3]d -U %[4]s -d %[6]s -c 'DROP DATABASE %[1]s' -c 'DROP ROLE %[5]s'\n",
			d.Name, c.Host, c.Port, c.User, roles, c.Database)
		return err
	})
}

// as connects as the login of the server's DSN, to its own database or to another.
func (d *Database) as(ctx context.Context, database string, f func(*pgx.Conn) error) error {
	cfg, err := pgx.ParseConfig(d.server.DSN)
	if err != nil {
		return errDSN
	}
	if database != "" {
		cfg.Database = database
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return f(conn)
}

// run runs statements, each to its end: one that is broken off half-way may
// still take effect, after it was cleaned up behind.
func run(ctx context.Context, conn *pgx.Conn, doing string, statements ...string) error {
	for _, sql := range statements {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := runOne(ctx, conn, sql); err != nil {
			return fmt.Errorf("%s: %w", doing, err)
		}
	}
	return nil
}

func runOne(ctx context.Context, conn *pgx.Conn, sql string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), statementTimeout)
	defer cancel()
	_, err := conn.Exec(ctx, sql)
	return err
}
