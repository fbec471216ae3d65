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
// that they refer to. With no model at all, every table that has the tenant column, and
// that the login gets at or Protect knows, is taken for one of the app's. A handle of the
// tables' owner works, and its login is a finding: which versions Up has applied, nobody
// but the owner can read.
//
// Which role is the app's, which sees every tenant and which are trusted is read from
// our policies; where there is none, the login is the app's.
//
// It reads the catalogue alone, in a read-only transaction, and needs no privilege and
// no tenant. On a connection of its own, beside the pool's, it finds out what a session
// begins with, and behind a pooler by trial whether prepared statements survive there. It
// may be called at any time and by any number of goroutines. An error means that it could
// not look: [ErrInTransaction], or the database's.
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

	login   string                        // of the session
	app     string                        // the role that policies confine, empty if none is known
	shared  []*guarded                    // tables that are declared shared, of those that exist
	later   []func(context.Context) error // what findAll found, for when the roles are known
	rights  rights
	renamed []int64 // tables that have another name, or whose tenant column has, and views in their place

	sequencesOf map[int64][]sequence // by the table that they are for

	fresh     *freshSession // nil if none could be had
	schemas   []string      // the search_path of the session at hand
	database  string
	standIns  []impostor
	impostors map[int64]bool // by oid

	modeled     []*audited // the tables that models write
	uuidHome    string     // the schemas in which the login finds courtroll_uuidv7,
	recordsHome string     // and the versions' table, empty if it does not
	uuidSQL     string     // the call of it, and audit_logs, as functions for capture have them
	trailSQL    string
	searched    []string     // the schemas that the login searches
	pending     map[int]bool // versions that are known not to be recorded
	appends     *appendRun   // what AppendOnly makes, nil without audit_logs

	findings Findings
}

// steps are what is looked at. The findings are sorted, so that the order matters to none
// but checkInstalled, which does not miss an index that is gone with its column: that is
// checkColumns' to find.
func (d *doctor) steps() []func(context.Context) error {
	return []func(context.Context) error{
		d.checkTables, d.checkPolicies,
		d.checkLogins, d.checkOwners, d.checkSettings, d.checkPath, d.checkGrants, d.checkObjects,
		d.checkKeys, d.checkIndexes,
		d.checkTrail, d.checkColumns, d.checkInstalled, d.checkCapture, d.checkCascades,
	}
}

func (d *doctor) examine(ctx context.Context, pool *sql.DB, models []any) (err error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := d.read(ctx, conn, models); err != nil {
		return err
	}
	return d.checkPooler(ctx, conn)
}

func (d *doctor) read(ctx context.Context, conn *sql.Conn, models []any) error {
	d.findFresh(ctx, conn) // before a transaction keeps the only connection of a pooler's
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer tx.Rollback() // it has changed nothing
	d.protectRun = &protectRun{cfg: Config{Rules: d.rules()}.withDefaults(), db: d.db, tx: reader(conn, tx)}
	if d.schemas, err = queryStrings(ctx, d.tx, `SELECT unnest(pg_catalog.current_schemas(false))::text`); err != nil {
		return err
	}
	find := []func(context.Context) error{
		func(ctx context.Context) error { return d.findAll(ctx, models) }, d.findOurs,
		func(ctx context.Context) error { return d.findAudited(ctx, models) },
		d.leaveSearchPath, d.findMoved, d.findRoles, d.findRights, d.findTrail,
	}
	for _, step := range append(find, d.steps()...) {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// ruled is a plugin of ours: it says what it was given.
type ruled interface{ Rules() plan.Rules }

// rules are those of the plugins on the handle.
func (d *doctor) rules() (rules Rules) {
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
	return rules
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
		FROM pg_policy p WHERE p.polrelid = ANY ($1::bigint[]::oid[]) AND p.polname LIKE 'courtroll\_%'`, d.set.oids())
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
