package audit_test

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/plan"
)

var update = flag.Bool("update", false, "write the golden files anew")

var notes = &plan.Audited{
	Table: "notes", Tenant: "tenant_id", Keys: []string{"id"}, DeletedAt: "deleted_at",
	Columns: []plan.Column{
		{Name: "id"}, {Name: `a"b`}, {Name: "pin", Treatment: plan.Redact},
		{Name: "updated_at", Auto: true, Time: true}, {Name: "deleted_at", Time: true},
	},
}

// TestRewrite shows what is sent for each kind of change; testdata holds the texts.
func TestRewrite(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		query     string
		params    int
		isDelete  bool
		returning bool
	}{
		"create":      {query: `INSERT INTO "notes" ("a""b") VALUES ($1) RETURNING "id"`, params: 1, returning: true},
		"upsert":      {query: `INSERT INTO "notes" ("id") VALUES ($1) ON CONFLICT ("id") DO UPDATE SET "a""b"="excluded"."a""b"`, params: 1},
		"do_nothing":  {query: `INSERT INTO "notes" ("id") VALUES ($1) ON CONFLICT DO NOTHING`, params: 1},
		"update":      {query: `UPDATE "notes" SET "a""b"=$1 WHERE "notes"."tenant_id" = $2 AND ("id" = $3` + "\n)", params: 3},
		"update_all":  {query: `UPDATE "notes" AS "n" SET "pin"=$1 RETURNING *`, params: 1, returning: true},
		"soft_delete": {query: `UPDATE "notes" SET "deleted_at"=$1 WHERE "id" = $2`, params: 2, isDelete: true},
		"delete":      {query: `DELETE FROM "notes" WHERE "id" = $1 RETURNING "id","a""b"`, params: 1, isDelete: true, returning: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := audit.Rewrite(tc.query, tc.params, notes, tc.isDelete, tc.returning)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".sql")
			if *update {
				if err := os.WriteFile(golden, []byte(got+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got+"\n"); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRewrite_Refuses(t *testing.T) {
	t.Parallel()
	keyless := &plan.Audited{Table: "notes", Columns: notes.Columns}
	for name, tc := range map[string]struct {
		query string
		model *plan.Audited
	}{
		"another table":                 {`UPDATE "other" SET "x"=$1`, notes},
		"a read":                        {`SELECT * FROM "notes"`, notes},
		"a CTE":                         {`WITH x AS (SELECT 1) DELETE FROM "notes"`, notes},
		"two statements":                {`DELETE FROM "notes"; DELETE FROM "notes"`, notes},
		"an UPDATE FROM":                {`UPDATE "notes" SET "x"=y FROM other WHERE true`, notes},
		"no key to join on":             {`UPDATE "notes" SET "x"=$1`, keyless},
		"no key to look up":             {`INSERT INTO "notes" ("x") VALUES ($1) ON CONFLICT ("x") DO UPDATE SET "x"=$1`, keyless},
		"a RETURNING that nobody reads": {`DELETE FROM "notes" RETURNING *`, notes},
	} {
		if _, err := audit.Rewrite(tc.query, 1, tc.model, false, false); !errors.Is(err, audit.ErrUnaudited) {
			t.Errorf("%s: %v, want ErrUnaudited", name, err)
		}
	}
	if _, err := audit.Rewrite(`UPDATE "notes" SET "x"="x" IS DISTINCT FROM $1 WHERE true`, 1, notes, false, false); err != nil {
		t.Errorf("IS DISTINCT FROM is no FROM: %v", err)
	}
}
