package noninterference

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"pgregory.net/rapid"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/tenancy"
)

var programs = flag.Int("programs", 300, "how many programs to run")

var tenants = []string{"acme", "hal", "zeta"}

// site is one tenant's view of the databases.
type site struct {
	tenant string
	index  int
	own    *gorm.DB    // of a database of its own, with plain GORM
	shared [2]*gorm.DB // of the shared database: with tenancy, with audit as well
}

// step is one operation of a program, for one tenant.
type step struct {
	site int
	op   op
}

// GoString is how rapid shows a step.
func (s step) GoString() string { return "\n" + tenants[s.site] + ": " + s.op.text }

func TestNonInterference(t *testing.T) {
	t.Parallel()
	sites, owners := open(t)
	seen := &coverage{finishers: map[string]int{}}
	_ = flag.Set("rapid.checks", fmt.Sprint(*programs))
	_ = flag.Set("rapid.nofailfile", "true")
	rapid.Check(t, func(rt *rapid.T) {
		reset(rt, owners, sites)
		audited := rapid.IntRange(0, 1).Draw(rt, "audited")
		concurrent := rapid.Bool().Draw(rt, "concurrent")
		steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
			i := rapid.IntRange(0, len(sites)-1).Draw(t, "tenant")
			return step{i, drawOp(t, newWorld(i))}
		}), 1, 12).Draw(rt, "steps")

		alone, together := make([]outcome, len(steps)), make([]outcome, len(steps))
		for i, s := range steps {
			alone[i] = runAlone(sites[s.site], s.op)
		}
		runShared(sites, steps, audited, concurrent, together)
		for i, s := range steps {
			seen.count(s.op, alone[i])
			if alone[i] != together[i] {
				rt.Fatalf("step %d, %s: %s\nalone:  %v\nshared: %v", i+1, sites[s.site].tenant, s.op.text, alone[i], together[i])
			}
		}
		compareRows(rt, owners, sites)
	})
	seen.report(t)
}

// open makes a shared database and one for each tenant; the owners' handles are
// the shared one's, then the tenants'.
func open(t *testing.T) ([]site, []*gorm.DB) {
	t.Helper()
	config := func() *gorm.Config {
		return &gorm.Config{TranslateError: true, Logger: logger.Discard}
	}
	use := func(db *gorm.DB, plugins ...gorm.Plugin) *gorm.DB {
		if err := db.SetupJoinTable(&Team{}, "Tags", &TeamTag{}); err != nil {
			t.Fatal(err)
		}
		for _, plugin := range plugins {
			if err := db.Use(plugin); err != nil {
				t.Fatal(err)
			}
		}
		return db
	}
	db := pgtest.New(t, schema)
	owners := []*gorm.DB{db.Owner}
	confined := use(db.OpenApp(config()), tenancy.New(tenancy.Config{Rules: rules}))
	audited := use(db.OpenApp(config()), audit.New(audit.Config{Rules: rules}), tenancy.New(tenancy.Config{Rules: rules}))
	sites := make([]site, len(tenants))
	for i, tenant := range tenants {
		own := pgtest.New(t, schema)
		stampJoinRows(t, own.Owner, tenant)
		owners = append(owners, own.Owner)
		ctx := tenancy.WithTenant(context.Background(), tenant)
		sites[i] = site{tenant, i, use(own.OpenApp(config())), [2]*gorm.DB{confined.WithContext(ctx), audited.WithContext(ctx)}}
	}
	return sites, owners
}

// stampJoinRows makes the database of one tenant fill in what plain GORM leaves
// out of the join rows that it makes itself.
func stampJoinRows(t *testing.T, owner *gorm.DB, tenant string) {
	t.Helper()
	err := owner.Exec(fmt.Sprintf(`
		CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.tenant_id = '%s'; RETURN NEW; END $$;
		CREATE TRIGGER stamp BEFORE INSERT ON team_tags FOR EACH ROW EXECUTE FUNCTION stamp()`, tenant)).Error
	if err != nil {
		t.Fatal(err)
	}
}

// reset gives every tenant the same few rows, in its own database and in the shared one.
func reset(t *rapid.T, owners []*gorm.DB, sites []site) {
	for i, owner := range owners {
		text := ""
		for _, table := range append(slices.Clone(tables), "audit_logs") {
			text += "DELETE FROM " + table + "; "
		}
		for _, s := range sites {
			if i > 0 && i-1 != s.index {
				continue
			}
			for _, row := range []string{
				"teams (id, tenant_id, name, n) VALUES (%[1]d+1, '%[2]s', 'a', 1), (%[1]d+2, '%[2]s', 'b', 2)",
				"teams (id, tenant_id, name, n, parent_id) VALUES (%[1]d+3, '%[2]s', 'c', 3, %[1]d+1)",
				"members (id, tenant_id, name, n, team_id) VALUES (%[1]d+1, '%[2]s', 'a', 1, %[1]d+1), (%[1]d+2, '%[2]s', 'b', 2, %[1]d+1), (%[1]d+3, '%[2]s', 'c', 3, NULL)",
				"badges (tenant_id, team_id, n) VALUES ('%[2]s', %[1]d+1, 1)",
				"tags (id, tenant_id, name) VALUES (%[1]d+1, '%[2]s', 'a'), (%[1]d+2, '%[2]s', 'b')",
				"team_tags (tenant_id, team_id, tag_id) VALUES ('%[2]s', %[1]d+1, %[1]d+1)",
				"notes (id, tenant_id, owner_id, owner_type, text) VALUES (%[1]d+1, '%[2]s', %[1]d+1, 'teams', 'a'), (%[1]d+2, '%[2]s', %[1]d+1, 'members', 'b')",
			} {
				text += fmt.Sprintf("INSERT INTO "+row+"; ", newWorld(s.index).base, s.tenant)
			}
		}
		if err := owner.Exec(text).Error; err != nil {
			t.Fatal(err)
		}
	}
}

// runShared runs the steps in the shared database: in their order, or those of
// each tenant in a goroutine of its own.
func runShared(sites []site, steps []step, audited int, concurrent bool, out []outcome) {
	var wg sync.WaitGroup
	for _, s := range sites {
		work := func() {
			for i, step := range steps {
				if step.site == s.index {
					out[i] = run(s.shared[audited], step.op, "")
				}
			}
		}
		if concurrent {
			wg.Go(work)
		}
	}
	wg.Wait()
	for i, step := range steps {
		if !concurrent {
			out[i] = run(sites[step.site].shared[audited], step.op, "")
		}
	}
}

// outcome is what an operation shows of itself.
type outcome struct {
	Result   string
	Affected int64
	Error    string
}

func run(db *gorm.DB, o op, tenantID string) outcome {
	result, affected, err := o.run(db.Session(&gorm.Session{}), tenantID)
	out := outcome{Affected: affected, Error: errorKind(err)}
	if err == nil || out.Error == "not found" {
		out.Result = normal(result)
	}
	return out
}

// runAlone runs an operation in the tenant's own database. Hand-written SQL on a
// tenant's tables is the one exception to the rule that results are the same: the
// plugin refuses it, whatever it would do.
func runAlone(s site, o op) outcome {
	if o.opaque {
		return outcome{Error: errOpaque}
	}
	return run(s.own, o, s.tenant)
}

const errOpaque = "hand-written SQL"

func errorKind(err error) string {
	for kind, known := range map[string]error{
		"not found": gorm.ErrRecordNotFound, "duplicated key": gorm.ErrDuplicatedKey,
		"foreign key": gorm.ErrForeignKeyViolated, "no condition": gorm.ErrMissingWhereClause,
	} {
		if errors.Is(err, known) {
			return kind
		}
	}
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return ""
	case errors.Is(err, tenancy.ErrOpaqueSQL):
		return errOpaque
	case errors.As(err, new(*tenancy.StatementError)), errors.As(err, new(*audit.ChangeError)):
		return err.Error()
	case errors.As(err, &pg):
		return pg.Code
	}
	kind, _, _ := strings.Cut(err.Error(), "&") // GORM's own go on with a row, whichever came first
	return kind
}

// instant is a time, which differs from run to run.
var instant = regexp.MustCompile(`"\d{4}-\d\d-\d\dT[^"]*"`)

// normal renders a result as a set, unless it is a text, which is in order.
func normal(result any) string {
	if text, ok := result.(string); ok {
		return text
	}
	raw, err := json.Marshal(result)
	if err != nil {
		return err.Error()
	}
	var v any
	_ = json.Unmarshal(instant.ReplaceAll(raw, []byte(`"T"`)), &v)
	sorted, _ := json.Marshal(sortAll(v))
	return string(sorted)
}

func sortAll(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key := range v {
			v[key] = sortAll(v[key])
		}
	case []any:
		for i := range v {
			v[i] = sortAll(v[i])
		}
		slices.SortFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	}
	return v
}

// compareRows compares what each tenant has in the end.
func compareRows(t *rapid.T, owners []*gorm.DB, sites []site) {
	for _, s := range sites {
		for _, table := range tables {
			var rows [2][]string
			for i, owner := range []*gorm.DB{owners[0], owners[1+s.index]} {
				// Not when, but whether a row was deleted.
				query := `SELECT (to_jsonb(t) || jsonb_build_object('deleted_at', (to_jsonb(t)->>'deleted_at') IS NOT NULL))::text FROM ` + table + ` t`
				if i == 0 {
					query += " WHERE tenant_id = '" + s.tenant + "'"
				}
				if err := owner.Raw(query + " ORDER BY 1").Scan(&rows[i]).Error; err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(rows[0], rows[1]) {
				t.Fatalf("%s of %s in the end\nalone:  %v\nshared: %v", table, s.tenant, rows[1], rows[0])
			}
		}
	}
	var strays int64
	if err := owners[0].Raw("SELECT count(*) FROM teams WHERE tenant_id NOT IN ?", tenants).Scan(&strays).Error; err != nil || strays > 0 {
		t.Fatalf("%d rows of nobody, %v", strays, err)
	}
}

// coverage is what the programs did.
type coverage struct {
	operations, succeeded, foreign int
	finishers                      map[string]int
}

func (c *coverage) count(o op, out outcome) {
	c.operations++
	c.finishers[o.finisher]++
	if out.Error == "" {
		c.succeeded++
	}
	if o.foreign {
		c.foreign++
	}
}

// report prints the coverage and holds it against its floors. A finisher runs 200
// times in 10,000 programs; in fewer, chance decides how often, and it runs.
func (c *coverage) report(t *testing.T) {
	t.Helper()
	t.Logf("%d operations: %d%% succeeded, %d%% addressed another tenant's key", c.operations, 100*c.succeeded/c.operations, 100*c.foreign/c.operations)
	if 100*c.succeeded < 60*c.operations || 100*c.foreign < 20*c.operations {
		t.Error("the programs do not reach what they are for")
	}
	floor := 1
	if *programs >= 10_000 {
		floor = 200
	}
	for _, name := range finishers() {
		t.Logf("%6d %s", c.finishers[name], name)
		if c.finishers[name] < floor {
			t.Errorf("%s ran %d times, want %d", name, c.finishers[name], floor)
		}
	}
}
