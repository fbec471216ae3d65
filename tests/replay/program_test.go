package replay

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"time"

	"gorm.io/gorm"
	"pgregory.net/rapid"
)

// step is one operation of a program, with the session that it runs in.
type step struct {
	worker int // who makes it, in a concurrent program
	mode   string
	op     op
}

// modes are the sessions and contexts of steps.
var modes = []string{
	"", "", "", "", "", "", "", "", "", "", "skip", "skip", "skip", "skip", "skip",
	"prepared", "prepared", "prepared", "skip prepared", "skip prepared", "skip prepared", "cancelled", "cancelled soon", "cancelled soon",
}

// GoString is how rapid shows a step.
func (s step) GoString() string { return fmt.Sprintf("\n%d %s: %s", s.worker, s.mode, s.op.text) }

// program is what is done, in this order or by several goroutines at once.
type program struct {
	concurrent bool
	steps      []step
}

const workers = 4

// drawProgram draws a program of a few steps.
func drawProgram(t *rapid.T) program {
	p := program{concurrent: rapid.IntRange(0, 4).Draw(t, "concurrent") == 0}
	p.steps = drawSteps(t)
	return p
}

// drawTogether draws many steps to be made at once, which get in each other's way.
func drawTogether(t *rapid.T) program {
	p := program{concurrent: true}
	for range 6 {
		p.steps = append(p.steps, drawSteps(t)...)
	}
	return p
}

func drawSteps(t *rapid.T) []step {
	drawStep := rapid.Custom(func(t *rapid.T) step {
		s := step{rapid.IntRange(0, workers-1).Draw(t, "worker"), pick(t, "mode", modes), op{}}
		if rapid.IntRange(0, 4).Draw(t, "in a transaction") == 0 {
			s.op = drawTransaction(t, 0)
		} else {
			s.op = drawPlain(t)
		}
		return s
	})
	// Twice, for rapid likes short lists.
	return append(rapid.SliceOfN(drawStep, 1, 14).Draw(t, "steps"), rapid.SliceOfN(drawStep, 0, 14).Draw(t, "more")...)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	_ = flag.Set("rapid.nofailfile", "true")
	for _, f := range forms { // one at a time, for rapid's flag is for all
		t.Run(f.name, func(t *testing.T) {
			l := f.open(t)
			seen := l.tryAll(t, max(1, *programs/f.share), drawProgram)
			seen.report(t, max(1, *programs/f.share))
			seen = l.tryAll(t, max(1, *programs/f.share/20), drawTogether)
			t.Logf("together: %d operations, %d entries, errors: %v", seen.operations, seen.entries, seen.errors)
			if *programs >= 100 && seen.errors["made again"] == 0 {
				t.Error("nobody got in the way of another")
			}
		})
	}
}

func (l *lab) tryAll(t *testing.T, checks int, draw func(*rapid.T) program) *coverage {
	t.Helper()
	_ = flag.Set("rapid.checks", fmt.Sprint(checks))
	seen := &coverage{kinds: map[string]*tally{}, actions: map[string]int{}, errors: map[string]int{}}
	rapid.Check(t, func(rt *rapid.T) {
		if fault := l.try(draw(rt), seen); fault != "" {
			rt.Fatal(fault)
		}
	})
	return seen
}

// try runs a program and returns what is wrong with its trail.
func (l *lab) try(p program, seen *coverage) string {
	if err := l.reset(); err != nil {
		return err.Error()
	}
	l.wire.take()
	fault := l.run(p, seen)
	return cmp.Or(l.settle(), fault, l.check(seen))
}

// settle waits for statements whose contexts were cancelled: the server may be at
// work on them though their connections are closed. It finds transactions that were
// left open.
func (l *lab) settle() string {
	var busy string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		err := l.super.Raw(`SELECT coalesce(string_agg(state || ': ' || query, '; '), '') FROM pg_stat_activity WHERE datname = current_database()
			AND pid <> pg_backend_pid() AND backend_type = 'client backend' AND state <> 'idle'`).Scan(&busy).Error
		if err != nil {
			return err.Error()
		}
		if busy == "" {
			return ""
		}
	}
	return "left at work: " + busy
}

// check reads what happened and holds the trail against it.
func (l *lab) check(seen *coverage) string {
	entries, err1 := l.trail()
	versions, err2 := l.shadow()
	end, err3 := l.rows()
	if err := errors.Join(err1, err2, err3); err != nil {
		return err.Error()
	}
	seen.countEntries(entries, versions)
	if fault := compare(versions, entries); fault != "" {
		return fault
	}
	if fault := fold(l.start, entries, end); fault != "" {
		return fault
	}
	for label, traffic := range l.wire.take() {
		if fault := traffic.fault(); fault != "" {
			return "step " + label + ": " + fault
		}
	}
	return ""
}

// run runs the steps: in their order, or those of each worker in a goroutine of
// its own.
func (l *lab) run(p program, seen *coverage) string {
	faults := make([]string, workers)
	act := func(worker int) {
		for i, s := range p.steps {
			if (!p.concurrent || s.worker == worker) && faults[worker] == "" {
				faults[worker] = l.step(i, s, p.concurrent, seen)
			}
		}
	}
	if !p.concurrent {
		act(0)
		return faults[0]
	}
	var wg sync.WaitGroup
	for worker := range workers {
		wg.Go(func() { act(worker) })
	}
	wg.Wait()
	return cmp.Or(faults...)
}

// attempts is how often a step is made that another one got in the way of.
const attempts = 8

// step makes one step. Where others are at work it is made again, as the
// documentation says of [audit.ErrAudit].
func (l *lab) step(i int, s step, concurrent bool, seen *coverage) string {
	for attempt := range attempts {
		kind, err := classify(l.once(s, fmt.Sprintf("%d.%d", i, attempt)))
		if kind == again && concurrent {
			seen.count(s.op, "made again")
			continue
		}
		if kind == unexpected || kind == again {
			return fmt.Sprintf("step %d, %s: %s\n%v", i, s.mode, s.op.text, err)
		}
		seen.count(s.op, kind)
		return ""
	}
	seen.count(s.op, "given up")
	return ""
}

// errPanic is a panic that a step was meant to have.
var errPanic = errors.New("panicked on purpose")

func (l *lab) once(s step, label string) (err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	session := &gorm.Session{}
	switch s.mode {
	case "skip":
		session.SkipDefaultTransaction = true
	case "prepared":
		session.PrepareStmt = true
	case "skip prepared":
		session.SkipDefaultTransaction, session.PrepareStmt = true, true
	case "cancelled":
		cancel()
	case "cancelled soon":
		timer := time.AfterFunc(time.Duration(len(s.op.text)%23)*150*time.Microsecond, cancel)
		defer timer.Stop()
	}
	defer func() {
		if r := recover(); r != nil {
			if r != errPanic { //nolint:errorlint // the value itself was thrown
				panic(r)
			}
			err = errPanic
		}
	}()
	return s.op.run(l.app.WithContext(l.context(ctx, label)).Session(session))
}
