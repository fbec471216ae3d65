package migrate_test

import (
	"database/sql"
	"testing"
)

// entry is an INSERT with a time of its writer's choice.
const entry = `INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) VALUES ('a', 'create', 'sheets', '2000-01-01')`

// times says of the trail's entries whether they have a time of the past or the present, and empties it.
func (d *trailDesk) times(t testing.TB) (list []string) {
	t.Helper()
	list = d.super.lines(t, `SELECT CASE WHEN created_at > now() - interval '1 hour' THEN 'now' ELSE 'then' END FROM audit_logs`)
	d.super.exec(t, `ALTER TABLE audit_logs DISABLE TRIGGER USER`, `TRUNCATE audit_logs`, `ALTER TABLE audit_logs ENABLE TRIGGER USER`,
		`ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_append_only`, `ALTER TABLE audit_logs ENABLE ALWAYS TRIGGER courtroll_append_only_row`)
	return list
}

// Who is not trusted does not choose an entry's time, and who is, does.
func TestAppendOnlySetsTheTime(t *testing.T) {
	t.Parallel()
	for _, walls := range []bool{false, true} {
		t.Run(map[bool]string{false: "alone", true: "with Protect"}[walls], func(t *testing.T) {
			t.Parallel()
			d := kept(t, walls)
			want := map[string]string{"app": "now", "system": "now", "trusted": "then", "super": "then", "owner": "then", "keeper": "42501", "stranger": "42501"}
			if walls {
				want["owner"] = "42501" // no policy lets him
			}
			for role, want := range want {
				_, err := as(t, d.logins[role], "a", entry)
				if err == nil && code(err) == "" {
					if got := d.times(t); len(got) != 1 || got[0] != want {
						t.Errorf("%s: got %v, want %s", role, got, want)
					}
				} else if code(err) != want {
					t.Errorf("%s: got %v, want %s", role, err, want)
				}
			}
		})
	}
}

// The app has many ways to write a time.
func TestAppendOnlyLetsNobodyBackdate(t *testing.T) {
	t.Parallel()
	d := kept(t, true)
	d.super.exec(t, `CREATE SCHEMA trap AUTHORIZATION `+d.AppRole)
	for what, statements := range map[string][]string{
		"INSERT":      {entry},
		"DEFAULT":     {`INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) VALUES ('a', 'create', 'sheets', DEFAULT)`},
		"the future":  {`INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) VALUES ('a', 'create', 'sheets', 'infinity')`},
		"SELECT":      {`INSERT INTO audit_logs (tenant_id, action, resource_type, created_at) SELECT 'a', 'create', 'sheets', '2000-01-01'`},
		"ON CONFLICT": {entry + ` ON CONFLICT DO NOTHING`},
		"MERGE": {`MERGE INTO audit_logs a USING (VALUES (1)) v (n) ON false WHEN NOT MATCHED THEN
			INSERT (tenant_id, action, resource_type, created_at) VALUES ('a', 'create', 'sheets', '2000-01-01')`},
		"settings": {forge, entry},
		"operators of its own": {`CREATE FUNCTION trap.f(name, name) RETURNS boolean LANGUAGE sql AS 'SELECT true'`, `CREATE FUNCTION trap.g(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`,
			`CREATE OPERATOR trap.<> (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.f)`, `CREATE OPERATOR trap.<> (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.g)`,
			`CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = name, FUNCTION = trap.f)`,
			`CREATE FUNCTION trap.pg_has_role(name, oid, text) RETURNS boolean LANGUAGE sql AS 'SELECT true'`,
			`CREATE FUNCTION trap.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS $$SELECT '2000-01-01'::timestamptz$$`,
			`SET LOCAL search_path = trap, pg_catalog, public`, entry},
	} {
		if _, err := as(t, d.logins["app"], "a", statements...); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := d.times(t); len(got) != 1 || got[0] != "now" {
			t.Errorf("%s: got %v", what, got)
		}
	}
}

// COPY is not for whom row-level security binds.
func TestAppendOnlySetsTheTimeOfCopies(t *testing.T) {
	t.Parallel()
	d := kept(t, false)
	for role, want := range map[string]string{"app": "now", "system": "now", "trusted": "then", "owner": "then", "super": "then"} {
		if err := copyOne(t, d.logins[role]); err != nil {
			t.Fatal(err)
		}
		if got := d.times(t); len(got) != 1 || got[0] != want {
			t.Errorf("%s: got %v", role, got)
		}
	}
}

// Being a member counts, and what a role was does not once it is gone.
func TestAppendOnlyKnowsWhoIsTrusted(t *testing.T) {
	t.Parallel()
	d := kept(t, false)
	var heir *sql.DB
	for _, test := range []struct{ name, attributes, grant, want string }{
		{"heir", "", "trusted", "then"},
		{"deaf", "NOINHERIT", "trusted", "now"},
		{"child", "", "app", "now"},
		{"both", "", "system", "now"},
		{"bypass", "BYPASSRLS", "", "then"},
		{"heirofowner", "", "owner", "then"},
		{"stranger2", "", "", "now"},
	} {
		name, login := d.role(t, test.name, test.attributes)
		d.super.exec(t, `GRANT INSERT ON audit_logs TO `+name)
		granted := d.names[test.grant]
		if test.grant == "owner" { // that of the tests is the whole server's: other tests would meet its heir
			granted, _ = d.role(t, "nextowner", "")
			d.super.exec(t, `ALTER TABLE audit_logs OWNER TO `+granted)
		}
		if granted != "" {
			d.super.exec(t, `GRANT `+granted+` TO `+name)
		}
		_, err := as(t, login, "", entry)
		if got := d.times(t); err != nil || len(got) != 1 || got[0] != test.want {
			t.Errorf("%s: got %v, %v", test.name, got, err)
		}
		if test.name == "heir" {
			heir = login
		}
		if test.name != "stranger2" {
			continue
		}
		// Restores and logical replication keep the times.
		d.super.exec(t, `GRANT SET ON PARAMETER session_replication_role TO `+name)
		_, err = as(t, login, "", `SET LOCAL session_replication_role = replica`, entry)
		if got := d.times(t); err != nil || len(got) != 1 || got[0] != "then" {
			t.Errorf("for replicas: got %v, %v", got, err)
		}
		d.super.exec(t, `REVOKE SET ON PARAMETER session_replication_role FROM `+name)
	}
	d.super.exec(t, `ALTER ROLE `+d.names["trusted"]+` RENAME TO `+d.names["trusted"]+`_gone`)
	for name, login := range map[string]*sql.DB{"heir": heir, "app": d.logins["app"]} {
		_, err := as(t, login, "", entry)
		if got := d.times(t); err != nil || len(got) != 1 || got[0] != "now" {
			t.Errorf("%s after the trusted role is gone: got %v, %v", name, got, err)
		}
	}
	d.super.exec(t, `ALTER ROLE `+d.names["trusted"]+`_gone RENAME TO `+d.names["trusted"])
}
