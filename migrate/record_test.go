package migrate_test

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/migrate"
)

func TestUpVersionError(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, change string
		want         migrate.VersionError
	}{
		{"ErrChecksum", `UPDATE courtroll_migrations SET checksum = 'other' WHERE version = 2`,
			migrate.VersionError{Version: 2, Name: "audit_logs_by_tenant", Err: migrate.ErrChecksum}},
		{"ErrUnknownVersion", `INSERT INTO courtroll_migrations (version, name, checksum) VALUES (999, 'newer', 'x')`,
			migrate.VersionError{Version: 999, Name: "newer", Err: migrate.ErrUnknownVersion}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.up(t)
			// Something to do, before and after the version that is wrong.
			b.exec(t, `DELETE FROM courtroll_migrations WHERE version IN (1, 3)`, test.change,
				`DROP FUNCTION courtroll_uuidv7`, `DROP INDEX `+resourceIndex)
			before, versions := b.catalogue(t), b.versions(t)
			_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
			var got *migrate.VersionError
			if !errors.As(err, &got) {
				t.Fatalf("got %v, want a VersionError", err)
			}
			if diff := cmp.Diff(test.want, *got, cmpopts.EquateErrors()); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
				t.Errorf("something was run: %s", diff)
			}
			if diff := cmp.Diff(versions, b.versions(t)); diff != "" {
				t.Errorf("something was recorded: %s", diff)
			}
		})
	}
}

func TestUpErrorInTheMiddle(t *testing.T) {
	t.Parallel()
	good := []string{
		"001_a.up.sql", "CREATE TABLE a ();", "001_a.down.sql", "DROP TABLE a;",
		"002_b.down.sql", "DROP TABLE b;", "003_c.up.sql", "CREATE TABLE c ();", "003_c.down.sql", "DROP TABLE c;",
	}
	broken := files(append(good, "002_b.up.sql", "CREATE TABLE b (); SELECT 1/0;")...)
	repaired := files(append(good, "002_b.up.sql", "CREATE TABLE b ();")...)
	b := setup(t)
	result, err := migrate.New(b.owner, migrate.Config{}).WithFiles(broken).Up(t.Context())

	var got *migrate.UpError
	if !errors.As(err, &got) {
		t.Fatalf("got %v, want an UpError", err)
	}
	want := migrate.UpError{
		Created: []string{"tenants", "audit_logs", "courtroll_migrations"},
		Applied: []migrate.Migration{{Version: 1, Name: "a"}},
		Failed:  migrate.Migration{Version: 2, Name: "b"},
		Pending: []migrate.Migration{{Version: 3, Name: "c"}},
		Err:     got.Err,
	}
	if diff := cmp.Diff(want, *got, cmpopts.EquateErrors()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(migrate.Result{Created: want.Created, Applied: want.Applied}, result); diff != "" {
		t.Errorf("the result should say as much: %s", diff)
	}
	var state interface{ SQLState() string }
	if !errors.As(err, &state) || state.SQLState() != "22012" {
		t.Errorf("got %v, want to find the server's division_by_zero in it", err)
	}
	if got := b.lines(t, `SELECT relname::text FROM pg_class WHERE relname IN ('b', 'c')`); len(got) > 0 {
		t.Errorf("the failed version left %s", got)
	}
	if diff := cmp.Diff([]string{"1"}, b.versions(t)); diff != "" {
		t.Errorf("records: %s", diff)
	}

	result, err = migrate.New(b.owner, migrate.Config{}).WithFiles(repaired).Up(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	rest := migrate.Result{Applied: []migrate.Migration{{Version: 2, Name: "b"}, {Version: 3, Name: "c"}}}
	if diff := cmp.Diff(rest, result); diff != "" {
		t.Error(diff)
	}
}

func versionsOf(files fs.FS) ([]migrate.Migration, error) {
	list, _, err := migrate.Load(files)
	return list, err
}

// Where a table cannot be created, none is.
func TestUpErrorOnTables(t *testing.T) {
	t.Parallel()
	fails := func(t *testing.T, b *bundle, db *gorm.DB) {
		t.Helper()
		before := b.catalogue(t)
		_, err := migrate.New(db, migrate.Config{}).Up(t.Context())
		var got *migrate.UpError
		if !errors.As(err, &got) {
			t.Fatalf("got %v, want an UpError", err)
		}
		if diff := cmp.Diff(migrate.UpError{Err: got.Err, Pending: must(versionsOf(migrate.Embedded))}, *got, cmpopts.EquateErrors()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
			t.Errorf("something was made: %s", diff)
		}
	}

	t.Run("by a role that may not", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		fails(t, b, b.App)
	})

	t.Run("since a type has the second one's name", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.exec(t, `CREATE TYPE audit_logs AS ENUM ('a')`)
		fails(t, b, b.owner)
	})
}

func TestStatus(t *testing.T) {
	t.Parallel()
	two := files("001_a.up.sql", "SELECT 1;", "001_a.down.sql", "SELECT 1;", "002_b.up.sql", "SELECT 2;", "002_b.down.sql", "SELECT 2;")
	status := func(t *testing.T, b *bundle) []migrate.VersionStatus {
		t.Helper()
		before := b.catalogue(t)
		list, err := migrate.New(b.owner, migrate.Config{}).WithFiles(two).Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, b.catalogue(t)); diff != "" {
			t.Errorf("Status changed something: %s", diff)
		}
		return list
	}

	t.Run("before the first Up", func(t *testing.T) {
		t.Parallel()
		want := []migrate.VersionStatus{{Version: 1, Name: "a", Pending: true}, {Version: 2, Name: "b", Pending: true}}
		if diff := cmp.Diff(want, status(t, setup(t))); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("after it", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		if _, err := migrate.New(b.owner, migrate.Config{}).WithFiles(two).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		at := time.Now()
		want := []migrate.VersionStatus{{Version: 1, Name: "a", AppliedAt: at}, {Version: 2, Name: "b", AppliedAt: at}}
		if diff := cmp.Diff(want, status(t, b), cmpopts.EquateApproxTime(time.Minute)); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("of a database that does not fit, while another migrates", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		if _, err := migrate.New(b.owner, migrate.Config{}).WithFiles(two).Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.hold(t)
		b.exec(t, `UPDATE courtroll_migrations SET version = 7, name = 'newer' WHERE version = 1`,
			`UPDATE courtroll_migrations SET checksum = 'other' WHERE version = 2`)
		at := time.Now()
		want := []migrate.VersionStatus{{Version: 1, Name: "a", Pending: true},
			{Version: 2, Name: "b", AppliedAt: at, ChecksumMismatch: true}, {Version: 7, Name: "newer", AppliedAt: at, Unknown: true}}
		if diff := cmp.Diff(want, status(t, b), cmpopts.EquateApproxTime(time.Minute)); diff != "" {
			t.Error(diff)
		}
	})
}
