package migrate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Whatever changes a table, each row that changed is in the trail once, also
// where nobody has set anything.
func TestCaptureRecordsWhateverChangesRows(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		statements []string // the last is the change
		want       []string
	}{
		{"INSERT … SELECT", []string{`INSERT INTO sheets (tenant_id, code) SELECT 'b', 'n' || g FROM generate_series(1, 2) g`}, []string{"create sheets 4", "create sheets 5"}},
		{"UPDATE", []string{`UPDATE sheets SET title = 't2'`}, []string{"update sheets 1", "update sheets 3"}},
		{"UPDATE that changes nothing", []string{`UPDATE sheets SET title = title, doc = doc`}, nil},
		{"UPDATE of the time of update alone", []string{`UPDATE sheets SET updated_at = now()`}, nil},
		{"UPDATE that moves keys onto each other", []string{`UPDATE sheets SET id = s.id FROM (VALUES (1, 101), (2, 102), (3, 103)) s (old, id) WHERE sheets.id = s.old`},
			[]string{"update sheets 1", "update sheets 2", "update sheets 3"}},
		{"UPDATE … FROM", []string{`UPDATE sheets SET title = f.name FROM folders f WHERE sheets.id < 3`}, []string{"update sheets 1", "update sheets 2"}},
		{"DELETE", []string{`DELETE FROM sheets WHERE id < 3`}, []string{"delete sheets 1", "delete sheets 2"}},
		{"DELETE of nothing", []string{`DELETE FROM sheets WHERE false`}, nil},
		{"soft delete", []string{`UPDATE sheets SET deleted_at = now() WHERE id = 1`}, []string{"soft_delete sheets 1"}},
		{"restore", []string{`UPDATE sheets SET deleted_at = now() WHERE id = 1`, `UPDATE sheets SET deleted_at = NULL`}, []string{"restore sheets 1"}},
		{"upsert", []string{`INSERT INTO sheets (tenant_id, code, title) VALUES ('a', 'c1', 'u'), ('a', 'n', 'u'), ('a', 'c2', 't2') ON CONFLICT (code) DO UPDATE SET title = excluded.title`},
			[]string{"create sheets 5", "update sheets 1"}},
		{"MERGE", []string{`MERGE INTO sheets USING (VALUES ('c1', 'u'), ('c2', 'gone'), ('n', 'u'), ('m', 'u')) v (code, title) ON sheets.code = v.code
			WHEN MATCHED AND v.title = 'gone' THEN DELETE WHEN MATCHED THEN UPDATE SET title = v.title
			WHEN NOT MATCHED THEN INSERT (tenant_id, code) VALUES ('a', v.code)`},
			[]string{"create sheets 4", "create sheets 5", "delete sheets 2", "update sheets 1"}},
		{"writes under WITH", []string{`WITH d AS (DELETE FROM sheets WHERE id = 1 RETURNING *), u AS (UPDATE sheets SET title = 'u' WHERE id = 2 RETURNING id),
			u2 AS (UPDATE sheets SET title = 'u' WHERE id = 3 RETURNING id)
			INSERT INTO ties (tenant_id, number) SELECT tenant_id, id FROM d`},
			[]string{`create ties ["a","1"]`, "delete sheets 1", "update sheets 2", "update sheets 3"}},
		{"ON DELETE CASCADE and SET NULL", []string{`UPDATE sheets SET folder_id = 1 WHERE id < 3`, `INSERT INTO ties VALUES ('a', 1, 1)`, `DELETE FROM folders`},
			[]string{"delete folders 1", "delete sheets 1", "delete sheets 2", `update ties ["a","1"]`}},
		{"ON DELETE CASCADE of the table's own", []string{`UPDATE sheets SET parent_id = id - 1 WHERE id > 1`, `DELETE FROM sheets WHERE id = 1`},
			[]string{"delete sheets 1", "delete sheets 2", "delete sheets 3"}},
		{"ON UPDATE CASCADE", []string{`UPDATE sheets SET folder_id = 1 WHERE id < 3`, `UPDATE folders SET id = 9`},
			[]string{"update folders 1", "update sheets 1", "update sheets 2"}},
		{"another trigger", []string{`CREATE FUNCTION file() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN UPDATE folders SET name = name || '+'; RETURN NEW; END $$`,
			`CREATE TRIGGER file AFTER INSERT ON ties FOR EACH ROW EXECUTE FUNCTION file()`, `INSERT INTO ties VALUES ('a', 1)`},
			[]string{`create ties ["a","1"]`, "update folders 1"}},
		{"another trigger that alters the row", []string{`CREATE FUNCTION upcase() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.title := 't1'; RETURN NEW; END $$`,
			`CREATE TRIGGER upcase BEFORE UPDATE ON sheets FOR EACH ROW EXECUTE FUNCTION upcase()`, `UPDATE sheets SET views = 1`},
			[]string{"update sheets 2", "update sheets 3"}},
		{"DO", []string{`DO $$ BEGIN FOR i IN 1..2 LOOP UPDATE sheets SET views = views + 1 WHERE id = 1; END LOOP; END $$`}, []string{"update sheets 1", "update sheets 1"}},
		{"bulk", []string{`INSERT INTO folders (tenant_id, name) SELECT 'a', g FROM generate_series(1, 1000) g`}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, true)
			d.seedSheets(t)
			for _, statement := range test.statements {
				d.brief(t)
				d.super.exec(t, statement)
			}
			got := d.brief(t)
			if test.name == "bulk" {
				if len(got) != 1000 {
					t.Errorf("%d entries", len(got))
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestCaptureRecordsCopy(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	conn, err := d.super.sql.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Raw(func(c any) error {
		_, err := c.(*stdlib.Conn).Conn().CopyFrom(t.Context(), pgx.Identifier{"folders"}, []string{"tenant_id", "name"}, pgx.CopyFromRows([][]any{{"a", "x"}, {"b", "y"}}))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"create folders 1", "create folders 2"}, d.brief(t)); diff != "" {
		t.Error(diff)
	}
}

// Many rows after few take no longer than they have to: the plan of a statement
// is kept, and was made for few.
func TestCaptureKeepsItsPaceAfterFewRows(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	d.super.sql.SetMaxOpenConns(1)
	d.super.exec(t, `INSERT INTO folders (tenant_id, name) SELECT 'a', g FROM generate_series(1, 20000) g`)
	for range 8 {
		d.super.exec(t, `UPDATE folders SET name = name || 'x' WHERE id = 1`)
	}
	d.super.exec(t, `DELETE FROM audit_logs`, `SET statement_timeout = '15s'`, `UPDATE folders SET name = name || 'y'`, `RESET statement_timeout`)
	if got := d.super.line(t, `SELECT count(*)::text || ' ' || count(DISTINCT resource_id) FROM audit_logs`); got != "20000 20000" {
		t.Errorf("got %s entries", got)
	}
}

// An entry of nobody's says whose login it was, one of somebody's who and on what request.
func TestCaptureNamesTheActor(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	insert := `INSERT INTO terms (text) VALUES ('x')`
	_ = must(as(t, d.app, "", insert))
	_ = must(as(t, d.app, "b", `SELECT set_config('courtroll.actor_id', 'u"1', true) || set_config('courtroll.request_id', 'r"1', true)`, insert))
	_ = must(as(t, d.app, "b", `INSERT INTO folders (tenant_id, name) VALUES ('a', 'x')`))
	d.super.exec(t, `SET SESSION AUTHORIZATION `+d.OwnerRole+`; `+insert+`; RESET SESSION AUTHORIZATION`)
	got := d.super.lines(t, `SELECT concat_ws(' ', coalesce(actor_id, '-'), coalesce(tenant_id, '-'), (metadata - 'changes' - 'transaction_id')::text,
		metadata->>'transaction_id' = xmin::text, abs(extract(epoch FROM created_at - clock_timestamp())) < 60, ip_address, substr(id::text, 15, 1)) FROM audit_logs ORDER BY created_at, id`)
	want := []string{`- - {"database_user": "` + d.AppRole + `"} t t 7`, `u"1 b {"request_id": "r\"1"} t t 7`,
		`- a {"database_user": "` + d.AppRole + `"} t t 7`, `- - {"database_user": "` + d.OwnerRole + `"} t t 7`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestCaptureRefusesTruncate(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	for _, statement := range []string{`TRUNCATE terms`, `TRUNCATE folders CASCADE`} {
		_, err := d.super.sql.Exec(statement)
		if code(err) != "0A000" || !strings.Contains(err.Error(), "use DELETE") {
			t.Errorf("%s: got %v", statement, err)
		}
	}
}

// Between an ALTER TABLE and the next run nothing is lost: a new column is
// recorded, unread, and what lacks one fails.
func TestCaptureOfAnAlteredTable(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	change := []string{`INSERT INTO folders (tenant_id, name, extra) VALUES ('a', 'x', 'y')`, `UPDATE folders SET extra = 'z'`,
		`UPDATE folders SET extra = NULL, name = 'w'`, `UPDATE folders SET extra = extra`, `DELETE FROM folders`}
	for _, test := range []struct {
		alter string
		want  []string
	}{
		{`ALTER TABLE folders ADD extra text`, []string{
			`{"id": {"new": 1, "old": null}, "name": {"new": "x", "old": null}, "extra": {"new": "[redacted]", "old": null}, "tenant_id": {"new": "a", "old": null}}`,
			`{"extra": {"new": "[redacted]", "old": "[redacted]"}}`, `{"name": {"new": "w", "old": "x"}, "extra": {"new": null, "old": "[redacted]"}}`,
			`{"id": {"new": null, "old": 1}, "name": {"new": null, "old": "w"}, "tenant_id": {"new": null, "old": "a"}}`}},
		{``, []string{
			`{"id": {"new": 2, "old": null}, "name": {"new": "x", "old": null}, "extra": {"new": "y", "old": null}, "tenant_id": {"new": "a", "old": null}}`,
			`{"extra": {"new": "z", "old": "y"}}`, `{"name": {"new": "w", "old": "x"}, "extra": {"new": null, "old": "z"}}`,
			`{"id": {"new": null, "old": 2}, "name": {"new": null, "old": "w"}, "tenant_id": {"new": null, "old": "a"}}`}},
	} {
		if test.alter != "" {
			d.exec(t, test.alter)
		} else if done := d.capture(t); len(done.Changed) != 2 || len(done.Drifted) > 0 {
			t.Errorf("got %q, drift %q: want one function replaced", done.Changed, done.Drifted)
		}
		d.super.exec(t, change...)
		got := d.super.lines(t, `SELECT metadata->>'changes' FROM audit_logs ORDER BY created_at, id`)
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Error(diff)
		}
		d.brief(t)
	}
	d.exec(t, `ALTER TABLE folders DROP extra`)
	if _, err := d.super.sql.Exec(`INSERT INTO folders (tenant_id, name) VALUES ('a', 'x')`); code(err) != "42703" || !strings.Contains(err.Error(), "CaptureByTrigger") {
		t.Errorf("got %v", err)
	}
	d.capture(t)
	d.super.exec(t, `INSERT INTO folders (tenant_id, name) VALUES ('a', 'x')`)
	if diff := cmp.Diff([]string{"create folders 4"}, d.brief(t)); diff != "" {
		t.Error(diff)
	}
}

// Reading is a partitioned table.
type Reading struct {
	ID       int64 `gorm:"primaryKey"`
	TenantID string
	Place    int `gorm:"primaryKey"`
	Value    int
}

func TestCaptureOfAPartitionedTable(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	d.exec(t, `CREATE TABLE readings (id bigint, tenant_id text, place int, value int, PRIMARY KEY (id, place)) PARTITION BY LIST (place)`,
		`CREATE TABLE readings_1 PARTITION OF readings FOR VALUES IN (1)`,
		`CREATE TABLE readings_2 (value int, gone int, tenant_id text, place int NOT NULL, id bigint NOT NULL, PRIMARY KEY (id, place))`,
		`ALTER TABLE readings_2 DROP gone`, `ALTER TABLE readings ATTACH PARTITION readings_2 FOR VALUES IN (2)`)
	for i := range 2 {
		done, err := d.migrator().CaptureByTrigger(t.Context(), &Reading{})
		if err != nil || (i == 0) != (len(done.Changed) > 0) {
			t.Fatalf("%v, %q", err, done.Changed)
		}
	}
	for _, test := range []struct {
		statement string
		want      []string
	}{
		{`INSERT INTO readings VALUES (1, 'a', 1, 10), (2, 'a', 2, 20)`, []string{`create readings ["1","1"]`, `create readings ["2","2"]`}},
		{`INSERT INTO readings_2 (id, place) VALUES (3, 2)`, []string{`create readings ["3","2"]`}},
		{`UPDATE readings SET value = 7`, []string{`update readings ["1","1"]`, `update readings ["2","2"]`, `update readings ["3","2"]`}},
		{`UPDATE readings SET place = 3 - place, value = id WHERE id < 3`, []string{`update readings ["1","1"]`, `update readings ["2","2"]`}},
		{`UPDATE readings_1 SET value = 8`, []string{`update readings ["2","1"]`}},
		{`DELETE FROM readings`, []string{`delete readings ["1","2"]`, `delete readings ["2","1"]`, `delete readings ["3","2"]`}},
	} {
		d.super.exec(t, test.statement)
		if test.statement[:6] == "UPDATE" && strings.Contains(test.statement, "3 - place") {
			got := d.super.lines(t, `SELECT metadata->>'changes' FROM audit_logs ORDER BY resource_id`)
			want := []string{`{"place": {"new": 2, "old": 1}, "value": {"new": 1, "old": 7}}`, `{"place": {"new": 1, "old": 2}, "value": {"new": 2, "old": 7}}`}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		}
		if diff := cmp.Diff(test.want, d.brief(t)); diff != "" {
			t.Errorf("%s: %s", test.statement, diff)
		}
	}
	for _, statement := range []string{`TRUNCATE readings`, `TRUNCATE readings_1`} {
		if _, err := d.super.sql.Exec(statement); code(err) != "0A000" {
			t.Errorf("%s: got %v", statement, err)
		}
	}

	d.super.exec(t, `INSERT INTO readings VALUES (1, 'a', 1, 10)`,
		`CREATE FUNCTION keep_out() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER out BEFORE INSERT ON readings_2 FOR EACH ROW EXECUTE FUNCTION keep_out()`)
	if _, err := d.super.sql.Exec(`UPDATE readings SET place = 2`); code(err) != "27000" {
		t.Errorf("a row that vanishes on its way: got %v", err)
	}

	if _, err := d.migrator().DropCapture(t.Context(), &Reading{}); err != nil {
		t.Fatal(err)
	}
	if got := d.line(t, `SELECT count(*)::text FROM pg_trigger WHERE NOT tgisinternal AND tgname LIKE 'courtroll%'`); got != "0" {
		t.Errorf("%s triggers are left", got)
	}
}

// A generated column is recorded with what it was and became, also where the
// server keeps no value of it.
func TestCaptureOfGeneratedColumns(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	kinds := []string{"STORED"}
	if d.line(t, `SELECT current_setting('server_version_num')`) >= "180000" {
		kinds = append(kinds, "VIRTUAL")
	}
	for _, kind := range kinds {
		d.exec(t, `ALTER TABLE folders ADD shout text GENERATED ALWAYS AS (upper(name)) `+kind)
		d.capture(t)
		d.super.exec(t, `INSERT INTO folders (tenant_id, name) VALUES ('a', 'x')`, `UPDATE folders SET name = 'y'`, `DELETE FROM folders`)
		got := d.super.lines(t, `SELECT metadata->'changes'->>'shout' FROM audit_logs ORDER BY created_at, id`)
		want := []string{`{"new": "X", "old": null}`, `{"new": "Y", "old": "X"}`, `{"new": null, "old": "Y"}`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", kind, diff)
		}
		d.brief(t)
		d.exec(t, `ALTER TABLE folders DROP shout`)
	}
}
