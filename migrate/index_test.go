package migrate_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/migrate"
)

const (
	tenantIndex   = "courtroll_audit_logs_tenant"
	resourceIndex = "courtroll_audit_logs_resource"
)

// hasIndex checks that there is a valid index of that name.
func (b *bundle) hasIndex(t testing.TB, name string) {
	t.Helper()
	got := b.lines(t, `SELECT indisvalid::text FROM pg_index WHERE indexrelid = to_regclass($1)`, name)
	if diff := cmp.Diff([]string{"true"}, got); diff != "" {
		t.Errorf("index %s: %s", name, diff)
	}
}

func (b *bundle) oid(t testing.TB, relation string) string {
	t.Helper()
	return b.line(t, `SELECT $1::regclass::oid::text`, relation)
}

// interrupt leaves the first index build half done: a transaction that has
// written keeps it waiting until its context ends.
func (b *bundle) interrupt(t testing.TB) {
	t.Helper()
	b.exec(t, foreignTables...)
	writer := b.write(t)
	defer writer.Rollback()
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := migrate.New(b.owner, migrate.Config{}).Up(ctx)
		failed <- err
	}()
	eventually(t, "the index is in the catalogue, not valid", func() bool { return len(b.invalid(t)) > 0 })
	cancel()
	err := <-failed
	var upErr *migrate.UpError
	if !errors.As(err, &upErr) || upErr.Failed.Version != 2 || !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v, want an UpError of version 2 for the cancelled context", err)
	}
	eventually(t, "the server gave up the build and the lock", func() bool { return b.advisoryLocks(t) == "0" })
}

func (b *bundle) invalid(t testing.TB) []string {
	t.Helper()
	return b.lines(t, `SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid`)
}

func TestUpReplacesInterruptedIndex(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.interrupt(t)
	if diff := cmp.Diff([]string{tenantIndex}, b.invalid(t)); diff != "" {
		t.Fatalf("the interrupted build should have left its index: %s", diff)
	}
	left := b.oid(t, tenantIndex)
	result := b.up(t)
	if len(result.Applied) == 0 || result.Applied[0].Version != 2 {
		t.Errorf("got %+v, want to go on from version 2", result)
	}
	if got := b.invalid(t); len(got) > 0 {
		t.Errorf("still invalid: %s", got)
	}
	if b.oid(t, tenantIndex) == left {
		t.Error("the index is the one that was left")
	}
}

func TestUpRecordsIndexOfACrashedUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.up(t)
	b.exec(t, `DELETE FROM courtroll_migrations WHERE version = 2`)
	before := b.oid(t, tenantIndex)
	want := migrate.Result{Applied: []migrate.Migration{{Version: 2, Name: "audit_logs_by_tenant"}}}
	if diff := cmp.Diff(want, b.up(t)); diff != "" {
		t.Error(diff)
	}
	if b.oid(t, tenantIndex) != before {
		t.Error("the finished index was built again")
	}
}

func TestUpMatchesIndexByDefinition(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, made string
		matched    string
	}{
		{"takes an equal one of another name", `CREATE INDEX theirs ON audit_logs (tenant_id, created_at, id)`, "theirs"},
		{"takes a name that needs quotes", `CREATE INDEX "Their USING index" ON audit_logs USING btree (tenant_id ASC, "created_at", id)`, "Their USING index"},
		{"not with a column less", `CREATE INDEX theirs ON audit_logs (tenant_id, created_at)`, ""},
		{"not with a column more", `CREATE INDEX theirs ON audit_logs (tenant_id, created_at, id) INCLUDE (action)`, ""},
		{"not in another order", `CREATE INDEX theirs ON audit_logs (tenant_id, created_at DESC, id)`, ""},
		{"not a partial one", `CREATE INDEX theirs ON audit_logs (tenant_id, created_at, id) WHERE actor_id IS NOT NULL`, ""},
		{"not a unique one", `CREATE UNIQUE INDEX theirs ON audit_logs (tenant_id, created_at, id)`, ""},
		{"not one of another collation", `CREATE INDEX theirs ON audit_logs (tenant_id COLLATE "POSIX", created_at, id)`, ""},
		{"not one of another operator class", `CREATE INDEX theirs ON audit_logs (tenant_id text_pattern_ops, created_at, id)`, ""},
		{"not one of another table", `CREATE TABLE other (LIKE audit_logs); CREATE INDEX theirs ON other (tenant_id, created_at, id)`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, foreignTables...)
			b.exec(t, test.made)
			result := b.up(t)
			at := slices.IndexFunc(result.Applied, func(m migrate.Migration) bool { return m.Version == 2 })
			if got := result.Applied[at].Matched; got != test.matched {
				t.Errorf("matched %q, want %q", got, test.matched)
			}
			built := len(b.lines(t, `SELECT 'built' WHERE to_regclass($1) IS NOT NULL`, tenantIndex)) > 0
			if built == (test.matched != "") {
				t.Errorf("built %t, matched %q", built, test.matched)
			}
		})
	}

	t.Run("not an invalid one", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.interrupt(t)
		b.exec(t, `ALTER INDEX `+tenantIndex+` RENAME TO theirs`)
		if got := b.up(t).Applied[0].Matched; got != "" {
			t.Errorf("matched the invalid %q", got)
		}
		b.hasIndex(t, tenantIndex)
	})
}

func TestUpErrIndexDiffers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, made string }{
		{"another index of the table", `CREATE INDEX ` + resourceIndex + ` ON audit_logs (resource_id)`},
		{"an index of another table", `CREATE INDEX ` + resourceIndex + ` ON tenants (logo)`},
		{"a table", `CREATE TABLE ` + resourceIndex + ` ()`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, foreignTables...)
			b.exec(t, test.made)
			before := b.oid(t, resourceIndex)
			_, err := migrate.New(b.owner, migrate.Config{}).Up(t.Context())
			var upErr *migrate.UpError
			if !errors.As(err, &upErr) || !errors.Is(err, migrate.ErrIndexDiffers) {
				t.Fatalf("got %v, want an UpError with ErrIndexDiffers", err)
			}
			if upErr.Failed.Version != 3 || len(upErr.Applied) != 2 {
				t.Errorf("got failed %+v after %+v, want 3 after 1 and 2", upErr.Failed, upErr.Applied)
			}
			if diff := cmp.Diff([]string{"1", "2"}, b.versions(t)); diff != "" {
				t.Error(diff)
			}
			if b.oid(t, resourceIndex) != before {
				t.Error("the relation was replaced")
			}
		})
	}
}

// A build that waits for a writer outlasts the limits that its connection has,
// and gives them back.
func TestUpOutlastsTimeouts(t *testing.T) {
	t.Parallel()
	for _, setting := range []string{"statement_timeout", "lock_timeout"} {
		t.Run(setting, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(t, foreignTables...)
			writer := b.write(t)
			const limit = time.Second
			hasty := b.with(t, setting, "1000")
			hasty.sql.SetMaxOpenConns(1)
			failed := make(chan error, 1)
			go func() {
				_, err := migrate.New(hasty.owner, migrate.Config{}).Up(t.Context())
				failed <- err
			}()
			eventually(t, "the build waits for the writer", func() bool { return len(b.invalid(t)) > 0 })
			time.Sleep(limit + limit/2)
			if err := writer.Commit(); err != nil {
				t.Fatal(err)
			}
			if err := <-failed; err != nil {
				t.Errorf("Up: %v", err)
			}
			if got := hasty.line(t, `SELECT current_setting($1)`, setting); got != "1s" {
				t.Errorf("got %s %s afterwards, want 1s", setting, got)
			}
		})
	}
}

// write leaves a transaction open that has written to audit_logs.
func (b *bundle) write(t testing.TB) *sql.Tx {
	t.Helper()
	tx, err := b.sql.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() })
	if _, err := tx.ExecContext(t.Context(), `INSERT INTO audit_logs (action, resource_type) VALUES ('a', 'r')`); err != nil {
		t.Fatal(err)
	}
	return tx
}
