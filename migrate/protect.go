package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"gorm.io/gorm"
)

// Protection is what one Protect or Unprotect did and saw.
type Protection struct {
	// Changed are the statements that were run, in order. It is empty if there was
	// nothing to do.
	Changed []string
	// Drifted names what had been altered by hand and was repaired: a policy as
	// "schema.table.policy", a table whose row-level security had been switched off
	// as "schema.table".
	Drifted []string
	// Foreign names, as "schema.table.policy", the policies that are not ours. They
	// are left alone: none opens to the app's role what our restrictive one closes.
	Foreign []string
	// Reported is what row-level security or the keys do not cover, and nobody but
	// the operator can judge.
	Reported []Report
}

// Report is something that Protect leaves alone and the operator should look at.
type Report struct {
	Object string // "view public.totals", "constraint public.pages.fk_pages_book"
	Reason string
}

// Protect makes the database itself keep tenants apart: on the tables of the
// models, on those of [Rules.Models], on their many2many join tables that have the
// tenant column, and always on tenants and audit_logs. A shared model is skipped.
// It is run by the tables' owner, after [Migrator.Up] and after AutoMigrate, and
// may run at every start of every instance: one works, the others wait, and where
// nothing is to be done nothing is changed.
//
//   - Row-level security is enabled and forced: [Config.AppRole] sees and writes the
//     rows of the tenant that the setting [models.TenantSetting] names, none without
//     it, and a restrictive policy keeps any other from opening more.
//     [Config.SystemRole] and [Config.TrustedRoles] see every row. The owner sees
//     none any more, outside of DDL.
//   - A foreign key between two protected tables includes the tenant column, under
//     its name, so that no row refers to another tenant's. GORM's associations
//     between them that have no key in the database get one.
//   - A unique index without the tenant column begins with it, under its name. Of a
//     constraint that GORM's tag unique stands for, GORM would make the old one
//     again: that is [ErrUniqueTag].
//   - AppRole may SELECT, INSERT, UPDATE and DELETE on the app's tables, SELECT and
//     INSERT on audit_logs, SELECT on tenants and UPDATE its columns name, logo and
//     updated_at; SystemRole likewise, and all four on tenants. Both may use the
//     columns' sequences and run our three functions. All else on these is revoked, and
//     everything on courtroll_migrations.
//
// Everything is one transaction: an error, of which most are a [ProtectError], leaves
// the database as it was. It takes ACCESS EXCLUSIVE locks on the tables that it
// changes and reads them for the keys that it adds; where it does not get one it
// steps back, and tries again as [Config.TableLockTimeout] says.
//
// Another program that owns a table, or is a member of its owner, would find it empty
// without any error: Protect refuses with an [UntrustedError] until Config.TrustedRoles
// names its login. One that logs in as the very role of this handle cannot be told from
// it: give it a login of its own first.
//
// A table with rows that have no tenant, or whose [Migrator.Adopt] is not finished, is
// [ErrHalfAdopted].
//
// A unique index that was scoped is no longer the one that ON CONFLICT (slug) asks
// for: name the tenant column there, too.
//
// What a foreign key or unique index was is kept in its comment for
// [Migrator.Unprotect]. A key between a protected table and one that has the
// tenant column and is not protected stays as it is, and is in
// [Protection.Reported].
func (m *Migrator) Protect(ctx context.Context, models ...any) (Protection, error) {
	if m.cfg.AppRole == "" {
		return Protection{}, ErrNoAppRole
	}
	return m.protection(ctx, models, (*protectRun).protect)
}

// Unprotect takes back what [Migrator.Protect] did, on the same tables: those of
// the models, of [Rules.Models], tenants and audit_logs. It drops our policies,
// switches row-level security to what it was, and restores the foreign keys and
// unique indexes. A policy that is not ours, the roles and the grants stay.
//
// It is all or nothing, as Protect is. [ErrStillReferenced] means that a protected
// table which was not given refers to one that was: give both. A unique index that
// several tenants' rows would violate is [ErrRowsViolate].
func (m *Migrator) Unprotect(ctx context.Context, models ...any) (Protection, error) {
	return m.protection(ctx, models, (*protectRun).unprotect)
}

// protection runs one of the two, or of those in capture.go, under the lock of Up.
func (m *Migrator) protection(ctx context.Context, models []any, run func(*protectRun, context.Context, []any) error) (Protection, error) {
	pool, err := m.pool()
	if err != nil {
		return Protection{}, err
	}
	var done Protection
	cfg := m.cfg.withDefaults()
	err = withLock(ctx, pool, cfg, func(conn *sql.Conn) error {
		err := cfg.untilFree(ctx, func() error {
			return inTransaction(ctx, conn, func(tx *sql.Tx) error {
				r := &protectRun{cfg: cfg, db: m.db, tx: tx}
				err := run(r, ctx, models)
				done = r.done
				return err
			})
		})
		if err != nil {
			return fmt.Errorf("migrate: %w", err)
		}
		return nil
	})
	if err != nil {
		return Protection{}, err // a failed COMMIT, too, has changed nothing
	}
	return done, nil
}

// protectRun is one Protect or Unprotect inside its transaction.
type protectRun struct {
	cfg  Config
	db   *gorm.DB // it reads models, and runs nothing
	tx   transaction
	set  tableSet
	done Protection

	retains bool // AppendOnly has made the function that removes entries
	drafts  bool // statements are kept in done.Changed, and not run
}

// transaction is what one reads and writes in.
type transaction interface {
	session
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// protect first refuses what it can, since a refusal before the first statement
// holds no table up.
func (r *protectRun) protect(ctx context.Context, models []any) error {
	if err := r.begin(ctx, models); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		r.checkAdopted, r.ensureRoles, r.checkRoles, r.checkPrivileges, r.ensureKeys, r.ensurePolicies, r.ensureGrants, r.report,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// begin finds the tables along the search_path and then leaves it: with nothing
// but pg_catalog in it the server writes every name in a definition with its
// schema, so that a definition can be kept, compared and run again.
func (r *protectRun) begin(ctx context.Context, models []any) error {
	if err := r.findTables(ctx, models); err != nil {
		return err
	}
	return r.leaveSearchPath(ctx)
}

func (r *protectRun) leaveSearchPath(ctx context.Context) error {
	for _, setting := range []string{
		`SET LOCAL search_path = pg_catalog, pg_temp`,
		`SET LOCAL statement_timeout = 0`,
		`SET LOCAL standard_conforming_strings = on`,
		`SET LOCAL quote_all_identifiers = off`,
	} {
		if _, err := r.tx.ExecContext(ctx, setting); err != nil {
			return err
		}
	}
	return r.cfg.limitLocks(ctx, r.tx)
}

// exec runs a statement that changes the database.
func (r *protectRun) exec(ctx context.Context, format string, args ...any) error {
	statement := fmt.Sprintf(format, args...)
	if r.drafts {
		r.done.Changed = append(r.done.Changed, statement)
		return nil
	}
	if _, err := r.tx.ExecContext(ctx, statement); err != nil {
		return err
	}
	r.done.Changed = append(r.done.Changed, statement)
	r.cfg.Logger.DebugContext(ctx, "changed", slog.String("statement", statement))
	return nil
}

func (r *protectRun) reportf(object, format string, args ...any) {
	r.done.Reported = append(r.done.Reported, Report{Object: object, Reason: fmt.Sprintf(format, args...)})
}
