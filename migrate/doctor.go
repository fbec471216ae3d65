package migrate

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/plan"
)

// Doctor compares the models with the catalogue and with the login of db, and lists
// what undermines the guarantees of [Migrator.Protect], [Migrator.AppendOnly] and
// [Migrator.CaptureByTrigger]: what was left out, altered by hand, or granted since.
// A database that these made, and nobody altered, has no finding.
//
// db is the app's handle: its login is judged, and where the tenancy and audit plugins
// are on it, their Rules and exclusions count. To the models it adds those of the Rules and those
// that they refer to. With no model at all, every table that has the tenant column is
// taken for one of the app's. A handle of the tables' owner works, and its login is a
// finding.
//
// Which role is the app's, which sees every tenant and which are trusted is read from
// our policies; where there is none, the login is the app's.
//
// It reads the catalogue alone, in a read-only transaction, and needs no privilege and
// no tenant. On a second connection it finds out what a session begins with, and whether
// a pooler stands between. It may be called at any time and by any number of goroutines.
// An error means that it could not look: [ErrInTransaction], or the database's.
func Doctor(ctx context.Context, db *gorm.DB, models ...any) (Findings, error) {
	if _, ok := db.Statement.ConnPool.(gorm.TxCommitter); ok {
		return nil, ErrInTransaction
	}
	pool, err := db.DB()
	if err != nil {
		return nil, fmt.Errorf("migrate: reading the handle's pool: %w", err)
	}
	d := &doctor{db: db, plugins: db.Plugins}
	if err := d.examine(ctx, pool, models); err != nil {
		return nil, fmt.Errorf("migrate: examining the database: %w", err)
	}
	return d.findings.sorted(), nil
}

// doctor is one examination.
type doctor struct {
	*protectRun // reads, in tx, and has no Config but what was found

	db       *gorm.DB
	plugins  map[string]gorm.Plugin
	registry *plan.Registry
	column   string // the tenant column
	modelled bool   // there are models to compare with

	login  string                        // of the session
	app    string                        // the role that policies confine, empty if none is known
	shared []*guarded                    // tables that are declared shared, of those that exist
	later  []func(context.Context) error // what findAll found, for when the roles are known
	rights rights

	sequencesOf map[int64][]sequence // by the table that they are for

	fresh     *freshSession // nil if none could be had
	schemas   []string      // the search_path of the session at hand
	database  string
	standIns  []impostor
	impostors map[int64]bool // by oid

	findings Findings
}

// steps are what is looked at, in an order that matters to nobody: the findings are sorted.
func (d *doctor) steps() []func(context.Context) error {
	return []func(context.Context) error{
		d.checkTables, d.checkPolicies,
		d.checkLogins, d.checkOwners, d.checkSettings, d.checkPath,
		d.checkGrants, d.checkObjects,
	}
}

func (d *doctor) examine(ctx context.Context, pool *sql.DB, models []any) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // it has changed nothing
	rules, err := d.rules()
	if err != nil {
		return err
	}
	d.protectRun = &protectRun{cfg: Config{Rules: rules}.withDefaults(), db: d.db, tx: tx}
	d.findFresh(ctx, conn)
	if d.schemas, err = queryStrings(ctx, tx, `SELECT unnest(pg_catalog.current_schemas(false))::text`); err != nil {
		return err
	}
	if err := d.findAll(ctx, models); err != nil {
		return err
	}
	if err := d.leaveSearchPath(ctx); err != nil {
		return err
	}
	if err := d.findRoles(ctx); err != nil {
		return err
	}
	if err := d.findRights(ctx); err != nil {
		return err
	}
	for _, step := range d.steps() {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ruled is a plugin of ours: it says what it was given.
type ruled interface{ Rules() plan.Rules }

// rules are those of the plugins on the handle.
func (d *doctor) rules() (rules Rules, err error) {
	for _, name := range []string{pluginPrefix + "tenancy", pluginPrefix + "audit"} {
		p, ok := d.plugins[name].(ruled)
		if !ok {
			continue
		}
		given := p.Rules()
		rules.Models = append(rules.Models, given.Models...)
		rules.Shared = append(rules.Shared, given.Shared...)
		if rules.TenantColumn == "" {
			rules.TenantColumn = given.TenantColumn
		}
	}
	return rules, nil
}

// report adds a finding.
func (d *doctor) report(f Finding) { d.findings = append(d.findings, f) }

// ourRoles is what one of our policies names.
type ourRoles struct {
	Table  int64    `json:"table"`
	Policy string   `json:"policy"`
	Roles  []string `json:"roles"`
}

// findRoles reads who is who from our policies. Where they disagree, most are right.
func (d *doctor) findRoles(ctx context.Context) error {
	login, err := queryStrings(ctx, d.tx, `SELECT current_user::text`)
	if err != nil {
		return err
	}
	d.login = login[0]
	list, err := readRows[ourRoles](ctx, d.tx, `
		SELECT p.polrelid::bigint AS table, p.polname AS policy,
			ARRAY(SELECT coalesce(o.rolname, '`+public+`')::text FROM unnest(p.polroles) m (oid) LEFT JOIN pg_roles o ON o.oid = m.oid ORDER BY 1) AS roles
		FROM pg_policy p WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND obj_description(p.oid, 'pg_policy') LIKE '`+notePrefix+`{%'`, d.set.oids())
	if err != nil {
		return err
	}
	if d.cfg.AppRole = usual(list, "courtroll_floor", "courtroll_app", "courtroll_app_select"); d.cfg.AppRole == "" || d.cfg.AppRole == public {
		if d.cfg.AppRole, err = d.loginAsApp(ctx); err != nil {
			return err
		}
	}
	d.app = d.cfg.AppRole
	d.cfg.SystemRole = usual(list, "courtroll_system", "courtroll_system_select")
	if trusted := usual(list, "courtroll_trusted"); trusted != "" {
		d.cfg.TrustedRoles = strings.Split(trusted, "\x00")
	}
	d.cfg.TrustedRoles = slices.DeleteFunc(d.cfg.TrustedRoles, func(role string) bool { return role == public || role == d.app })
	return d.findRetention(ctx)
}

// usual returns the roles that most policies of these names have, joined by a zero.
func usual(list []ourRoles, names ...string) string {
	count, best := map[string]int{}, ""
	for _, p := range list {
		if slices.Contains(names, p.Policy) {
			roles := strings.Join(p.Roles, "\x00")
			count[roles]++
			if n := count[roles] - count[best]; best == "" || n > 0 || n == 0 && roles < best {
				best = roles
			}
		}
	}
	return best
}

// loginAsApp takes the login for the app's role, unless it is one that no policy binds.
func (d *doctor) loginAsApp(ctx context.Context) (string, error) {
	bound, err := queryStrings(ctx, d.tx, `SELECT rolname::text FROM pg_roles r WHERE rolname = current_user AND NOT rolsuper AND NOT rolbypassrls
		AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = ANY ($1::bigint[]::oid[]) AND pg_has_role(c.relowner, 'MEMBER'))`, d.set.oids())
	if err != nil || len(bound) == 0 {
		return "", err
	}
	return bound[0], nil
}
