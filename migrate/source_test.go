package migrate_test

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

// files makes a file system of pairs of name and text.
func files(pairs ...string) fs.FS {
	m := fstest.MapFS{"sql": {Mode: fs.ModeDir | 0o755}}
	for i := 0; i < len(pairs); i += 2 {
		m["sql/"+pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

const (
	mark      = "-- courtroll: no transaction\n"
	buildX    = mark + "-- Why.\nCREATE INDEX CONCURRENTLY IF NOT EXISTS x\n\tON t (a, b);\n"
	dropX     = mark + "DROP INDEX CONCURRENTLY IF EXISTS x;\n"
	emptyFile = "-- nothing but\n  -- comments\n\n"
)

func TestLoad(t *testing.T) {
	t.Parallel()

	t.Run("OK in order of number", func(t *testing.T) {
		t.Parallel()
		list, builds, err := migrate.Load(files(
			"002_x.up.sql", buildX, "010_last.up.sql", "SELECT 10;", "001_a.down.sql", "SELECT -1;", "001_a.up.sql", "SELECT 1;",
			"002_x.down.sql", dropX, "003_c.up.sql", "SELECT 3;", "003_c.down.sql", "SELECT -3;", "004_d.up.sql", "SELECT 4;",
			"004_d.down.sql", "SELECT -4;", "005_e.up.sql", "SELECT 5;", "005_e.down.sql", "SELECT -5;", "006_f.up.sql", "SELECT 6;",
			"006_f.down.sql", "SELECT -6;", "007_g.up.sql", "SELECT 7;", "007_g.down.sql", "SELECT -7;", "008_h.up.sql", "SELECT 8;",
			"008_h.down.sql", "SELECT -8;", "009_i.up.sql", "SELECT 9;", "009_i.down.sql", "SELECT -9;", "010_last.down.sql", "SELECT -10;"))
		if err != nil {
			t.Fatal(err)
		}
		for i, m := range list {
			if m.Version != i+1 {
				t.Errorf("got version %d at %d", m.Version, i)
			}
			if builds[i] != (m.Name == "x") {
				t.Errorf("version %d builds an index: %t", m.Version, builds[i])
			}
		}
		if diff := cmp.Diff(migrate.Migration{Version: 10, Name: "last"}, list[9]); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("OK without any", func(t *testing.T) {
		t.Parallel()
		if list, _, err := migrate.Load(files()); err != nil || len(list) > 0 {
			t.Errorf("got %v, %v", list, err)
		}
	})

	t.Run("OK embedded", func(t *testing.T) {
		t.Parallel()
		list, _, err := migrate.Load(migrate.Embedded)
		if err != nil || len(list) == 0 {
			t.Errorf("got %v, %v", list, err)
		}
	})
}

func TestLoadRefuses(t *testing.T) {
	t.Parallel()
	const ok, okDown = "SELECT 1;", "SELECT -1;"
	for _, test := range []struct {
		name  string
		files fs.FS
		want  string // part of the error
	}{
		{"a gap", files("001_a.up.sql", ok, "001_a.down.sql", okDown, "003_c.up.sql", ok, "003_c.down.sql", okDown), "migration 002 is missing"},
		{"a start above 1", files("002_a.up.sql", ok, "002_a.down.sql", okDown), "migration 001 is missing"},
		{"version 0", files("000_a.up.sql", ok, "000_a.down.sql", okDown), "migration 001 is missing"},
		{"a duplicate", files("001_a.up.sql", ok, "001_a.down.sql", okDown, "001_b.up.sql", ok, "001_b.down.sql", okDown), "version 1 is a already"},
		{"a missing up half", files("001_a.down.sql", okDown), "the up half is missing"},
		{"a missing down half", files("001_a.up.sql", ok), "the down half is missing"},
		{"halves of two names", files("001_a.up.sql", ok, "001_b.down.sql", okDown), "version 1 is a already"},
		{"an empty file", files("001_a.up.sql", "", "001_a.down.sql", okDown), "no statement"},
		{"a file of comments", files("001_a.up.sql", ok, "001_a.down.sql", emptyFile), "no statement"},
		{"a name without number", files("a.up.sql", ok), "NNN_name"},
		{"a name without direction", files("001_a.sql", ok), "NNN_name"},
		{"a number of two digits", files("01_a.up.sql", ok), "NNN_name"},
		{"capitals", files("001_A.up.sql", ok), "NNN_name"},
		{"a mark on the up half alone", files("001_x.up.sql", buildX, "001_x.down.sql", "DROP INDEX x;"), "one half runs in a transaction"},
		{"a mark on the down half alone", files("001_x.up.sql", ok, "001_x.down.sql", dropX), "one half runs in a transaction"},
		{"two statements outside a transaction", files("001_x.up.sql", buildX+"SELECT 1;", "001_x.down.sql", dropX), "alone"},
		{"another statement outside a transaction", files("001_x.up.sql", mark+"VACUUM t;", "001_x.down.sql", dropX), "alone"},
		{"a build that cannot be repeated", files("001_x.up.sql", mark+"CREATE INDEX CONCURRENTLY x ON t (a);", "001_x.down.sql", dropX), "alone"},
		{"a build that blocks writers", files("001_x.up.sql", mark+"CREATE INDEX IF NOT EXISTS x ON t (a);", "001_x.down.sql", dropX), "alone"},
		{"a drop of another index", files("001_x.up.sql", buildX, "001_x.down.sql", strings.Replace(dropX, "x;", "y;", 1)), "DROP INDEX CONCURRENTLY IF EXISTS x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := migrate.Load(test.files)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}

	t.Run("no folder", func(t *testing.T) {
		t.Parallel()
		if _, _, err := migrate.Load(fstest.MapFS{}); err == nil {
			t.Error("got no error")
		}
	})
}

func TestChecksum(t *testing.T) {
	t.Parallel()
	sum := func(up, down string) string {
		sums, err := migrate.Checksums(files("001_a.up.sql", up, "001_a.down.sql", down))
		if err != nil {
			t.Fatal(err)
		}
		return sums[0]
	}
	first := sum("SELECT 1,\n2;", "SELECT 3;")
	if got := sum("SELECT 1,\r\n2;", "SELECT 3;"); got != first {
		t.Error("line ends change it")
	}
	if got := sum("SELECT 1,\n2;", "SELECT 4;"); got != first {
		t.Error("the down half changes it")
	}
	if got := sum("SELECT 1, 2;", "SELECT 3;"); got == first {
		t.Error("the up half does not change it")
	}
}
