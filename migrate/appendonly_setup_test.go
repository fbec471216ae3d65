package migrate_test

import (
	"database/sql"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/courtroll/courtroll/migrate"
)

// trailDesk is a desk whose trail is kept, with logins for all concerned.
type trailDesk struct {
	*desk
	names  map[string]string
	logins map[string]*sql.DB
}

// setupTrail makes a database with logins, and grants to the trusted role all that there is.
func setupTrail(t testing.TB) *trailDesk {
	t.Helper()
	d := &trailDesk{desk: setupDesk(t, false), names: map[string]string{}, logins: map[string]*sql.DB{}}
	for _, suffix := range []string{"trusted", "keeper", "stranger"} {
		d.names[suffix], d.logins[suffix] = d.role(t, suffix, "")
	}
	d.names["system"], d.logins["system"] = d.role(t, "system", "")
	d.names["app"], d.logins["app"] = d.AppRole, d.desk.app
	d.names["owner"], d.logins["owner"] = d.line(t, `SELECT current_user::text`), d.sql
	d.logins["super"] = d.super.sql
	d.system = d.names["system"]
	d.exec(t, `GRANT ALL ON audit_logs TO `+d.names["trusted"])
	return d
}

func (d *trailDesk) trailConfig() migrate.Config {
	return migrate.Config{
		Rules: sheetRules, AppRole: d.AppRole, SystemRole: d.system, RetentionRole: d.names["keeper"],
		TrustedRoles: []string{d.names["trusted"]}, TableLockRetries: -1,
	}
}

func (d *trailDesk) keep(t testing.TB) migrate.Protection {
	t.Helper()
	done, err := migrate.New(d.owner, d.trailConfig()).AppendOnly(t.Context())
	if err != nil {
		t.Fatalf("AppendOnly: %v", err)
	}
	return done
}

func (d *trailDesk) wall(t testing.TB) migrate.Protection {
	t.Helper()
	done, err := migrate.New(d.owner, d.trailConfig()).Protect(t.Context())
	if err != nil {
		t.Fatalf("Protect: %v", err)
	}
	return done
}

// kept is a desk whose trail is append-only, with Protect or without.
func kept(t testing.TB, walls bool) *trailDesk {
	t.Helper()
	d := setupTrail(t)
	if walls {
		d.wall(t)
	}
	d.keep(t)
	return d
}

// fill puts n entries of each tenant into the trail, a second apart from 2020 on.
func (d *trailDesk) fill(t testing.TB, n int, tenants ...string) {
	t.Helper()
	list := []string{}
	for _, tenant := range tenants {
		list = append(list, "'"+tenant+"'")
	}
	d.super.exec(t, `INSERT INTO audit_logs (id, tenant_id, action, resource_type, resource_id, created_at)
		SELECT gen_random_uuid(), nullif(tenant, ''), CASE WHEN g % 3 = 0 THEN 'delete' ELSE 'create' END, 'sheets', g::text, '2020-01-01 UTC'::timestamptz + g * interval '1 second'
		FROM unnest(ARRAY[`+strings.Join(list, ", ")+`]) AS tenant, generate_series(1, `+itoa(n)+`) AS g`)
}

// inTrail is what of the trail the catalogue has.
func (d *trailDesk) inTrail(t testing.TB) string {
	t.Helper()
	list := d.lines(t, `
		SELECT pg_get_triggerdef(oid) || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT concat_ws(' ', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), proowner::regrole, proacl::text) FROM pg_proc p
			WHERE pronamespace = 'public'::regnamespace AND prokind = 'f' AND prolang <> 13
		UNION ALL SELECT format('policy %s %s %s', polname, pg_get_expr(polqual, polrelid), polroles::regrole[]) FROM pg_policy`)
	slices.Sort(list)
	return strings.Join(list, "\n")
}

// copyOne writes an entry with COPY, with a time of its own.
func copyOne(t testing.TB, db *sql.DB) error {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Raw(func(c any) error {
		pg := c.(*stdlib.Conn).Conn()
		if _, err := pg.Exec(t.Context(), `SET courtroll.tenant_id = 'a'`); err != nil {
			return err
		}
		_, err := pg.PgConn().CopyFrom(t.Context(), strings.NewReader("a\tcreate\tsheets\t2000-01-01\n"), `COPY audit_logs (tenant_id, action, resource_type, created_at) FROM STDIN`)
		return err
	})
}
