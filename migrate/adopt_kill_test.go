package migrate_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	tableLockTimeout = 100 * time.Millisecond
	longestWait      = 2 * time.Second // on a loaded machine
)

// TestAdopt_Killed kills adoptions at their steps in turn, and at any moment, while the
// app writes, until one comes through: of Parent at each step, of the others, most of
// whose steps are the same, at one of four.
func TestAdopt_Killed(t *testing.T) {
	t.Parallel()
	sources := []string{"Parent", "Constant", "SQL", "Func"}
	if underRace {
		sources = sources[:1]
	}
	for _, source := range sources {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			adoptsThoughKilled(t, source)
		})
	}
}

func adoptsThoughKilled(t *testing.T, source string) {
	p, seed := setupShop(t), rand.Uint64()
	p.exec(t, `INSERT INTO bills (client_id, number) SELECT 1 + n % 20, n FROM generate_series(2001, 8000) n`,
		`UPDATE bills SET number = CASE id % 3 WHEN 0 THEN 'acme-first-' ELSE 'globex-first-' END || number`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	oldCtx, stopOld := context.WithCancel(ctx)
	old := p.startLoad(t, oldCtx, source, seed, p.bills(t), false)
	var fresh *load
	job, random := adoptJob{DSN: p.OwnerDSN, Source: source, Wait: tableLockTimeout}, rand.New(rand.NewPCG(seed, 99))
	kills := 0
	for n := 1; ; n++ {
		ended := p.attempt(t, job, n, random)
		if fresh == nil && p.line(t, `SELECT count(*)::text FROM pg_attribute WHERE attrelid = 'bills'::regclass AND attname = 'tenant_id'`) == "1" {
			fresh = p.startLoad(t, ctx, source, seed+1, nil, true)
		}
		if ended == childDone {
			break
		}
		if ended == childKilled {
			kills++
		}
		if ended == childStillWritten || source == "Func" && n > 12 {
			if source != "Func" {
				t.Fatal("still written, though a trigger fills the rows")
			}
			stopOld()
		}
	}
	if source == "Func" && oldCtx.Err() == nil {
		t.Error("the old version still writes, and NOT NULL would fail it")
	}
	time.Sleep(200 * time.Millisecond) // both versions go on behind NOT NULL
	stopOld()
	stop()
	old.end(t)
	fresh.end(t)
	want := map[int64]bill{}
	for _, w := range slices.Concat(old.list, fresh.list) {
		maps.Copy(want, w.rows)
		t.Logf("writer %d: %d writes, at most %s: %s", w.id, w.writes, w.longest, w.worst)
		if w.longest > longestWait {
			t.Errorf("writer %d waited %s: %s", w.id, w.longest, w.worst)
		}
	}
	t.Logf("seed %d: %d kills", seed, kills)
	p.compare(t, source, want)
}

// attempt runs the job, which is killed at its nth step, or, each third time, some
// time after its start.
func (p *protected) attempt(t *testing.T, job adoptJob, n int, random *rand.Rand) int {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if n%3 == 0 {
		timer := time.AfterFunc(time.Duration(50+random.IntN(min(20*n, 500)))*time.Millisecond, cancel)
		defer timer.Stop()
	} else {
		job.KillAt = n - n/3
		if job.Source != "Parent" {
			job.KillAt = 4*(job.KillAt-1) + 1 + random.IntN(4)
		}
	}
	return job.start(t, ctx)
}

func (p *protected) bills(t *testing.T) map[int64]bill {
	list := map[int64]bill{}
	for _, line := range p.super.lines(t, `SELECT format('%s %s %s %s', id, coalesce(client_id, 0), number, cents) FROM bills`) {
		var id int64
		var b bill
		must(fmt.Sscan(line, &id, &b.client, &b.number, &b.cents))
		list[id] = b
	}
	return list
}

// compare demands that the table is what the writers committed, and each row its tenant's.
func (p *protected) compare(t *testing.T, source string, want map[int64]bill) {
	got := p.bills(t)
	if !maps.Equal(got, want) {
		t.Errorf("got %d bills, want %d, or they differ", len(got), len(want))
	}
	wrong := 0
	for _, line := range p.super.lines(t, `SELECT format('%s %s', id, tenant_id) FROM bills`) {
		var id int64
		rest, tenant, _ := strings.Cut(line, " ")
		must(fmt.Sscan(rest, &id))
		if tenantOf(source, got[id]) != tenant {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("%d of %d bills are another tenant's", wrong, len(got))
	}
	if state := p.line(t, columnState, "bills"); !strings.HasPrefix(state, "t") {
		t.Errorf("got %q for NOT NULL and default", state)
	}
}
