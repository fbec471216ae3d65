package sqllex_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/courtroll/courtroll/internal/sqllex"
)

func TestReadRoutine(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		writes     []string
		dynamic    bool
	}{
		{name: "Assigns", text: `BEGIN NEW.updated_at := now(); IF TG_OP = 'UPDATE' THEN NEW.n = OLD.n + 1; END IF; RETURN NEW; END`},
		{name: "Reads", text: `BEGIN SELECT count(*) INTO NEW.n FROM tasks; RETURN NEW; END`},
		{name: "Insert", text: `BEGIN INSERT INTO tasks VALUES (1); RETURN NULL; END`, writes: []string{"tasks"}},
		{name: "Update", text: `BEGIN IF true THEN UPDATE tasks SET n = 1; END IF; END`, writes: []string{"tasks"}},
		{name: "UpdateOnly", text: `UPDATE ONLY Crm.Tasks * SET n = 1`, writes: []string{"crm.tasks"}},
		{name: "Delete", text: `DELETE FROM ONLY "Crm"."Ta.sks"`, writes: []string{"Crm.Ta.sks"}},
		{name: "Merge", text: `MERGE INTO tasks t USING x ON true WHEN MATCHED THEN UPDATE SET n = 1`, writes: []string{"tasks", "set"}},
		{name: "With", text: `WITH d AS (DELETE FROM tasks RETURNING *) INSERT INTO archive SELECT * FROM d`, writes: []string{"tasks", "archive"}},
		{name: "Upsert", text: `INSERT INTO tasks AS t (n) VALUES (1) ON CONFLICT DO UPDATE SET n = 2`, writes: []string{"tasks", "set"}},
		{name: "Truncate", text: `TRUNCATE TABLE ONLY a, public.b *, "c" CASCADE`, writes: []string{"a", "public.b", "c"}},
		{name: "Copy", text: `COPY tasks FROM '/tmp/x'`, writes: []string{"tasks"}},
		{name: "ThreeParts", text: `DELETE FROM shop.public.tasks`, writes: []string{"public.tasks"}},
		{name: "Lock", text: `SELECT 1 FROM tasks FOR UPDATE; SELECT 1 FROM tasks FOR NO KEY UPDATE OF tasks`, writes: []string{"of"}},
		{name: "Comments", text: `BEGIN -- INSERT INTO tasks
			/* DELETE FROM tasks /* UPDATE tasks */ */ RETURN NEW; END`},
		{name: "Literals", text: `BEGIN RAISE NOTICE 'DELETE FROM tasks', E'\'UPDATE tasks', $q$INSERT INTO tasks$q$; END`},
		{name: "CommentBetween", text: `DELETE /* x */ FROM -- y
			tasks`, writes: []string{"tasks"}},
		{name: "Execute", text: `BEGIN EXECUTE format('DELETE FROM %I', TG_ARGV[0]); END`, dynamic: true},
		{name: "ForExecute", text: `FOR r IN EXECUTE q LOOP END LOOP`, dynamic: true},
		{name: "NoExecute", text: `GRANT EXECUTE ON FUNCTION f TO x; SELECT a.execute, "execute" FROM a`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, err := sqllex.ReadRoutine(c.text)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.writes, names(r.Writes)); diff != "" || r.Dynamic != c.dynamic {
				t.Errorf("dynamic %t, writes:\n%s", r.Dynamic, diff)
			}
		})
	}
	r, err := sqllex.ReadRoutine(`BEGIN PERFORM crm.touch(1), "Bump" (2); CALL tidy(); x := 'f('; END`)
	if err != nil || !slices.Equal(names(r.Calls), []string{"crm.touch", "Bump", "tidy"}) {
		t.Errorf("calls %v, error %v", names(r.Calls), err)
	}
	if _, err := sqllex.ReadRoutine(`SELECT U&"t\0061sks"`); err == nil {
		t.Error("no error of what is not read")
	}
}

func names(refs []sqllex.Ref) (all []string) {
	for _, ref := range refs {
		all = append(all, ref.String())
	}
	return all
}
