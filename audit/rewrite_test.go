package audit_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/plan"
	"github.com/courtroll/courtroll/internal/trail"
)

var update = flag.Bool("update", false, "write the golden files anew")

const catalogue = `{"version": %d, "kind": "r", "audit_logs": "public", "uuid": "public", "unique": [{"columns": ["id"], "index": 1}], "columns": [
	{"name": "id", "type": "int8", "not_null": true}, {"name": "tenant_id", "type": "text"}, {"name": "a\"b", "type": "text", "wide": true},
	{"name": "pin", "type": "text"}, {"name": "updated_at", "type": "timestamptz"}, {"name": "deleted_at", "type": "timestamptz"}]}`

func notes(t *testing.T, version int, edit ...string) *trail.Table {
	t.Helper()
	table, err := trail.Compile(&plan.Audited{
		Table: "notes", Tenant: "tenant_id", Keys: []string{"id"}, DeletedAt: "deleted_at",
		Columns: []plan.Column{{Name: "pin", Treatment: plan.Redact}, {Name: "updated_at", Auto: true}},
	}, strings.NewReplacer(edit...).Replace(fmt.Sprintf(catalogue, version)), 0)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestRewrite shows what is sent for each kind of change; testdata holds the texts.
func TestRewrite(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query     string
		params    int
		isDelete  bool
		returning bool
		differs   bool // on a server that returns old values
	}{
		"create":               {query: `INSERT INTO "notes" ("a""b") VALUES ($1) RETURNING "id"`, params: 1, returning: true},
		"upsert":               {query: `INSERT INTO "notes" ("id") VALUES ($1) ON CONFLICT ("id") DO UPDATE SET "a""b"="excluded"."a""b"`, params: 1, differs: true},
		"do_nothing":           {query: `INSERT INTO "notes" ("id") VALUES ($1) ON CONFLICT DO NOTHING`, params: 1},
		"update_from":          {query: `UPDATE "notes" SET "a""b"=o.x FROM other o WHERE o.id = "notes"."id"`},
		"upsert_by_constraint": {query: `INSERT INTO "notes" ("id","pin") VALUES ($1,$2),(DEFAULT,$3) ON CONFLICT ("id") DO UPDATE SET "pin"=$2 WHERE true RETURNING *`, params: 3, returning: true},
		"update":               {query: `UPDATE "notes" SET "a""b"=$1 WHERE "notes"."tenant_id" = $2 AND ("id" = $3` + "\n)", params: 3, differs: true},
		"update_all":           {query: `UPDATE "notes" AS "n" SET "pin"=$1 RETURNING *`, params: 1, returning: true},
		"soft_delete":          {query: `UPDATE "notes" SET "deleted_at"=$1 WHERE "id" = $2`, params: 2, isDelete: true},
		"delete":               {query: `DELETE FROM "notes" WHERE "id" = $1 RETURNING "id","a""b"`, params: 1, isDelete: true, returning: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for suffix, version := range map[string]int{"": 15_00_18, "_18": 18_00_04} {
				if suffix != "" && !tc.differs {
					continue
				}
				got, err := audit.Rewrite(tc.query, tc.params, notes(t, version), tc.isDelete, tc.returning)
				if err != nil {
					t.Fatal(err)
				}
				compare(t, filepath.Join("testdata", name+suffix+".sql"), got+"\n")
			}
		})
	}
}

func compare(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}

func TestRewrite_Refuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query string
		edit  []string // of the catalogue
	}{
		"another table":                 {query: `UPDATE "other" SET "x"=$1`},
		"a read":                        {query: `SELECT * FROM "notes"`},
		"a CTE":                         {query: `WITH x AS (SELECT 1) DELETE FROM "notes"`},
		"a view without a key":          {`UPDATE "notes" SET "x"=$1`, []string{`"kind": "r"`, `"kind": "v"`, `{"columns": ["id"], "index": 1}`, ``, `{"name": "id"`, `{"name": "other"`}},
		"an upsert of a partitioned":    {`INSERT INTO "notes" ("x") VALUES ($1) ON CONFLICT ("id") DO UPDATE SET "x"=$1`, []string{`"kind": "r"`, `"kind": "p"`}},
		"an upsert without a key":       {`INSERT INTO "notes" ("x") VALUES ($1) ON CONFLICT (lower("x")) DO UPDATE SET "x"=$1`, []string{`{"columns": ["id"], "index": 1}`, ``}},
		"a RETURNING that nobody reads": {query: `DELETE FROM "notes" RETURNING *`},
	} {
		if _, err := audit.Rewrite(tc.query, 1, notes(t, 15_00_18, tc.edit...), false, false); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := audit.Rewrite(`UPDATE "notes" SET "x"="x" IS DISTINCT FROM $1 WHERE true`, 1, notes(t, 15_00_18), false, false); err != nil {
		t.Errorf("IS DISTINCT FROM is no FROM: %v", err)
	}
}
