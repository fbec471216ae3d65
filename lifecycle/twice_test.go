package lifecycle_test

import (
	"io"
	"testing"

	"github.com/courtroll/courtroll/lifecycle"
)

// SlimProject is another model of projects.
type SlimProject struct {
	ID       int64
	TenantID string
}

// TableName names the table with its schema.
func (SlimProject) TableName() string { return "public.projects" }

// Event is in a partitioned table, with Event26 of a partition.
type Event struct {
	TenantID string
	Y        int
}

// Event26 is a part of Event.
type Event26 struct {
	TenantID string
	Y        int
}

// TestDelete_Once counts a row once, whatever its models.
func TestDelete_Once(t *testing.T) {
	t.Parallel()
	b := setup(t, alone)
	b.run(t, `CREATE TABLE events (tenant_id text NOT NULL, y int, project_id bigint) PARTITION BY LIST (y)`, `CREATE TABLE event26 PARTITION OF events FOR VALUES IN (26)`,
		`ALTER TABLE event26 ADD FOREIGN KEY (project_id) REFERENCES projects`, `GRANT ALL ON events, event26 TO PUBLIC`, `INSERT INTO events VALUES ('acme', 26, 1000001)`)
	more := []any{&SlimProject{}, &Event{}, &Event26{}}
	exported, err := lifecycle.Export(b.system, b.app, "acme", io.Discard, lifecycle.Options{Models: more, LeaveOutTrail: true})
	must(t, err)
	must(t, lifecycle.Suspend(b.system, b.app, "acme"))
	deleted, err := lifecycle.Delete(b.system, b.app, "acme", lifecycle.Deletion{Reason: "r", Pace: fast, Models: more})
	must(t, err)
	for what, counts := range map[string][]lifecycle.Count{"Export": exported, "Delete": deleted} {
		n := byTable(counts)
		if n["projects"]+n["public.projects"] != 30 || n["events"]+n["event26"] != 1 {
			t.Errorf("%s: %v", what, n)
		}
	}
}
