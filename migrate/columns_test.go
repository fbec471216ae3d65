package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/courtroll/courtroll/migrate"
)

// content is every row of the two tables, with the transaction that wrote it: equal
// before and after, no row was changed nor written again.
func (b *bundle) content(t testing.TB, columns string) string {
	t.Helper()
	return strings.Join(b.lines(t, `
		SELECT format('%s %s %s', ctid, xmin, md5(q::text)) FROM (SELECT ctid, xmin, `+columns+` FROM tenants t) q
		UNION ALL SELECT format('%s %s %s', ctid, xmin, md5(l::text)) FROM audit_logs l ORDER BY 1`), "\n")
}

// powers are what Up must not touch of a table that it did not create, and the file that
// holds the rows.
func (b *bundle) powers(t testing.TB) string {
	t.Helper()
	return strings.Join(b.lines(t, `
		SELECT format('%s %s %s %s %s %s', oid::regclass, relrowsecurity, relforcerowsecurity, relacl, relowner, relfilenode)
			FROM pg_class WHERE relname IN ('tenants', 'audit_logs')
		UNION ALL SELECT format('trigger %s %s', tgname, tgenabled) FROM pg_trigger
		UNION ALL SELECT format('policy %s', polname) FROM pg_policy
		UNION ALL SELECT format('%s.%s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull, attacl)
			FROM pg_attribute WHERE attrelid IN (SELECT oid FROM pg_class WHERE relname IN ('tenants', 'audit_logs'))
				AND attnum > 0 AND attname NOT IN ('logo', 'plan', 'updated_at', 'ip_address', 'metadata')
		ORDER BY 1`), "\n")
}

func TestUpAddsColumns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, lacking...)
	b.exec(t, `INSERT INTO tenants (id, name, slug) SELECT 't' || g, 'T', 's' || g FROM generate_series(2, 300) g`,
		`GRANT SELECT ON tenants TO PUBLIC`, `CREATE VIEW seen AS SELECT id, slug FROM tenants`)
	const kept = "id, name, slug, domain, is_active, created_at"
	rows, powers := b.content(t, kept), b.powers(t)
	want := []string{"tenants.logo", "tenants.plan", "tenants.updated_at", "audit_logs.ip_address", "audit_logs.metadata"}
	result := b.up(t)
	if diff := cmp.Diff(want, result.Added); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(powers, b.powers(t)); diff != "" {
		t.Errorf("more than columns changed: %s", diff)
	}
	if got := b.line(t, `SELECT count(*)::text FROM tenants WHERE plan = 'free' AND updated_at <= now() AND logo IS NULL`); got != "300" {
		t.Errorf("got %s rows with the defaults, want 300", got)
	}
	// The new columns of audit_logs are part of its rows' text; those of tenants are left out.
	after := b.content(t, kept)
	if got, want := places(after), places(rows); got != want {
		t.Errorf("rows were written again: %s", cmp.Diff(want, got))
	}
	b.hasIndex(t, "courtroll_audit_logs_request")
}

// places leaves of each line where the row is and who wrote it.
func places(content string) string {
	var list []string
	for line := range strings.SplitSeq(content, "\n") {
		list = append(list, line[:strings.LastIndex(line, " ")])
	}
	return strings.Join(list, "\n")
}

// Up on whole tables of another program changes nothing of them, whatever they have been given.
func TestUpLeavesForeignTablesAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, foreignTables...)
	b.exec(t, `INSERT INTO audit_logs (action, resource_type, metadata) SELECT 'a', 'r', '{"a": 1}' FROM generate_series(1, 300)`,
		`ALTER TABLE tenants ENABLE ROW LEVEL SECURITY`, `CREATE POLICY theirs ON tenants USING (true)`,
		`CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'`,
		`CREATE TRIGGER theirs BEFORE INSERT ON audit_logs FOR EACH ROW EXECUTE FUNCTION theirs()`,
		`GRANT INSERT ON audit_logs TO PUBLIC`)
	rows, powers := b.content(t, "t.*"), b.powers(t)
	b.up(t)
	if diff := cmp.Diff(powers, b.powers(t)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(rows, b.content(t, "t.*")); diff != "" {
		t.Errorf("rows changed: %s", diff)
	}
}

// What our SQL cannot work with is refused before the first change, with the SQL that
// mends it.
func TestUpRefusesUnfitTypes(t *testing.T) {
	t.Parallel()
	for column, alter := range map[string]string{
		"audit_logs.metadata":   `ALTER metadata TYPE text`,
		"audit_logs.ip_address": `ALTER ip_address TYPE inet USING NULL`,
		"audit_logs.tenant_id":  `ALTER tenant_id TYPE uuid USING NULL`,
		"audit_logs.id":         `ALTER id DROP DEFAULT, ALTER id TYPE text`,
		"audit_logs.created_at": `ALTER created_at DROP DEFAULT, ALTER created_at TYPE bigint USING 0`,
		"tenants.is_active":     `ALTER is_active DROP DEFAULT, ALTER is_active TYPE smallint USING 1`,
		"tenants.id":            `ALTER id TYPE bytea USING id::bytea`,
	} {
		t.Run(column, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, foreignTables...)
			table, name, _ := strings.Cut(column, ".")
			b.exec(t, `ALTER TABLE `+table+` `+alter)
			before := b.catalogue(t)
			_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
			var refused *migrate.TableError
			if !errors.As(err, &refused) || len(refused.Unfit) != 1 || refused.Unfit[0].Column != name || refused.Table != table {
				t.Fatalf("got %v, want a TableError of the column", err)
			}
			if !strings.Contains(err.Error(), refused.Unfit[0].Fix) || refused.Unfit[0].Fix == "" {
				t.Errorf("%v does not say what to do", err)
			}
			if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
				t.Errorf("the database changed: %s", diff)
			}
		})
	}
}

// Types that text passes into and out of do, and domains count as what they stand on.
func TestUpTakesRelatedTypes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, foreignTables...)
	b.exec(t, `CREATE DOMAIN short AS varchar(30)`, `CREATE DOMAIN shorter AS short CHECK (length(value) < 20)`,
		`CREATE TYPE tier AS ENUM ('free', 'paid')`,
		`ALTER TABLE tenants ALTER slug TYPE varchar(40), ALTER domain TYPE shorter, ALTER plan DROP DEFAULT, ALTER plan TYPE tier USING plan::tier`,
		`ALTER TABLE audit_logs ALTER action TYPE varchar(20), ALTER actor_id TYPE char(36), ALTER metadata TYPE json, ALTER created_at TYPE timestamp`)
	b.up(t)
	b.exec(t, `SELECT courtroll_record_event(NULL, 'a', 'user.login', 'users', NULL, NULL, '{"x": 1}')`)
	if got := b.line(t, `SELECT r.id FROM courtroll_resolve_tenant('slug', 'one') r`); got != "t1" {
		t.Errorf("resolved %q, want t1", got)
	}
}

// Each way in which the tables may differ is listed, with what ends it: after the fixes
// and the widenings nothing is left.
func TestPlanDifferences(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(t, foreignTables...)
	b.exec(t, `CREATE TABLE users (id text PRIMARY KEY)`,
		`ALTER TABLE tenants DROP CONSTRAINT tenants_id_pk, DROP CONSTRAINT tenants_slug_unique, ALTER plan SET DEFAULT 'trial',
			ALTER name DROP NOT NULL, ALTER logo TYPE varchar(200), ADD region text NOT NULL DEFAULT 'eu', ADD shard int NOT NULL GENERATED ALWAYS AS IDENTITY`,
		`ALTER TABLE tenants ALTER region DROP DEFAULT`,
		`ALTER TABLE audit_logs ALTER id DROP DEFAULT, ALTER metadata TYPE json, ALTER tenant_id SET NOT NULL, ADD FOREIGN KEY (actor_id) REFERENCES users`)
	want := []string{
		"tenants.name: nullable → NOT NULL", "tenants.logo: character varying(200) → text, widen tenants.logo",
		"tenants.plan: DEFAULT 'trial'::text → DEFAULT 'free'",
		"tenants.created_at: timestamp without time zone → timestamp with time zone, widen tenants.created_at",
		"tenants.updated_at: timestamp without time zone → timestamp with time zone, widen tenants.updated_at",
		"tenants.region: NOT NULL without a default → nullable, or with a default",
		"tenants.: without a primary key of id → PRIMARY KEY (id)", "tenants.slug: not unique → UNIQUE (slug)",
		"audit_logs.id: without a default → DEFAULT gen_random_uuid()", "audit_logs.tenant_id: NOT NULL → nullable",
		"audit_logs.metadata: json → jsonb, widen audit_logs.metadata",
		"audit_logs.: FOREIGN KEY (actor_id) REFERENCES users(id) → no foreign key",
	}
	var got []string
	differences := b.planned(t).Differences
	for _, d := range differences {
		got = append(got, differenceLine(d))
		if d.Consequence == "" || (d.Fix == "") == (d.Widening == "") {
			t.Errorf("%s: no consequence, or not one way out: %+v", d, d)
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(func(a, b string) bool { return a < b })); diff != "" {
		t.Error(diff)
	}
	for _, d := range differences {
		b.mend(t, d)
	}
	if left := b.planned(t).Differences; len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}

func differenceLine(d migrate.Difference) string {
	line := d.Table + "." + d.Column + ": " + d.Have + " → " + d.Want
	if d.Widening != "" {
		line += ", widen " + d.Widening
	}
	return line
}

// mend does what a difference says.
func (b *bundle) mend(t testing.TB, d migrate.Difference) {
	t.Helper()
	if d.Widening == "" {
		b.exec(t, strings.Split(d.Fix, "; ")...)
		return
	}
	w := migrate.Widening{Column: d.Widening}
	if strings.HasPrefix(d.Have, "timestamp") {
		w.Zone = "UTC"
	}
	if _, err := migrate.New(b.owner, migrate.Config{}).Widen(t.Context(), w); err != nil {
		t.Fatal(err)
	}
}

// The contract that Plan compares with is what Up makes from the models.
func TestPlanHasNoDifferencesFromUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.up(t)
	if got := b.planned(t).Differences; len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

func TestPlanDifferencesOfIndexes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.up(t)
	b.exec(t, `DROP INDEX `+tenantIndex, `DROP INDEX `+resourceIndex, `CREATE INDEX `+resourceIndex+` ON audit_logs (action)`)
	p := b.planned(t)
	if len(p.Differences) != 2 || len(p.Steps) > 0 {
		t.Fatalf("got %v, want both indexes and no step", p)
	}
	if diff := cmp.Diff(migrate.Result{}, b.up(t)); diff != "" {
		t.Errorf("Up built what somebody had dropped: %s", diff)
	}
	for _, d := range p.Differences {
		b.mend(t, d)
	}
	if left := b.planned(t).Differences; len(left) > 0 {
		t.Errorf("still there: %v", left)
	}
}
