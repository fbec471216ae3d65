package migrate

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/courtroll/courtroll/models"
)

// ourSettings are all that the library sets. Each is for one transaction: a value that a
// session begins with is there when nobody set any.
var ourSettings = []string{
	models.TenantSetting, models.ActorSetting, models.RequestSetting, models.CapturedSetting, definerSetting, retentionSetting, retentionEnd,
}

// preset is a value that the catalogue gives to a role's sessions. Role and Database are
// empty where it is for all.
type preset struct {
	Role     string `json:"role"`
	Database string `json:"database"`
	Name     string `json:"name"`
	Value    string `json:"value"`
}

// String is where it stands, for people.
func (p preset) String() string {
	text := "setting " + p.Name
	switch {
	case p.Role != "" && p.Database != "":
		return text + " of role " + p.Role + " in database " + p.Database
	case p.Role != "":
		return text + " of role " + p.Role
	case p.Database != "":
		return text + " of database " + p.Database
	}
	return text + " of all roles"
}

// alter begins the statement that changes it.
func (p preset) alter() string {
	switch {
	case p.Role == "" && p.Database != "":
		return "ALTER DATABASE " + ident(p.Database)
	case p.Role == "":
		return "ALTER ROLE ALL"
	case p.Database != "":
		return "ALTER ROLE " + ident(p.Role) + " IN DATABASE " + ident(p.Database)
	}
	return "ALTER ROLE " + ident(p.Role)
}

func (p preset) reset() string {
	return p.alter() + " RESET " + ident(strings.Split(p.Name, ".")...) + ";"
}

// precedence is the server's: the more particular counts.
func (p preset) precedence() int {
	n := 0
	if p.Role != "" {
		n += 2
	}
	if p.Database != "" {
		n++
	}
	return n
}

// presetsOf returns what a role's sessions begin with here, by the setting's name.
func (d *doctor) presetsOf(ctx context.Context, role string) (map[string]preset, error) {
	list, err := readRows[preset](ctx, d.tx, `
		SELECT coalesce(r.rolname::text, '') AS role, coalesce(b.datname::text, '') AS database,
			lower(split_part(c, '=', 1)) AS name, substr(c, strpos(c, '=') + 1) AS value
		FROM pg_db_role_setting s CROSS JOIN LATERAL unnest(s.setconfig) c
		LEFT JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database b ON b.oid = s.setdatabase
		WHERE (s.setrole = 0 OR r.rolname = $1) AND (s.setdatabase = 0 OR b.datname = current_database()) ORDER BY 3, 1, 2`, role)
	found := map[string]preset{}
	for _, p := range list {
		if old, taken := found[p.Name]; !taken || p.precedence() > old.precedence() {
			found[p.Name] = p
		}
	}
	return found, err
}

// checkSettings looks at what the sessions of the logins begin with: by the catalogue, and
// on a new connection by the DSN and the server's configuration, too. The connection at
// hand may be older than the catalogue's last change.
func (d *doctor) checkSettings(ctx context.Context) error {
	reported := map[string]bool{}
	for _, role := range []string{d.rights.session, d.app, d.cfg.SystemRole, d.cfg.RetentionRole} {
		if role == "" {
			continue
		}
		presets, err := d.presetsOf(ctx, role)
		if err != nil {
			return err
		}
		for name, p := range presets {
			if fault, ok := d.faulty(name, p.Value); ok && !reported[p.String()] {
				reported[p.String()] = true
				d.report(Finding{fault.code, fault.severity, p.String(), "sessions begin with it: " + fault.why, p.reset() + " -- open sessions keep it until they end"})
			}
		}
		if role == d.rights.session {
			d.checkFresh(presets)
		}
	}
	return d.checkFreeSettings(ctx, reported)
}

// checkFreeSettings looks at what the sessions of those begin with who see every tenant:
// whose a statement is, is theirs to say. Policies and triggers bind them all the same.
func (d *doctor) checkFreeSettings(ctx context.Context, reported map[string]bool) error {
	roles := slices.Clone(d.cfg.TrustedRoles)
	for _, g := range d.set.list {
		roles = append(roles, g.Owner)
	}
	for _, role := range roles {
		presets, err := d.presetsOf(ctx, role)
		if err != nil {
			return err
		}
		for _, name := range []string{"session_replication_role", definerSetting, retentionSetting, retentionEnd} {
			p := presets[name]
			if fault, ok := d.faulty(name, p.Value); ok && !reported[p.String()] {
				reported[p.String()] = true
				if name != "session_replication_role" {
					fault.why = "it is how our functions tell the policies and triggers to let the owner pass, and with it they let him pass always"
				}
				d.report(Finding{fault.code, fault.severity, p.String(), "sessions begin with it: " + fault.why, p.reset() + " -- open sessions keep it until they end"})
			}
		}
	}
	return nil
}

// checkFresh reports of a new session what the catalogue does not explain.
func (d *doctor) checkFresh(presets map[string]preset) {
	if d.fresh == nil {
		return
	}
	for name, value := range d.fresh.Settings {
		fault, ok := d.faulty(name, value)
		if p, known := presets[name]; !ok || name == "synchronous_commit" || known && p.Value == value {
			continue
		}
		d.report(Finding{fault.code, fault.severity, "setting " + name + " of the connection", "sessions of the handle begin with it: " + fault.why,
			"-- take it out of the DSN, the pooler's configuration or postgresql.conf, and connect again"})
	}
}

// fault is what a setting's value does.
type fault struct {
	code     Code
	severity Severity
	why      string
}

func (d *doctor) faulty(name, value string) (fault, bool) {
	switch {
	case strings.HasPrefix(name, settingPrefix) && value != "":
		return fault{CodeSettingPreset, SeverityError, ledBy(name)}, true
	case (name == "role" || name == "session_authorization") && value != "" && value != "none" && value != "default" && !d.reach(value, "")[d.app]:
		return fault{CodeSettingRole, SeverityError, fmt.Sprintf("statements run as %q, and the policies for the app's role do not count", value)}, true
	case name == "session_replication_role" && strings.EqualFold(value, "replica"):
		return fault{CodeSettingReplica, SeverityError, "neither the triggers that capture changes nor those of foreign keys fire"}, true
	case name == "row_security" && isOff(value):
		return fault{CodeSettingRowSecurity, SeverityWarning, "a statement that a policy would filter fails instead"}, true
	case name == "standard_conforming_strings" && isOff(value):
		return fault{CodeSettingStrings, SeverityWarning, "a backslash ends strings elsewhere than package tenancy reads, so that it checks another text than the server runs"}, true
	case name == "synchronous_commit" && isOff(value):
		return fault{CodeSettingAsync, SeverityWarning, "a crash loses what was committed shortly before, with its entries in the trail"}, true
	}
	return fault{}, false
}

// ledBy says what follows where a session begins with one of our settings.
func ledBy(name string) string {
	switch name {
	case models.TenantSetting:
		return "SQL that sets no tenant sees and writes the rows of this one, instead of none"
	case models.ActorSetting, models.RequestSetting:
		return "a change of which nobody said whose it is enters the trail with it"
	case models.CapturedSetting:
		return "the triggers take changes for recorded that nobody has recorded"
	}
	return "what the library opens for one statement of its own is open to all"
}

// settingPrefix begins the names of our settings.
const settingPrefix = "courtroll."

// isOff reports whether the server reads a value as false.
func isOff(value string) bool {
	return slices.Contains([]string{"0", "off", "of", "no", "n", "false", "fals", "fal", "fa", "f"}, strings.ToLower(strings.TrimSpace(value)))
}

// freshSession is what a new connection of the handle begins with.
type freshSession struct {
	Settings map[string]string
	Path     []string // the schemas that names are looked up in, in order
	Pinned   bool     // by the DSN
}

// freshTimeout bounds what is no more than a look.
const freshTimeout = 5 * time.Second

// findFresh opens a connection as the handle's pool does. Where it cannot, because the
// driver is another or no connection is left, what only it shows is not looked at.
func (d *doctor) findFresh(ctx context.Context, conn *sql.Conn) {
	var config *pgx.ConnConfig
	_ = conn.Raw(func(c any) error {
		if c, ok := c.(interface{ Conn() *pgx.Conn }); ok {
			config = c.Conn().Config()
		}
		return nil
	})
	if config == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, freshTimeout)
	defer cancel()
	config.DefaultQueryExecMode = pgx.QueryExecModeExec // a pooler may give each statement another server's session
	session, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer session.Close(ctx)
	names := slices.Concat(ourSettings, []string{"role", "session_replication_role", "row_security", "standard_conforming_strings"})
	var path, values []string
	if err := session.QueryRow(ctx, `SELECT pg_catalog.current_schemas(false)::text[],
		ARRAY(SELECT coalesce(pg_catalog.current_setting(n, true), '') FROM pg_catalog.unnest($1::text[]) WITH ORDINALITY AS u (n, i) ORDER BY i)`, names).Scan(&path, &values); err != nil {
		return
	}
	_, pinned := config.RuntimeParams["search_path"]
	d.fresh = &freshSession{Settings: map[string]string{}, Path: path, Pinned: pinned || strings.Contains(config.RuntimeParams["options"], "search_path")}
	for i, name := range names {
		d.fresh.Settings[name] = values[i]
	}
}
