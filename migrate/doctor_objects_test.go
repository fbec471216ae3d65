package migrate_test

import (
	"testing"

	"github.com/courtroll/courtroll/migrate"
)

func TestDoctor_Objects(t *testing.T) {
	t.Parallel()
	const mild = migrate.SeverityWarning
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"view", `CREATE VIEW titles AS SELECT isbn FROM books; GRANT SELECT ON titles TO {app}`, migrate.CodeViewDefiner, "view public.titles", ""},
		{"view for nobody", `CREATE VIEW idle AS SELECT isbn FROM books`, migrate.CodeViewDefiner, "view public.idle", mild},
		{"view over a view", `CREATE VIEW upper_titles AS SELECT upper(isbn) FROM titles; GRANT SELECT ON upper_titles TO PUBLIC`, migrate.CodeViewDefiner, "view public.upper_titles", ""},
		{"switched off", `ALTER VIEW titles SET (security_invoker = off)`, migrate.CodeViewDefiner, "view public.titles", ""},
		{"view of the trail", `CREATE VIEW trail AS SELECT action FROM audit_logs; GRANT SELECT ON trail TO {app}`, migrate.CodeViewDefiner, "view public.trail", ""},
		{"materialized", `CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM books; GRANT SELECT ON totals TO {app}`, migrate.CodeViewMaterialized, "materialized view public.totals", ""},
		{"materialized from a view", `CREATE MATERIALIZED VIEW grand AS SELECT count(*) FROM titles; GRANT SELECT ON grand TO {other}`, migrate.CodeViewMaterialized, "materialized view public.grand", ""},
		{"materialized, the app's own", `CREATE MATERIALIZED VIEW own AS SELECT count(*) FROM books; ALTER MATERIALIZED VIEW own OWNER TO {app}`, migrate.CodeViewMaterialized, "materialized view public.own", ""},
		{"statistics", `CREATE VIEW common AS SELECT stavalues1::text FROM pg_statistic; GRANT SELECT ON common TO {app}`, migrate.CodeViewDefiner, "view public.common", ""},
		{"rule", `CREATE RULE copy AS ON INSERT TO books DO ALSO UPDATE shelves SET room = 0`, migrate.CodeRule, "rule public.books.copy", ""},
		{"rule elsewhere", `CREATE RULE sweep AS ON DELETE TO countries DO ALSO DELETE FROM books`, migrate.CodeRule, "rule public.countries.sweep", ""},
		{"rule of a view", `CREATE RULE write AS ON INSERT TO titles DO INSTEAD UPDATE shelves SET room = 0`, migrate.CodeRule, "rule public.titles.write", ""},
	})
	t.Run("harmless", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`CREATE VIEW codes AS SELECT code FROM countries; GRANT SELECT ON codes TO {app};
			CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM books; GRANT SELECT ON report TO {reports}, {system};
			CREATE VIEW safe WITH (security_invoker, security_barrier) AS SELECT * FROM books; GRANT SELECT ON safe TO {app}`))
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
}

func TestDoctor_Functions(t *testing.T) {
	t.Parallel()
	p := newPatient(t)
	p.suffers(t, []ailment{
		{"definer in SQL", `CREATE FUNCTION every() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.books'`, migrate.CodeFunctionDefiner, "function public.every()", ""},
		{"definer of standard SQL", `CREATE FUNCTION every2() RETURNS bigint LANGUAGE sql SECURITY DEFINER BEGIN ATOMIC SELECT count(*) FROM public.books; END`, migrate.CodeFunctionDefiner, "function public.every2()", ""},
		{"definer in PL/pgSQL", `CREATE FUNCTION wipe() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM "books"; END'`, migrate.CodeFunctionDefiner, "function public.wipe()", ""},
		{"procedure", `CREATE PROCEDURE wipe_all() LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN DELETE FROM audit_logs; END'`, migrate.CodeFunctionDefiner, "function public.wipe_all()", ""},
		{"through another", `CREATE FUNCTION outer_one() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT every()'`, migrate.CodeFunctionDefiner, "function public.outer_one()", ""},
		{"dynamic", `CREATE FUNCTION run(text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE $1; END'`, migrate.CodeFunctionDefiner, "function public.run(text)", ""},
		{"in an aggregate", `CREATE FUNCTION step(bigint, int) RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.books'; REVOKE ALL ON FUNCTION step FROM PUBLIC;
			CREATE AGGREGATE total(int) (sfunc = step, stype = bigint)`, migrate.CodeFunctionDefiner, "function public.step(bigint,integer)", ""},
		{"behind a view", `CREATE SCHEMA hidden; CREATE FUNCTION hidden.every() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.books';
			CREATE VIEW counted AS SELECT hidden.every(); GRANT SELECT ON counted TO {app}`, migrate.CodeFunctionDefiner, "function hidden.every()", ""},
		{"statistics", `CREATE FUNCTION common() RETURNS SETOF text LANGUAGE sql SECURITY DEFINER AS 'SELECT most_common_vals::text FROM pg_stats'`, migrate.CodeFunctionDefiner, "function public.common()", ""},
		{"the app's in a trigger", `CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER stamp BEFORE INSERT ON books FOR EACH ROW EXECUTE FUNCTION stamp();
			ALTER FUNCTION stamp() OWNER TO {app}`, migrate.CodeRoleOwner, "function public.stamp()", ""},
		{"trigger of one tenant", `CREATE OR REPLACE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN NEW.tenant_id := 'acme'; RETURN NEW; END$$`, migrate.CodeTriggerBinds, "trigger public.books.stamp", ""},
		{"trigger of a view", `CREATE VIEW own WITH (security_invoker) AS SELECT * FROM books; GRANT UPDATE ON own TO {app};
			CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN UPDATE books SET isbn = NEW.isbn; RETURN NEW; END';
			CREATE TRIGGER put INSTEAD OF UPDATE ON own FOR EACH ROW EXECUTE FUNCTION put()`, migrate.CodeTriggerDefiner, "trigger public.own.put", ""},
		{"leakproof, of the server's", `ALTER FUNCTION textcat(text, text) LEAKPROOF`, migrate.CodeFunctionLeakproof, "function textcat(text,text)", ""},
		{"for the app alone", `REVOKE EXECUTE ON FUNCTION every() FROM PUBLIC; GRANT EXECUTE ON FUNCTION every() TO {app}; ALTER FUNCTION every() SECURITY DEFINER`, migrate.CodeFunctionDefiner, "function public.every()", ""},
		{"leakproof", `CREATE FUNCTION peek(text) RETURNS boolean LANGUAGE plpgsql LEAKPROOF AS 'BEGIN RAISE NOTICE ''%'', $1; RETURN true; END'`, migrate.CodeFunctionLeakproof, "function public.peek(text)", ""},
		{"with a tenant", `CREATE FUNCTION theirs() RETURNS bigint LANGUAGE sql SET courtroll.tenant_id = 'globex' AS 'SELECT count(*) FROM public.books'`, migrate.CodeFunctionSetting, "function public.theirs()", ""},
		{"sets the tenant", `CREATE FUNCTION become(text) RETURNS text LANGUAGE sql AS $$SELECT set_config('courtroll.tenant_id', $1, true)$$; ALTER FUNCTION become(text) OWNER TO {owner}`, migrate.CodeFunctionSetting, "function public.become(text)", migrate.SeverityWarning},
	})
	t.Run("harmless", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`CREATE FUNCTION pure(int) RETURNS int LANGUAGE sql SECURITY DEFINER AS 'SELECT $1 + 1 -- books';
			CREATE FUNCTION listed() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM countries';
			CREATE FUNCTION inside() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM books'; REVOKE ALL ON FUNCTION inside() FROM PUBLIC; GRANT EXECUTE ON FUNCTION inside() TO {reports};
			CREATE FUNCTION elsewhere() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM pg_catalog.pg_class';
			CREATE FUNCTION tenant() RETURNS text LANGUAGE sql AS $$SELECT current_setting('courtroll.tenant_id', true)$$;
			CREATE FUNCTION variable() RETURNS int LANGUAGE plpgsql SECURITY DEFINER AS 'DECLARE books int := 1; BEGIN books := books + 1; RETURN books; END';
			CREATE SCHEMA private; CREATE FUNCTION private.every() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS 'SELECT count(*) FROM public.books';
			CREATE EXTENSION pg_trgm`))
		if found := p.doctor(t); len(found) > 0 {
			t.Errorf("found:\n%s", listed(found))
		}
	})
	t.Run("loopback", func(t *testing.T) {
		p.super.exec(t, p.names.Replace(`CREATE EXTENSION postgres_fdw; CREATE SERVER back FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname '`+p.Name+`');
			CREATE FOREIGN TABLE far (isbn text) SERVER back OPTIONS (table_name 'books'); GRANT SELECT ON far TO {app}`))
		found := p.doctor(t)
		if len(found) != 1 || found[0].Code != migrate.CodeForeignTable {
			t.Fatalf("found:\n%s", listed(found))
		}
		p.cure(t, found)
		p.suffers(t, []ailment{
			{"its server", `CREATE USER MAPPING FOR {app} SERVER back OPTIONS (user 'postgres'); GRANT USAGE ON FOREIGN SERVER back TO {app}`, migrate.CodeForeignTable, "foreign server back", ""},
		})
	})
}
