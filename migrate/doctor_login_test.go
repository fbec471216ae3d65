package migrate_test

import (
	"database/sql"
	"strings"
	"testing"

	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
)

func TestDoctor_Login(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	group, _ := p.role(t, "group", "")
	p.suffers(t, []ailment{
		{"superuser", `ALTER ROLE {app} SUPERUSER`, migrate.CodeRoleSuperuser, "role {app}", ""},
		{"bypass", `ALTER ROLE {app} BYPASSRLS`, migrate.CodeRoleBypassRLS, "role {app}", ""},
		{"creates roles", `ALTER ROLE {app} CREATEROLE`, migrate.CodeRoleCreateRole, "role {app}", ""},
		{"replicates", `ALTER ROLE {app} REPLICATION`, migrate.CodeRoleReplication, "role {app}", ""},
		{"system superuser", `ALTER ROLE {system} SUPERUSER`, migrate.CodeRoleSuperuser, "role {system}", ""},
		{"retention superuser", `ALTER ROLE {retention} BYPASSRLS`, migrate.CodeRoleBypassRLS, "role {retention}", ""},
		{"owns a table", `ALTER TABLE books OWNER TO {app}`, migrate.CodeRoleOwner, "table public.books", ""},
		{"owns the trail", `ALTER TABLE audit_logs OWNER TO {app}`, migrate.CodeRoleOwner, "table public.audit_logs", ""},
		{"owns the register", `ALTER TABLE tenants OWNER TO {app}`, migrate.CodeRoleOwner, "table public.tenants", ""},
		{"owns the versions", `ALTER TABLE courtroll_migrations OWNER TO {app}`, migrate.CodeRoleOwner, "table public.courtroll_migrations", ""},
		{"system owns", `ALTER TABLE tags OWNER TO {system}`, migrate.CodeRoleOwner, "table public.tags", ""},
		{"owns the schema", `ALTER SCHEMA public OWNER TO {app}`, migrate.CodeRoleOwner, "schema public", ""},
		{"owns the database", `ALTER DATABASE ` + p.Name + ` OWNER TO {app}`, migrate.CodeRoleOwner, "database " + p.Name, ""},
		{"another owns", `ALTER TABLE shelves OWNER TO {other}`, migrate.CodeTableOwner, "table public.shelves", migrate.SeverityWarning},
		{"in owner", `GRANT {owner} TO {app}`, migrate.CodeMemberOwner, "membership of {app} in {owner}", ""},
		{"in system", `GRANT {system} TO {app}`, migrate.CodeMemberSystem, "membership of {app} in {system}", ""},
		{"in trusted", `GRANT {reports} TO {app}`, migrate.CodeMemberTrusted, "membership of {app} in {reports}", ""},
		{"in retention", `GRANT {retention} TO {app}`, migrate.CodeMemberRetention, "membership of {app} in {retention}", ""},
		{"admin of system", `GRANT {system} TO {app} WITH ADMIN OPTION`, migrate.CodeMemberSystem, "membership of {app} in {system}", ""},
		{"through a group", `GRANT {system} TO ` + group + `; GRANT ` + group + ` TO {app}`, migrate.CodeMemberSystem, "membership of {app} in " + group, ""},
		{"in a role that bypasses", `REVOKE {system} FROM ` + group + `; ALTER ROLE {other} BYPASSRLS; GRANT {other} TO {app}`, migrate.CodeMemberPrivileged, "membership of {app} in {other}", ""},
		{"writes all", `ALTER ROLE {other} NOBYPASSRLS; GRANT pg_write_all_data TO {app}`, migrate.CodeMemberPredefined, "membership of {app} in pg_write_all_data", ""},
		{"reads all", `GRANT pg_read_all_data TO {app}`, migrate.CodeMemberPredefined, "membership of {app} in pg_read_all_data", ""},
		{"runs programs", `GRANT pg_execute_server_program TO {app}`, migrate.CodeMemberPredefined, "membership of {app} in pg_execute_server_program", ""},
		{"watches", `GRANT pg_monitor TO {app}`, migrate.CodeMemberPredefined, "membership of {app} in pg_monitor", migrate.SeverityWarning},
		{"reads files", `GRANT pg_read_server_files TO {retention}`, migrate.CodeMemberPredefined, "membership of {retention} in pg_read_server_files", ""},
		{"system in owner", `GRANT {owner} TO {system}`, migrate.CodeMemberOwner, "membership of {system} in {owner}", migrate.SeverityWarning},
		{"system in app", `GRANT {app} TO {system}`, migrate.CodeMemberApp, "membership of {system} in {app}", migrate.SeverityWarning},
		{"owner in app", `GRANT {app} TO {owner}`, migrate.CodeMemberApp, "membership of {owner} in {app}", migrate.SeverityWarning},
		{"trusted in app", `GRANT {app} TO {reports}`, migrate.CodeMemberApp, "membership of {reports} in {app}", migrate.SeverityWarning},
		{"retention in app", `GRANT {app} TO {retention}`, migrate.CodeMemberApp, "membership of {retention} in {app}", migrate.SeverityWarning},
	})
	t.Run("harmless", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`GRANT `+group+` TO {app}; GRANT pg_read_all_stats, pg_read_all_data TO {system}; GRANT pg_read_all_settings TO {app}`))
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
}

// TestDoctor_OtherLogins examines with logins that are not the app's.
func TestDoctor_OtherLogins(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	member, login := p.role(t, "member", "")
	p.super.exec(t, p.names.Replace(`GRANT {app} TO `+member))
	asks := func(t *testing.T, code migrate.Code, object, fix string) {
		t.Helper()
		found, err := migrate.Doctor(t.Context(), p.Open(postgres.New(postgres.Config{Conn: login}), nil), append(libraryModels, &Country{})...)
		if err != nil {
			t.Fatal(err)
		}
		// The bare handle does not know what is shared.
		found = migrate.Findings(without(found, migrate.CodeUnclassified))
		if code == "" && len(found) == 0 {
			return
		}
		if len(found) != 1 || found[0].Code != code || found[0].Object != p.names.Replace(object) || !strings.HasPrefix(found[0].Fix, fix) {
			t.Errorf("found:\n%s", listed(found))
		}
	}
	t.Run("member of the app's", func(t *testing.T) { asks(t, "", "", "") })
	t.Run("member that bypasses", func(t *testing.T) {
		p.super.exec(t, `ALTER ROLE `+member+` BYPASSRLS`)
		asks(t, migrate.CodeRoleBypassRLS, "role "+member, "ALTER ROLE")
		p.super.exec(t, `ALTER ROLE `+member+` NOBYPASSRLS`)
	})
	t.Run("stranger", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`REVOKE {app} FROM `+member+`; GRANT USAGE ON SCHEMA public TO `+member))
		asks(t, migrate.CodeLoginNoPolicy, "role "+member, "--")
	})
	t.Run("system's", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`GRANT {system} TO `+member))
		asks(t, migrate.CodeLoginUnconfined, "role "+member, "--")
	})
	t.Run("owner", func(t *testing.T) {
		login = p.sql
		asks(t, migrate.CodeLoginUnconfined, "role {owner}", "--")
	})
	t.Run("owner that made the app's role", func(t *testing.T) {
		options := `GRANT {app}, {system} TO {owner} WITH ADMIN TRUE, INHERIT FALSE, SET FALSE`
		if p.super.line(t, `SELECT current_setting('server_version_num')::int >= 160000`) != "true" {
			options = `ALTER ROLE {owner} NOINHERIT; GRANT {app}, {system} TO {owner} WITH ADMIN OPTION`
		}
		p.super.exec(t, p.names.Replace(options))
		asks(t, migrate.CodeLoginUnconfined, "role {owner}", "--")
	})
	t.Run("superuser", func(t *testing.T) {
		login = p.super.sql
		asks(t, migrate.CodeLoginUnconfined, "role "+p.super.lines(t, `SELECT current_user`)[0], "--")
	})
}

func without(found migrate.Findings, code migrate.Code) (rest []migrate.Finding) {
	for _, f := range found {
		if f.Code != code {
			rest = append(rest, f)
		}
	}
	return rest
}

// TestDoctor_NewServer has schema and database as a new server has them: of the
// superuser's, open to all, with an owner who may create.
func TestDoctor_NewServer(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.super.exec(t, p.names.Replace(`ALTER DATABASE `+p.Name+` OWNER TO CURRENT_USER; ALTER SCHEMA public OWNER TO pg_database_owner;
		GRANT USAGE ON SCHEMA public TO PUBLIC; GRANT CREATE ON SCHEMA public TO {owner}; GRANT {app}, {system} TO {other} WITH ADMIN OPTION`))
	if found := p.doctor(t); len(found) > 0 {
		t.Errorf("found:\n%s", listed(found))
	}
}

// TestDoctor_Bare has nothing of ours, and nobody to confine.
func TestDoctor_Bare(t *testing.T) {
	t.Parallel()
	p := setupLibrary(t)
	for name, login := range map[string]*sql.DB{"app": p.app, "owner": p.sql, "superuser": p.super.sql} {
		db := p.Open(postgres.New(postgres.Config{Conn: login}), nil)
		if found, err := migrate.Doctor(t.Context(), db, libraryModels...); err != nil || len(found) == 0 {
			t.Errorf("%s: %v, found:\n%s", name, err, listed(found))
		}
		p.super.exec(t, `DROP TABLE IF EXISTS audit_logs, tenants CASCADE; DROP FUNCTION IF EXISTS courtroll_uuidv7()`)
	}
}
