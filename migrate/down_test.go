package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/courtroll/courtroll/migrate"
)

// upTo are the versions of the package up to the one given, as a release of that time had them.
func upTo(version int) fs.FS {
	older := fstest.MapFS{"sql": &fstest.MapFile{Mode: fs.ModeDir}}
	for _, entry := range must(fs.ReadDir(migrate.Embedded, "sql")) {
		if entry.Name()[:3] <= fmt.Sprintf("%03d", version) {
			name := "sql/" + entry.Name()
			older[name] = &fstest.MapFile{Data: must(fs.ReadFile(migrate.Embedded, name))}
		}
	}
	return older
}

func (b *bundle) upTo(t testing.TB, version int) {
	t.Helper()
	if _, err := migrate.New(b.owner, migrate.Config{}).WithFiles(upTo(version)).Up(t.Context()); err != nil {
		t.Fatalf("Up to %d: %v", version, err)
	}
}

func (b *bundle) down(t testing.TB) migrate.Migration {
	t.Helper()
	undone, err := migrate.New(b.owner, migrate.Config{}).Down(t.Context())
	if err != nil {
		t.Fatalf("Down: %v", err)
	}
	return undone
}

// blueprint describes all that Up makes, in a form that is the same wherever and
// however often it was made.
func (b *bundle) blueprint(t testing.TB) string {
	t.Helper()
	lines := append(b.shape(t), b.lines(t, `
		SELECT format('%s %s %s', indexrelid::regclass, indisvalid, indisready) FROM pg_index
			WHERE indrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)
		UNION ALL SELECT format('%s %s %s %s', pg_get_functiondef(oid), proacl IS NULL, prosecdef, obj_description(oid))
			FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT format('%s %s %s %s', relname, relkind, relrowsecurity, relforcerowsecurity)
			FROM pg_class WHERE relnamespace = 'public'::regnamespace
		UNION ALL SELECT format('trigger %s', tgname) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1`)...)
	if b.line(t, `SELECT (to_regclass('courtroll_migrations') IS NOT NULL)::text`) == "true" {
		lines = append(lines, b.lines(t, `SELECT format('%s %s %s', version, name, checksum) FROM courtroll_migrations ORDER BY version`)...)
	}
	return strings.Join(lines, "\n")
}

// Up, one step down at a time to what each release had left, and up again; with the
// oids of what was there before, so that nothing was made anew on the way.
func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	embedded, _, err := migrate.Load(migrate.Embedded)
	if err != nil {
		t.Fatal(err)
	}
	b.upTo(t, 1)
	b.exec(t, `INSERT INTO tenants (id, name, slug) VALUES ('t1', 'One', 'one')`,
		`INSERT INTO audit_logs (tenant_id, action, resource_type) VALUES ('t1', 'create', 'things')`)
	b.down(t)
	var catalogues, blueprints []string
	for version := 0; version <= len(embedded); version++ {
		if version > 0 {
			b.upTo(t, version)
		}
		catalogues, blueprints = append(catalogues, b.catalogue(t)), append(blueprints, b.blueprint(t))
	}
	for i, m := range slices.Backward(embedded) {
		if diff := cmp.Diff(m, b.down(t)); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(catalogues[i], b.catalogue(t)); diff != "" {
			t.Errorf("after undoing %d: %s", i+1, diff)
		}
		if diff := cmp.Diff(blueprints[i], b.blueprint(t)); diff != "" {
			t.Errorf("after undoing %d: %s", i+1, diff)
		}
	}
	if _, err := migrate.New(b.owner, migrate.Config{}).Down(t.Context()); !errors.Is(err, migrate.ErrNothingApplied) {
		t.Errorf("got %v, want ErrNothingApplied", err)
	}
	b.up(t)
	if diff := cmp.Diff(blueprints[len(embedded)], b.blueprint(t)); diff != "" {
		t.Errorf("up again: %s", diff)
	}
	if got := b.line(t, `SELECT count(*)::text FROM tenants JOIN audit_logs ON tenant_id = tenants.id`); got != "1" {
		t.Errorf("got %s rows, want the one that was there", got)
	}
}

func TestDownBeforeTheFirstUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := migrate.New(b.owner, migrate.Config{}).Down(t.Context()); !errors.Is(err, migrate.ErrNothingApplied) {
		t.Errorf("got %v, want ErrNothingApplied", err)
	}
	if got := b.catalogue(t); got != "" {
		t.Errorf("something was made:\n%s", got)
	}
}

func TestDownVersionError(t *testing.T) {
	t.Parallel()
	for change, want := range map[string]error{
		`UPDATE courtroll_migrations SET checksum = 'other' WHERE version = 2`:                      migrate.ErrChecksum,
		`INSERT INTO courtroll_migrations (version, name, checksum) VALUES (999, 'newer', 'other')`: migrate.ErrUnknownVersion,
	} {
		t.Run(want.Error(), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.up(t)
			b.exec(t, change)
			before, versions := b.catalogue(t), b.versions(t)
			_, err := migrate.New(b.owner, migrate.Config{}).Down(t.Context())
			var refused *migrate.VersionError
			if !errors.As(err, &refused) || !errors.Is(err, want) {
				t.Errorf("got %v, want a VersionError with %v", err, want)
			}
			if diff := cmp.Diff(before, b.catalogue(t)) + cmp.Diff(versions, b.versions(t)); diff != "" {
				t.Errorf("something was undone: %s", diff)
			}
		})
	}
}

func TestDownLeavesOthersIndexAlone(t *testing.T) {
	t.Parallel()

	t.Run("which the version had taken", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, foreignTables...)
		b.exec(t, `CREATE INDEX theirs ON audit_logs (tenant_id, created_at, id)`)
		b.upTo(t, 2)
		before := b.oid(t, "theirs")
		want := migrate.Migration{Version: 2, Name: "audit_logs_by_tenant", Matched: "theirs"}
		if diff := cmp.Diff(want, b.down(t)); diff != "" {
			t.Error(diff)
		}
		if b.oid(t, "theirs") != before {
			t.Error("the index was made again")
		}
	})

	t.Run("which stands before ours in the search_path", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.upTo(t, 2)
		b.exec(t, `CREATE SCHEMA app`, `CREATE TABLE app.other (id int)`, `CREATE INDEX `+tenantIndex+` ON app.other (id)`)
		b.with(t, "search_path", "app,public").down(t)
		want := []string{"app"}
		if diff := cmp.Diff(want, b.lines(t, `SELECT schemaname::text FROM pg_indexes WHERE indexname = $1`, tenantIndex)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("which has taken our name: ErrIndexDiffers", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.upTo(t, 2)
		b.exec(t, `DROP INDEX `+tenantIndex, `CREATE INDEX `+tenantIndex+` ON audit_logs (action)`)
		before := b.oid(t, tenantIndex)
		_, err := migrate.New(b.owner, migrate.Config{}).Down(t.Context())
		var failed *migrate.DownError
		if !errors.As(err, &failed) || failed.Failed.Version != 2 || !errors.Is(err, migrate.ErrIndexDiffers) {
			t.Errorf("got %v, want a DownError of version 2 with ErrIndexDiffers", err)
		}
		if diff := cmp.Diff([]string{before}, b.lines(t, `SELECT $1::regclass::oid::text`, tenantIndex)); diff != "" {
			t.Error(diff)
		}
	})
}

// A Down that ends while the index waits for an old transaction to let go of it is
// finished by the next one, or taken back by an Up.
func TestDownInterrupted(t *testing.T) {
	t.Parallel()
	for name, then := range map[string]func(t *testing.T, b *bundle){
		"the next Down finishes it": func(t *testing.T, b *bundle) {
			if got := b.down(t).Version; got != 2 {
				t.Errorf("undid %d, want 2", got)
			}
			if diff := cmp.Diff([]string{"1"}, b.versions(t)); diff != "" {
				t.Error(diff)
			}
		},
		"Up builds the index again, and says so": func(t *testing.T, b *bundle) {
			got, err := migrate.New(b.owner, migrate.Config{}).WithFiles(upTo(2)).Up(t.Context())
			want := migrate.Result{Rebuilt: []migrate.Migration{{Version: 2, Name: "audit_logs_by_tenant"}}}
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v, %s", err, diff)
			}
			b.hasIndex(t, tenantIndex)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.upTo(t, 2)
			reader := b.write(t)
			ctx, cancel := context.WithCancel(t.Context())
			failed := make(chan error, 1)
			go func() {
				_, err := migrate.New(b.owner, migrate.Config{}).WithFiles(upTo(2)).Down(ctx)
				failed <- err
			}()
			eventually(t, "the index is no longer valid", func() bool { return len(b.invalid(t)) > 0 })
			cancel()
			var down *migrate.DownError
			if err := <-failed; !errors.As(err, &down) || !errors.Is(err, context.Canceled) {
				t.Fatalf("got %v, want a DownError for the cancelled context", err)
			}
			eventually(t, "the server gave up the lock", func() bool { return b.advisoryLocks(t) == "0" })
			if err := reader.Rollback(); err != nil {
				t.Fatal(err)
			}
			then(t, b)
		})
	}
}

// A transactional version is undone with its record, or not at all.
func TestDownErrorInTheMiddle(t *testing.T) {
	t.Parallel()
	one := func(down string) fs.FS {
		return files("001_a.up.sql", "CREATE TABLE a ();", "001_a.down.sql", down)
	}
	b := setup(t)
	if _, err := migrate.New(b.owner, migrate.Config{}).WithFiles(one("SELECT 1;")).Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := b.catalogue(t)
	_, err := migrate.New(b.owner, migrate.Config{}).WithFiles(one("DROP TABLE a; SELECT 1/0;")).Down(t.Context())
	var got *migrate.DownError
	if !errors.As(err, &got) || code(err) != "22012" {
		t.Fatalf("got %v, want a DownError with the server's division_by_zero", err)
	}
	if diff := cmp.Diff(migrate.DownError{Failed: migrate.Migration{Version: 1, Name: "a"}, Err: got.Err}, *got, cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(before, b.catalogue(t)) + cmp.Diff([]string{"1"}, b.versions(t)); diff != "" {
		t.Errorf("something was undone: %s", diff)
	}
}

// While Down waits for a transaction that may use the index, readers and writers do not wait.
func TestDownQueuesNobody(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.upTo(t, 2)
	old := b.write(t)
	hasty := b.with(t, "lock_timeout", "300")
	failed := make(chan error, 1)
	go func() {
		_, err := migrate.New(hasty.owner, migrate.Config{}).WithFiles(upTo(2)).Down(t.Context())
		failed <- err
	}()
	eventually(t, "Down waits", func() bool { return len(b.invalid(t)) > 0 })
	for deadline := time.Now().Add(time.Second); time.Now().Before(deadline); {
		hasty.exec(t, `SELECT count(*) FROM audit_logs`, `INSERT INTO audit_logs (action, resource_type) VALUES ('a', 'r')`)
	}
	if err := errors.Join(old.Commit(), <-failed); err != nil {
		t.Errorf("Down: %v", err)
	}
}
