package migrate_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/courtroll/courtroll/migrate"
)

// narrow are tables of another program of every type that can be widened, in a database
// whose sessions are in neither UTC nor the zone of the times.
func (b *bundle) narrow(t testing.TB) {
	t.Helper()
	b.exec(t, foreignTables...)
	b.exec(t, `DELETE FROM tenants`,
		`ALTER TABLE tenants ALTER slug TYPE varchar(40), ALTER name TYPE varchar`,
		`ALTER TABLE audit_logs ALTER metadata TYPE json, ALTER created_at TYPE timestamp, ALTER action TYPE varchar(20)`,
		`INSERT INTO tenants (id, name, slug, created_at, updated_at)
			VALUES ('t1', 'One', 'one', '2024-01-15 12:00:00.123456', '2024-07-15 12:00:00')`,
		`INSERT INTO audit_logs (action, resource_type, metadata, created_at) VALUES ('a', 'r', '{"b": 1, "a": 2}', '2024-07-15 12:00:00')`)
}

func TestWiden(t *testing.T) {
	t.Parallel()
	const ms = "timestamp without time zone"
	for _, test := range []struct {
		widening migrate.Widening
		want     migrate.Widened
		reads    string // and what it gives then, in a session of New York
		value    string
	}{
		{migrate.Widening{Column: "tenants.created_at", Zone: "UTC"},
			migrate.Widened{From: ms, To: "timestamp with time zone"},
			`SELECT created_at::text FROM tenants`, "2024-01-15 07:00:00.123456-05"},
		{migrate.Widening{Column: "tenants.updated_at", Zone: "europe/berlin"},
			migrate.Widened{From: ms, To: "timestamp with time zone", Rewrote: true},
			`SELECT updated_at::text FROM tenants`, "2024-07-15 06:00:00-04"},
		{migrate.Widening{Column: "audit_logs.created_at", Zone: "Etc/UTC"},
			migrate.Widened{From: ms, To: "timestamp with time zone"},
			`SELECT created_at::text FROM audit_logs WHERE action = 'a'`, "2024-07-15 08:00:00-04"},
		{migrate.Widening{Column: "tenants.slug"},
			migrate.Widened{From: "character varying(40)", To: "text"}, `SELECT slug FROM tenants`, "one"},
		{migrate.Widening{Column: "tenants.name"},
			migrate.Widened{From: "character varying", To: "text"}, `SELECT name FROM tenants`, "One"},
		{migrate.Widening{Column: "audit_logs.action"},
			migrate.Widened{From: "character varying(20)", To: "text"}, `SELECT action FROM audit_logs WHERE action = 'a'`, "a"},
		{migrate.Widening{Column: "audit_logs.metadata"},
			migrate.Widened{From: "json", To: "jsonb", Rewrote: true}, `SELECT metadata::text FROM audit_logs WHERE action = 'a'`, `{"a": 2, "b": 1}`},
	} {
		t.Run(test.widening.Column, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.narrow(t)
			b.up(t)
			table, _, _ := strings.Cut(test.widening.Column, ".")
			file := b.line(t, `SELECT pg_relation_filenode($1::regclass)::text`, table)
			there := b.with(t, "TimeZone", "America/New_York")
			got, err := migrate.New(there.owner, migrate.Config{}).Widen(t.Context(), test.widening)
			if err != nil {
				t.Fatal(err)
			}
			test.want.Column = test.widening.Column
			if diff := cmp.Diff([]migrate.Widened{test.want}, got, cmpopts.IgnoreFields(migrate.Widened{}, "SQL")); diff != "" {
				t.Error(diff)
			}
			if rewrote := file != b.line(t, `SELECT pg_relation_filenode($1::regclass)::text`, table); rewrote != test.want.Rewrote {
				t.Errorf("rewrote %t, want %t", rewrote, test.want.Rewrote)
			}
			if got := there.line(t, test.reads); got != test.value {
				t.Errorf("got %q, want %q", got, test.value)
			}
			again, err := migrate.New(there.owner, migrate.Config{}).Widen(t.Context(), test.widening)
			if len(again) > 0 || err != nil {
				t.Errorf("the second time: %+v, %v", again, err)
			}
			if p := b.planned(t); len(p.Steps) > 0 {
				t.Errorf("an index is no longer what was recorded: %s", p)
			}
		})
	}
}

// A default that makes UTC of the clock would be a local time of a timestamptz.
func TestWidenReplacesDefaults(t *testing.T) {
	t.Parallel()
	for made, want := range map[string]string{
		`DEFAULT now()`: "now()", `DEFAULT timezone('utc', now())`: "now()", `DEFAULT LOCALTIMESTAMP`: "now()",
		`DEFAULT '2024-01-01'`: "now()", `DEFAULT clock_timestamp()`: "clock_timestamp()",
	} {
		t.Run(made, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, foreignTables...)
			b.exec(t, `ALTER TABLE tenants ALTER updated_at SET `+made)
			w := migrate.Widening{Column: "tenants.updated_at", Zone: "UTC"}
			if _, err := migrate.New(b.owner, migrate.Config{}).Widen(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			got := b.line(t, `SELECT column_default FROM information_schema.columns WHERE table_name = 'tenants' AND column_name = 'updated_at'`)
			if got != want {
				t.Errorf("got DEFAULT %s, want %s", got, want)
			}
			there := b.with(t, "TimeZone", "Asia/Tokyo")
			there.exec(t, `INSERT INTO tenants (id, name, slug) VALUES ('t2', 'Two', 'two')`)
			if got := there.line(t, `SELECT (updated_at = now() OR abs(extract(epoch FROM now() - updated_at)) < 60)::text FROM tenants WHERE id = 't2'`); got != "true" {
				t.Error("the default is hours off")
			}
		})
	}
}

// One wrong widening of several: nothing is done.
func TestWidenError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.narrow(t)
	b.exec(t, `CREATE DOMAIN short AS varchar(30)`, `ALTER TABLE tenants ALTER domain TYPE short, DROP COLUMN logo`,
		`ALTER TABLE audit_logs ALTER resource_id TYPE bigint USING NULL`)
	before := b.catalogue(t)
	for _, test := range []struct {
		widening migrate.Widening
		want     error
	}{
		{migrate.Widening{Column: "tenants.created_at"}, migrate.ErrZone},
		{migrate.Widening{Column: "tenants.created_at", Zone: "Europe/Atlantis"}, migrate.ErrZone},
		{migrate.Widening{Column: "tenants.created_at", Zone: "FOO3"}, migrate.ErrZone},
		{migrate.Widening{Column: "tenants.slug", Zone: "UTC"}, migrate.ErrZone},
		{migrate.Widening{Column: "tenants.domain"}, migrate.ErrNoWidening},
		{migrate.Widening{Column: "tenants.logo"}, migrate.ErrNoWidening},
		{migrate.Widening{Column: "tenants.nothing"}, migrate.ErrNoWidening},
		{migrate.Widening{Column: "users.name"}, migrate.ErrNoWidening},
		{migrate.Widening{Column: "audit_logs.resource_id"}, migrate.ErrNoWidening},
		{migrate.Widening{}, migrate.ErrNoWidening},
	} {
		done, err := migrate.New(b.owner, migrate.Config{}).Widen(t.Context(), migrate.Widening{Column: "tenants.slug"}, test.widening)
		var failed *migrate.WidenError
		if !errors.As(err, &failed) || !errors.Is(err, test.want) || failed.Column != test.widening.Column || len(done) > 0 {
			t.Errorf("%+v: got %v and %v, want %v of it alone", test.widening, done, err, test.want)
		}
	}
	if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
		t.Errorf("something was widened: %s", diff)
	}
}

// Of several, those before the one that fails are widened, and the others not.
func TestWidenServerError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.narrow(t)
	b.exec(t, `CREATE VIEW names AS SELECT name FROM tenants`)
	list := []migrate.Widening{{Column: "tenants.slug"}, {Column: "tenants.name"}, {Column: "audit_logs.metadata"}}
	done, err := migrate.New(b.owner, migrate.Config{}).Widen(t.Context(), list...)
	var failed *migrate.WidenError
	if !errors.As(err, &failed) || failed.Column != "tenants.name" || code(err) != "0A000" || len(done) != 1 || done[0].Column != "tenants.slug" {
		t.Errorf("got %+v and %v, want the first, and a WidenError of the second", done, err)
	}
	b.exec(t, `DROP VIEW names`)
	if done, err = migrate.New(b.owner, migrate.Config{}).Widen(t.Context(), list...); len(done) != 2 || err != nil {
		t.Errorf("again: got %+v and %v", done, err)
	}
}

func TestWidenStepsBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.narrow(t)
	stepsBack(t, b, "tenants", func(cfg migrate.Config) error {
		_, err := migrate.New(b.owner, cfg).Widen(t.Context(), migrate.Widening{Column: "tenants.created_at", Zone: "UTC"})
		return err
	})
}

// stepsBack holds a table in an open transaction while something wants to alter it: a reader
// who comes behind waits no longer than one try, and it is done when the table is free.
func stepsBack(t *testing.T, b *bundle, table string, alter func(migrate.Config) error) {
	t.Helper()
	const limit = 300 * time.Millisecond
	holder, err := b.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Rollback()
	if _, err := rowsOf(holder, `SELECT 'x' FROM `+table+` LIMIT 1`); err != nil {
		t.Fatal(err)
	}
	busy := migrate.Config{TableLockTimeout: limit, TableLockRetries: -1}
	if err := alter(busy); !errors.Is(err, migrate.ErrTableBusy) {
		t.Errorf("got %v, want ErrTableBusy", err)
	}
	failed := make(chan error, 1)
	go func() { failed <- alter(migrate.Config{TableLockTimeout: limit}) }()
	for range 2 {
		eventually(t, "it waits for the table", func() bool {
			return b.line(t, `SELECT count(*)::text FROM pg_locks WHERE NOT granted AND relation = $1::regclass`, table) != "0"
		})
		begin := time.Now()
		b.exec(t, `SELECT count(*) FROM `+table)
		if waited := time.Since(begin); waited > limit+2*time.Second {
			t.Errorf("a reader behind it waited %s", waited)
		}
	}
	select {
	case err := <-failed:
		t.Fatalf("it did not wait for the table: %v", err)
	default:
	}
	if err := errors.Join(holder.Commit(), <-failed); err != nil {
		t.Errorf("when the table was free: %v", err)
	}
}
