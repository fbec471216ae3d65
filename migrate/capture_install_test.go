package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/models"
)

// installed is what capture leaves in the catalogue.
func (d *desk) installed(t testing.TB) string {
	t.Helper()
	return strings.Join(d.lines(t, `
		SELECT pg_get_triggerdef(oid) || ' ' || tgenabled::text FROM pg_trigger WHERE NOT tgisinternal
		UNION ALL SELECT concat_ws(' ', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'), proowner::regrole, proacl::text) FROM pg_proc p
			WHERE prorettype = 'trigger'::regtype AND pronamespace = 'public'::regnamespace ORDER BY 1`), "\n")
}

func TestDropCapture(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	d.exec(t, `CREATE FUNCTION mine() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`, `CREATE TRIGGER mine AFTER INSERT ON folders EXECUTE FUNCTION mine()`)
	before := d.installed(t)
	d.capture(t)
	if got := d.line(t, `SELECT count(*)::text FROM pg_trigger WHERE NOT tgisinternal`); got != "17" {
		t.Errorf("got %s triggers", got)
	}
	for i := range 2 {
		done, err := d.migrator().DropCapture(t.Context(), sheetModels...)
		if err != nil || (i == 0) != (len(done.Changed) > 0) {
			t.Errorf("%v, %q", err, done.Changed)
		}
	}
	if after := d.installed(t); after != before {
		t.Error(firstDifference(before, after))
	}
	d.exec(t, `TRUNCATE terms`)
}

// Without models it is about those of the rules, and not about others.
func TestCaptureTakesTheModelsOfItsRules(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	for i, list := range [][]any{nil, {&Term{}}} {
		if _, err := d.migrator().CaptureByTrigger(t.Context(), list...); err != nil {
			t.Fatal(err)
		}
		got := d.lines(t, `SELECT DISTINCT tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1`)
		want := [][]string{{"folders", "sheets", "ties"}, {"folders", "sheets", "terms", "ties"}}[i]
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestCaptureRepairsDrift(t *testing.T) {
	t.Parallel()
	const on = ` ON folders FOR EACH STATEMENT EXECUTE FUNCTION courtroll_capture_folders()`
	for _, test := range []struct {
		name    string
		byHand  []string
		drifted []string
	}{
		{"of a trigger disabled", []string{`ALTER TABLE folders DISABLE TRIGGER courtroll_capture_delete`}, []string{"public.folders.courtroll_capture_delete"}},
		{"of a trigger for replicas", []string{`ALTER TABLE folders ENABLE REPLICA TRIGGER courtroll_capture_delete`}, []string{"public.folders.courtroll_capture_delete"}},
		{"of a trigger dropped", []string{`DROP TRIGGER courtroll_capture_truncate ON folders`}, nil},
		{"of a trigger for another event", []string{`DROP TRIGGER courtroll_capture_truncate ON folders`, `CREATE TRIGGER courtroll_capture_truncate AFTER TRUNCATE` + on},
			[]string{"public.folders.courtroll_capture_truncate"}},
		{"of a trigger with a condition", []string{`DROP TRIGGER courtroll_capture_truncate ON folders`,
			`CREATE TRIGGER courtroll_capture_truncate BEFORE TRUNCATE ON folders FOR EACH STATEMENT WHEN (false) EXECUTE FUNCTION courtroll_capture_folders()`},
			[]string{"public.folders.courtroll_capture_truncate"}},
		{"of a trigger without a transition table", []string{`DROP TRIGGER courtroll_capture_insert ON folders`, `CREATE TRIGGER courtroll_capture_insert AFTER INSERT` + on},
			[]string{"public.folders.courtroll_capture_insert"}},
		{"of a trigger with another table's function", []string{`DROP TRIGGER courtroll_capture_truncate ON folders`,
			`CREATE TRIGGER courtroll_capture_truncate BEFORE TRUNCATE ON folders FOR EACH STATEMENT EXECUTE FUNCTION courtroll_capture_ties()`}, nil},
		{"of a function's text", []string{`CREATE OR REPLACE FUNCTION courtroll_capture_folders() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`},
			[]string{"public.courtroll_capture_folders"}},
		{"of a function's rights", []string{`ALTER FUNCTION courtroll_capture_folders() SECURITY INVOKER`}, []string{"public.courtroll_capture_folders"}},
		{"of a function's search_path", []string{`ALTER FUNCTION courtroll_capture_folders() SET search_path = public`}, []string{"public.courtroll_capture_folders"}},
		{"of who may run a function", []string{`GRANT EXECUTE ON FUNCTION courtroll_capture_folders() TO PUBLIC`}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, true)
			before := d.installed(t)
			d.exec(t, test.byHand...)
			done := d.capture(t)
			if diff := cmp.Diff(test.drifted, done.Drifted); diff != "" || len(done.Changed) == 0 {
				t.Errorf("changed %q, %s", done.Changed, diff)
			}
			if after := d.installed(t); after != before {
				t.Error(firstDifference(before, after))
			}
			if again := d.capture(t); len(again.Changed)+len(again.Drifted) > 0 {
				t.Errorf("got %+v the second time", again)
			}
		})
	}

	t.Run("and leaves a trigger that is always enabled", func(t *testing.T) {
		t.Parallel()
		d := setupDesk(t, true)
		d.exec(t, `ALTER TABLE folders ENABLE ALWAYS TRIGGER courtroll_capture_delete`)
		if done := d.capture(t); len(done.Changed)+len(done.Drifted) > 0 {
			t.Errorf("got %+v", done)
		}
	})

	t.Run("and brings the function to another owner", func(t *testing.T) {
		t.Parallel()
		d := setupDesk(t, true)
		before := d.installed(t)
		d.super.exec(t, `ALTER FUNCTION courtroll_capture_folders() OWNER TO postgres`)
		m := migrate.New(d.Open(postgres.Open(d.SuperDSN), nil), migrate.Config{Rules: sheetRules})
		if _, err := m.CaptureByTrigger(t.Context(), sheetModels...); err != nil {
			t.Fatal(err)
		}
		if after := d.installed(t); after != before {
			t.Error(firstDifference(before, after))
		}
	})
}

// Odd is a table whose name and columns need quotes, in a schema of its own.
type Odd struct {
	ID    int64  `gorm:"column:Id $$ %s"`
	Quote string `gorm:"column:v_known"`
	Owner string `gorm:"column:it's"`
}

func (Odd) TableName() string { return "post.Odd 'Name' " + strings.Repeat("é", 20) }

func TestCaptureOfOddNames(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	table := `post."` + strings.TrimPrefix(Odd{}.TableName(), "post.") + `"`
	d.exec(t, `CREATE SCHEMA post`, `CREATE TABLE `+table+` ("Id $$ %s" bigint PRIMARY KEY, v_known text, "it's" text, "__0" text, "__n" text)`)
	cfg := migrate.Config{Rules: migrate.Rules{TenantColumn: "it's"}}
	for i := range 2 {
		done, err := migrate.New(d.owner, cfg).CaptureByTrigger(t.Context(), &Odd{})
		if err != nil || (i == 0) != (len(done.Changed) > 0) {
			t.Fatalf("%v %q", err, done.Changed)
		}
	}
	d.super.exec(t, `INSERT INTO `+table+` VALUES (1, 'q', 'hal', 'z', 'n')`, `UPDATE `+table+` SET "__n" = '''', "__0" = NULL`, `DELETE FROM `+table)
	got := d.super.lines(t, `SELECT concat_ws(' ', action, resource_type = $1, resource_id, tenant_id, metadata->>'changes') FROM audit_logs ORDER BY created_at, id`,
		strings.TrimPrefix(Odd{}.TableName(), "post."))
	want := []string{
		`create t 1 hal {"__0": {"new": "z", "old": null}, "__n": {"new": "n", "old": null}, "it's": {"new": "hal", "old": null}, "v_known": {"new": "q", "old": null}, "Id $$ %s": {"new": 1, "old": null}}`,
		`update t 1 hal {"__0": {"new": null, "old": "z"}, "__n": {"new": "'", "old": "n"}}`,
		`delete t 1 hal {"__n": {"new": null, "old": "'"}, "it's": {"new": null, "old": "hal"}, "v_known": {"new": null, "old": "q"}, "Id $$ %s": {"new": null, "old": 1}}`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := migrate.New(d.owner, cfg).DropCapture(t.Context(), &Odd{}); err != nil {
		t.Fatal(err)
	}
	if got := d.line(t, `SELECT count(*)::text FROM pg_proc WHERE proname LIKE 'courtroll\_capture%'`); got != "0" {
		t.Errorf("%s functions are left", got)
	}
}

// A captured table may be renamed, and another made in its place.
func TestCaptureAfterRenaming(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, true)
	d.exec(t, `ALTER TABLE terms RENAME TO looses`, `ALTER TABLE looses ADD id bigint PRIMARY KEY`, `CREATE TABLE terms (text text)`)
	done, err := d.migrator().CaptureByTrigger(t.Context(), &Term{}, &Loose{})
	if err != nil {
		t.Fatal(err)
	}
	if len(done.Reported) == 0 || !strings.Contains(done.Reported[0].Object, "looses.") {
		t.Errorf("reported %v, want a column that no model has", done.Reported)
	}
	d.super.exec(t, `INSERT INTO terms VALUES ('a')`, `INSERT INTO looses (id) VALUES (3)`)
	if diff := cmp.Diff([]string{"create looses 3", "create terms -"}, d.brief(t)); diff != "" {
		t.Error(diff)
	}
}

func TestCaptureRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		prepare []string // of a superuser's
		model   any
		want    error
		table   string
	}{
		{"ErrNoTable", nil, &Loose{}, migrate.ErrNoTable, "looses"},
		{"ErrCaptureKind of a view", []string{`CREATE VIEW looses AS SELECT id FROM folders`}, &Loose{}, migrate.ErrCaptureKind, "public.looses"},
		{"ErrCaptureKind of a foreign table", []string{`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE FOREIGN TABLE looses (id bigint) SERVER s`},
			&Loose{}, migrate.ErrCaptureKind, "public.looses"},
		{"ErrCaptureKind of a foreign partition", []string{`CREATE FOREIGN DATA WRAPPER w`, `CREATE SERVER s FOREIGN DATA WRAPPER w`, `CREATE TABLE looses (id bigint) PARTITION BY LIST (id)`,
			`CREATE FOREIGN TABLE abroad PARTITION OF looses FOR VALUES IN (1) SERVER s`}, &Loose{}, migrate.ErrCaptureKind, "public.abroad"},
		{"ErrCaptureKind of a partition", []string{`CREATE TABLE whole (id bigint) PARTITION BY LIST (id)`, `CREATE TABLE looses PARTITION OF whole FOR VALUES IN (1)`},
			&Loose{}, migrate.ErrCaptureKind, "public.looses"},
		{"ErrCaptureKind of a parent", []string{`CREATE TABLE looses (id bigint)`, `CREATE TABLE child () INHERITS (looses)`}, &Loose{}, migrate.ErrCaptureKind, "public.child"},
		{"ErrCaptureKind of a child", []string{`CREATE TABLE parent (id bigint)`, `CREATE TABLE looses () INHERITS (parent)`}, &Loose{}, migrate.ErrCaptureKind, "public.looses"},
		{"ErrCaptureTrail", nil, &models.AuditLog{}, migrate.ErrCaptureTrail, "public.audit_logs"},
		{"ErrNotUp without the trail", []string{`DROP TABLE audit_logs`}, &Folder{}, migrate.ErrNotUp, "audit_logs"},
		{"ErrNotUp without a function", []string{`DROP FUNCTION courtroll_uuidv7 CASCADE`}, &Folder{}, migrate.ErrNotUp, ""},
		{"ErrCaptureTaken of a trigger", []string{`CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
			`CREATE TRIGGER courtroll_capture_delete AFTER DELETE ON folders EXECUTE FUNCTION f()`}, &Folder{}, migrate.ErrCaptureTaken, "public.folders"},
		{"ErrCaptureTaken of a function", []string{`CREATE FUNCTION courtroll_capture_folders() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`},
			&Folder{}, migrate.ErrCaptureTaken, "public.folders"},
		{"ErrNotOwner", []string{`CREATE TABLE looses (id bigint)`}, &Loose{}, migrate.ErrNotOwner, "public.looses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			d := setupDesk(t, false)
			d.super.exec(t, test.prepare...)
			before := d.everything(t)
			_, err := d.migrator().CaptureByTrigger(t.Context(), test.model)
			var got *migrate.ProtectError
			if !errors.Is(err, test.want) || !errors.As(err, &got) || got.Table != test.table {
				t.Errorf("got %v", err)
			}
			if after := d.everything(t); after != before {
				t.Error(firstDifference(before, after))
			}
		})
	}

	t.Run("ErrAppHandle", func(t *testing.T) {
		t.Parallel()
		d := setupDesk(t, false)
		if _, err := migrate.New(d.gorm(t), migrate.Config{}).CaptureByTrigger(t.Context(), &Folder{}); !errors.Is(err, migrate.ErrAppHandle) {
			t.Errorf("got %v", err)
		}
	})
}

// briefFolder is another model of a table, with a stricter tag.
type briefFolder struct {
	ID   int64
	Name string `audit:"redact"`
}

func (briefFolder) TableName() string { return "folders" }

// All models of a table that are known have their say, and the limit is the config's.
func TestCaptureFollowsTagsAndLimit(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	cfg := migrate.Config{MaxValueChars: 5}
	insert := `INSERT INTO folders (tenant_id, name) VALUES ('a', 'longer than five')`
	for _, test := range []struct {
		models []any
		want   string
	}{{[]any{&Folder{}}, "longe...[cut from 16 characters]"}, {[]any{&Folder{}, &briefFolder{}}, "[redacted]"}} {
		if _, err := migrate.New(d.owner, cfg).CaptureByTrigger(t.Context(), test.models...); err != nil {
			t.Fatal(err)
		}
		d.super.exec(t, insert)
		if got := d.super.line(t, `SELECT metadata->'changes'->'name'->>'new' FROM audit_logs ORDER BY created_at DESC LIMIT 1`); got != test.want {
			t.Errorf("got %s, want %s", got, test.want)
		}
	}
}
