package migrate_test

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

func TestDoctor_Settings(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"tenant of a role", `ALTER ROLE {app} SET courtroll.tenant_id = 'acme'`, migrate.CodeSettingPreset, "setting courtroll.tenant_id of role {app}", ""},
		{"tenant of the database", `ALTER DATABASE ` + p.Name + ` SET courtroll.tenant_id = 'acme'`, migrate.CodeSettingPreset, "setting courtroll.tenant_id of database " + p.Name, ""},
		{"tenant of both", `ALTER ROLE {app} IN DATABASE ` + p.Name + ` SET courtroll.tenant_id = 'acme'`, migrate.CodeSettingPreset, "setting courtroll.tenant_id of role {app} in database " + p.Name, ""},
		{"definer", `ALTER DATABASE ` + p.Name + ` SET courtroll.definer = 'on'`, migrate.CodeSettingPreset, "setting courtroll.definer of database " + p.Name, ""},
		{"actor of system", `ALTER ROLE {system} SET courtroll.actor_id = 'root'`, migrate.CodeSettingPreset, "setting courtroll.actor_id of role {system}", ""},
		{"owner that passes", `ALTER ROLE {owner} SET courtroll.definer = 'on'`, migrate.CodeSettingPreset, "setting courtroll.definer of role {owner}", ""},
		{"reports that nothing captures", `ALTER ROLE {reports} SET session_replication_role = replica`, migrate.CodeSettingReplica, "setting session_replication_role of role {reports}", ""},
		{"another role", `GRANT {other} TO {app}; ALTER ROLE {app} SET role = '{other}'`, migrate.CodeSettingRole, "setting role of role {app}", ""},
		{"replica", `ALTER ROLE {app} SET session_replication_role = replica`, migrate.CodeSettingReplica, "setting session_replication_role of role {app}", ""},
		{"row security", `ALTER ROLE {app} SET row_security = off`, migrate.CodeSettingRowSecurity, "setting row_security of role {app}", migrate.SeverityWarning},
		{"strings", `ALTER ROLE {app} SET standard_conforming_strings = off`, migrate.CodeSettingStrings, "setting standard_conforming_strings of role {app}", migrate.SeverityWarning},
		{"asynchronous", `ALTER DATABASE ` + p.Name + ` SET synchronous_commit = off`, migrate.CodeSettingAsync, "setting synchronous_commit of database " + p.Name, migrate.SeverityWarning},
	})
	t.Run("harmless", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`ALTER ROLE {app} SET courtroll.tenant_id = ''; ALTER ROLE {app} SET synchronous_commit = local; ALTER ROLE {app} SET statement_timeout = '5s';
			ALTER ROLE {app} SET search_path = public; ALTER ROLE {other} SET row_security = off`))
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
	t.Run("a context with a tenant", func(t *testing.T) {
		cfg := must(pgx.ParseConfig(p.SuperDSN))
		cfg.User, cfg.Password = p.names.Replace("{app}"), "test"
		db := p.Open(tenancy.PostgresConfig(cfg), nil)
		if found, err := migrate.Doctor(tenancy.WithTenant(t.Context(), "acme"), db); err != nil || len(found) > 0 {
			t.Errorf("%v, found:\n%s", err, listed(found))
		}
	})
	t.Run("DSN", func(t *testing.T) {
		conns := p.connect(t, p.SuperDSN, func(cfg *pgx.ConnConfig) {
			cfg.User, cfg.Password = p.names.Replace("{app}"), "test"
			cfg.RuntimeParams["courtroll.tenant_id"] = "acme"
		})
		found, err := migrate.Doctor(t.Context(), p.Open(postgres.New(postgres.Config{Conn: conns}), nil))
		if err != nil || len(found) != 1 || found[0].Code != migrate.CodeSettingPreset || found[0].Object != "setting courtroll.tenant_id of the connection" {
			t.Errorf("%v, found:\n%s", err, listed(found))
		}
	})
}

func TestDoctor_SearchPath(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"shadows first", `CREATE SCHEMA shadow; CREATE TABLE shadow.books (LIKE books); CREATE TABLE shadow.audit_logs (LIKE audit_logs); GRANT USAGE ON SCHEMA shadow TO {app};
			GRANT ALL ON ALL TABLES IN SCHEMA shadow TO {app}; ALTER ROLE {app} SET search_path = shadow, public`, migrate.CodeSearchPath, "setting search_path of role {app}", ""},
		{"shadows alone", `GRANT ALL ON ALL TABLES IN SCHEMA shadow TO {app}; ALTER ROLE {app} SET search_path = shadow`, migrate.CodeSearchPath, "setting search_path of role {app}", ""},
		{"one among others", `ALTER ROLE {app} RESET search_path; CREATE SCHEMA {app}; GRANT USAGE ON SCHEMA {app} TO {app}; CREATE TABLE {app}.tags (LIKE tags); GRANT ALL ON {app}.tags TO {app}`,
			migrate.CodeTableShadowed, "relation {app}.tags", ""},
		{"a view of the owner's", `CREATE VIEW {app}.shelves AS SELECT 1 AS id; GRANT SELECT ON {app}.shelves TO {app}`, migrate.CodeTableShadowed, "relation {app}.shelves", ""},
		{"somebody's schema", `ALTER SCHEMA {app} OWNER TO {other}`, migrate.CodeSearchPath, "schema {app}", migrate.SeverityWarning},
		{"somebody's schema by setting", `DROP TABLE shadow.books, shadow.audit_logs; ALTER SCHEMA shadow OWNER TO {other}; ALTER ROLE {app} SET search_path = shadow, public`, migrate.CodeSearchPath, "setting search_path of role {app}", migrate.SeverityWarning},
		{"nowhere", `ALTER ROLE {app} SET search_path = ''`, migrate.CodeSearchPath, "setting search_path of role {app}", migrate.SeverityWarning},
	})
}
