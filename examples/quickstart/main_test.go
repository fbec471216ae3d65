package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"gorm.io/driver/postgres"

	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

// wantSample are lines of a run with the sample.
var wantSample = []string{
	"Edits:    2,040 of 793 pages in 51 Wikipedias\n",
	" edits per second\n",
	"Most-edited pages of de.wikipedia",
	`History of "Wikipedia:Vandalismusmeldung": 33 entries, newest first`,
	"│ (anonymous) │ 87.155.253.182 │ update │", "revisions 32 → 33", "│ create │",
	"What en.wikipedia gets of the page",
	"record not found", "the key is taken", "the tenant of a row cannot change",
	`tenancy: table "pages": no tenant: `,
	"✓ the page's row is the same, byte for byte",
	"✓ tenants: 51 in SQL, 51 computed from the file",
	"✓ pages: 793 in SQL, 793 computed from the file",
	"✓ revisions: 2,040 in SQL, 2,040 computed from the file",
	"✓ audit rows: 4,132 in SQL, 4,132 computed from the file",
	"✓ audit rows of pages create: 793 in SQL", "✓ audit rows of pages update: 1,247 in SQL",
	"✓ every old value in the trail is the new value before it",
	"✓ migrate.Doctor finds nothing that undermines the walls",
	"\nAll 26 checks held.\n",
}

func TestRun(t *testing.T) {
	t.Parallel()
	db, dsn := named(t)
	before := content(t, db)
	var out strings.Builder
	if err := quickstart(t.Context(), dsn, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range wantSample {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the output lacks %q", want)
		}
	}
	if strings.Contains(out.String(), "✗") || strings.Contains(out.String(), password) {
		t.Errorf("the output has a failed check or a password:\n%s", out.String())
	}
	if after := content(t, db); after != before {
		t.Errorf("the named database was\n%s\nand is\n%s", before, after)
	}
	if got := leftovers(t, db, out.String()); got != "0 databases, 0 roles" {
		t.Errorf("left %s", got)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestRunKeep(t *testing.T) {
	t.Parallel()
	db, dsn := named(t)
	before := content(t, db)
	var out strings.Builder
	noError(t, quickstart(t.Context(), dsn, &out, "-keep", "-edits", someEdits(t, 20)))
	if after := content(t, db); after != before {
		t.Errorf("the named database was\n%s\nand is\n%s", before, after)
	}
	if got := leftovers(t, db, out.String()); got != "1 databases, 3 roles" {
		t.Errorf("left %s", got)
	}
	if strings.Contains(out.String(), password) {
		t.Error("the output has a password")
	}
	_, drop, found := strings.Cut(out.String(), "-c 'DROP DATABASE ")
	database, roles, alsoFound := strings.Cut(strings.TrimSuffix(drop, "'\n"), "' -c 'DROP ROLE ")
	if !found || !alsoFound {
		t.Fatalf("no command to drop it in: %s", out.String())
	}
	if n := countIn(t, dsn, database); n == 0 {
		t.Error("who kept it sees no row of it")
	}
	login := db.Open(postgres.Open(dsn), nil)
	exec(t, login, "DROP DATABASE "+database, "DROP ROLE "+roles)
	if got := leftovers(t, db, out.String()); got != "0 databases, 0 roles" {
		t.Errorf("after the drop: %s", got)
	}
}

// countIn counts the pages of another database on the server of dsn.
func countIn(t *testing.T, dsn, database string) (pages int) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	noError(t, err)
	cfg.Database = database
	conn, err := pgx.ConnectConfig(t.Context(), cfg)
	noError(t, err)
	defer conn.Close(t.Context())
	noError(t, conn.QueryRow(t.Context(), "SELECT count(*) FROM pages").Scan(&pages))
	return pages
}

// cancelAt cancels when a text is written.
type cancelAt struct {
	strings.Builder
	text   string
	cancel context.CancelFunc
}

func (w *cancelAt) Write(p []byte) (int, error) {
	if strings.Contains(string(p), w.text) {
		w.cancel()
	}
	return w.Builder.Write(p)
}

// TestRunStopped: however a run ends, it cleans up.
func TestRunStopped(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"Database:", "Edits:", "Loaded:", "What a request"} {
		t.Run("cancelled at "+text, func(t *testing.T) {
			t.Parallel()
			db, dsn := named(t)
			ctx, cancel := context.WithCancel(t.Context())
			out := &cancelAt{text: text, cancel: cancel}
			if err := quickstart(ctx, dsn, out, "-edits", someEdits(t, 20)); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			if got := leftovers(t, db, out.String()); got != "0 databases, 0 roles" {
				t.Errorf("left %s", got)
			}
		})
	}

	t.Run("by an edit that PostgreSQL cannot store", func(t *testing.T) {
		t.Parallel()
		db, dsn := named(t)
		var out strings.Builder
		file := write(t, `{"time":"2015-09-12T00:00:00Z","channel":"#en.wikipedia","page":"nul \u0000","user":"u"}`)
		err := quickstart(t.Context(), dsn, &out, "-edits", file)
		if err == nil || !strings.Contains(err.Error(), "making edit 1: ") {
			t.Errorf("got %v", err)
		}
		if got := leftovers(t, db, out.String()); got != "0 databases, 0 roles" {
			t.Errorf("left %s", got)
		}
	})
}

func TestRunPrivilegeError(t *testing.T) {
	t.Parallel()
	db, _ := named(t)
	var out strings.Builder
	err := quickstart(t.Context(), db.AppDSN, &out)
	if !errors.As(err, new(*demo.PrivilegeError)) || !strings.Contains(err.Error(), "lacks CREATEDB and CREATEROLE") {
		t.Errorf("got %v", err)
	}
}

func TestRunArguments(t *testing.T) {
	t.Parallel()
	for argument, want := range map[string]string{
		"stray": "unexpected argument", "-unknown": "not defined", "-edits=/nonexistent": "no such file", "-keep": "needs DATABASE_URL",
	} {
		var out strings.Builder
		if err := quickstart(t.Context(), "", &out, argument); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", argument, err)
		}
	}
}

// TestRunPrivate is the run without DATABASE_URL.
func TestRunPrivate(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	err := quickstart(t.Context(), "", &out, "-edits", someEdits(t, 20))
	if none := (*server.StartError)(nil); errors.As(err, &none) && os.Getenv("COURTROLL_TEST_DSN") != "" {
		t.Skipf("this machine has a server by COURTROLL_TEST_DSN alone: %v", err)
	}
	if err != nil || !strings.Contains(out.String(), "checks held") {
		t.Errorf("got %v\n%s", err, out.String())
	}
}
