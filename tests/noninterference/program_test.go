package noninterference

import (
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

var programs = flag.Int("programs", 300, "how many programs to run in the form of the plugin alone; others run a part of them")

var tenants = []string{"acme", "hal", "zeta"}

// step is one operation of a program, for one tenant.
type step struct {
	site int
	op   op
}

// GoString is how rapid shows a step.
func (s step) GoString() string { return "\n" + tenants[s.site] + ": " + s.op.text }

// program is what three tenants do, in this order or each in a goroutine of its own.
type program struct {
	audited, concurrent bool
	steps               []step
}

func drawProgram(t *rapid.T, f form) program {
	p := program{audited: rapid.Bool().Draw(t, "audited"), concurrent: rapid.Bool().Draw(t, "concurrent")}
	p.steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		i := rapid.IntRange(0, len(tenants)-1).Draw(t, "tenant")
		return step{i, drawOp(t, newWorld(i, f, p.audited))}
	}), 1, 12).Draw(t, "steps")
	return p
}

func TestNonInterference(t *testing.T) {
	t.Parallel()
	sites := openSites(t)
	_ = flag.Set("rapid.nofailfile", "true")
	for _, f := range forms { // one at a time: the sites are for one, and so is rapid's flag
		t.Run(f.name, func(t *testing.T) {
			_ = flag.Set("rapid.checks", fmt.Sprint(max(1, *programs/f.share)))
			s := f.open(t)
			seen := &coverage{finishers: map[string]int{}}
			rapid.Check(t, func(rt *rapid.T) {
				if difference := s.compare(drawProgram(rt, f), sites, seen); difference != "" {
					rt.Fatal(difference)
				}
			})
			seen.report(t, *programs/f.share)
		})
	}
}

// compare runs a program beside the other tenants and alone, and returns the
// first difference.
func (s *shared) compare(p program, sites []site, seen *coverage) string {
	if err := s.reset(sites); err != nil {
		return err.Error()
	}
	alone := make([]outcome, len(p.steps))
	for i, step := range p.steps {
		alone[i] = run(sites[step.site].App, step.op, tenants[step.site])
		seen.count(step.op, alone[i])
	}
	for i, together := range s.run(p) {
		if alone[i] != together {
			step := p.steps[i]
			return fmt.Sprintf("step %d, %s: %s\nalone:  %v\nshared: %v", i+1, tenants[step.site], step.op.text, alone[i], together)
		}
	}
	return s.compareRows(sites)
}

// reset gives every tenant the same few rows, in its own database and in the shared one.
func (s *shared) reset(sites []site) error {
	all := ""
	for _, site := range sites {
		text := seedText(site.index)
		if err := site.super.Exec(emptyText() + text).Error; err != nil {
			return err
		}
		all += text
	}
	return s.super.Exec(emptyText() + all).Error
}

func emptyText() (text string) {
	for _, table := range append(slices.Clone(tables), "audit_logs") {
		text += "DELETE FROM " + table + "; "
	}
	return text
}

func seedText(i int) (text string) {
	for _, row := range []string{
		"teams (id, tenant_id, name, n) VALUES (%[1]d+1, '%[2]s', 'a', 1), (%[1]d+2, '%[2]s', 'b', 2)",
		"teams (id, tenant_id, name, n, parent_id) VALUES (%[1]d+3, '%[2]s', 'c', 3, %[1]d+1)",
		"members (id, tenant_id, name, n, team_id) VALUES (%[1]d+1, '%[2]s', 'a', 1, %[1]d+1), (%[1]d+2, '%[2]s', 'b', 2, %[1]d+1), (%[1]d+3, '%[2]s', 'c', 3, NULL)",
		"badges (tenant_id, team_id, n) VALUES ('%[2]s', %[1]d+1, 1)",
		"tags (id, tenant_id, name) VALUES (%[1]d+1, '%[2]s', 'a'), (%[1]d+2, '%[2]s', 'b')",
		"team_tags (tenant_id, team_id, tag_id) VALUES ('%[2]s', %[1]d+1, %[1]d+1)",
		"notes (id, tenant_id, owner_id, owner_type, text) VALUES (%[1]d+1, '%[2]s', %[1]d+1, 'teams', 'a'), (%[1]d+2, '%[2]s', %[1]d+1, 'members', 'b')",
	} {
		text += fmt.Sprintf("INSERT INTO "+row+"; ", base(i), tenants[i])
	}
	return text
}

// run runs the steps beside the other tenants: in their order, or those of each
// tenant in a goroutine of its own.
func (s *shared) run(p program) []outcome {
	out := make([]outcome, len(p.steps))
	act := func(i int) {
		tenant := tenants[p.steps[i].site]
		out[i] = run(s.as(tenant, p.audited), p.steps[i].op, s.tenantID(tenant))
	}
	if !p.concurrent {
		for i := range p.steps {
			act(i)
		}
		return out
	}
	var wg sync.WaitGroup
	for site := range tenants {
		wg.Go(func() {
			for i, step := range p.steps {
				if step.site == site {
					act(i)
				}
			}
		})
	}
	wg.Wait()
	return out
}

// compareRows compares what each tenant has in the end.
func (s *shared) compareRows(sites []site) string {
	for _, site := range sites {
		for _, table := range tables {
			alone, err := rowsOf(site.super, table, site.tenant)
			if err != nil {
				return err.Error()
			}
			together, err := rowsOf(s.super, table, site.tenant)
			if err != nil {
				return err.Error()
			}
			if !slices.Equal(alone, together) {
				return fmt.Sprintf("%s of %s in the end\nalone:  %v\nshared: %v", table, site.tenant, alone, together)
			}
		}
	}
	var strays int64
	if err := s.super.Raw("SELECT count(*) FROM teams WHERE tenant_id NOT IN ?", tenants).Scan(&strays).Error; err != nil || strays > 0 {
		return fmt.Sprintf("%d rows of nobody, %v", strays, err)
	}
	return ""
}

// rowsOf tells not when, but whether a row was deleted.
func rowsOf(super *gorm.DB, table, tenant string) (rows []string, err error) {
	err = super.Raw(`SELECT (to_jsonb(t) || jsonb_build_object('deleted_at', (to_jsonb(t)->>'deleted_at') IS NOT NULL))::text FROM `+
		table+` t WHERE tenant_id = ? ORDER BY 1`, tenant).Scan(&rows).Error
	return rows, err
}

// coverage is what the programs did.
type coverage struct {
	operations, succeeded, foreign int // but for those that have to be refused
	finishers                      map[string]int
}

func (c *coverage) count(o op, out outcome) {
	c.finishers[o.finisher]++
	if o.refused {
		return // its error is all that there is to see
	}
	c.operations++
	if out.Error == "" {
		c.succeeded++
	}
	if o.foreign {
		c.foreign++
	}
}

// report prints the coverage and holds it against its floors. A finisher runs 200
// times in 10,000 programs; in fewer, chance decides how often, and with few
// enough whether at all.
func (c *coverage) report(t *testing.T, programs int) {
	t.Helper()
	t.Logf("%d programs, %d operations: %d%% succeeded, %d%% addressed another tenant's key",
		programs, c.operations, 100*c.succeeded/c.operations, 100*c.foreign/c.operations)
	if programs >= 100 && (100*c.succeeded < 60*c.operations || 100*c.foreign < 20*c.operations) {
		t.Error("the programs do not reach what they are for")
	}
	floor := 0
	switch {
	case programs >= 10_000:
		floor = 200
	case programs >= 300:
		floor = 1
	}
	for _, name := range finishers() {
		t.Logf("%6d %s", c.finishers[name], name)
		if c.finishers[name] < floor {
			t.Errorf("%s ran %d times, want %d", name, c.finishers[name], floor)
		}
	}
}
