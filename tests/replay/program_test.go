package replay

import (
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
	"", "", "", "", "", "", "", "skip", "skip", "skip", "prepared", "prepared", "skip prepared", "skip prepared", "cancelled", "cancelled soon",
}

// GoString is how rapid shows a step.
func (s step) GoString() string { return fmt.Sprintf("\n%d %s: %s", s.worker, s.mode, s.op.text) }

// program is what is done, in this order or by several goroutines at once.
type program struct {
	concurrent bool
	steps      []step
}

const workers = 3

func drawProgram(t *rapid.T) program {
	p := program{concurrent: rapid.IntRange(0, 2).Draw(t, "concurrent") == 0}
	p.steps = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) step {
		s := step{rapid.IntRange(0, workers-1).Draw(t, "worker"), pick(t, "mode", modes), op{}}
		if rapid.IntRange(0, 4).Draw(t, "in a transaction") == 0 {
			s.op = drawTransaction(t, 0)
		} else {
			s.op = drawPlain(t)
		}
		return s
	}), 1, 14).Draw(t, "steps")
	return p
}

func TestReplay(t *testing.T) {
	t.Parallel()
	_ = flag.Set("rapid.nofailfile", "true")
	for _, f := range forms { // one at a time, for rapid's flag is for all
		t.Run(f.name, func(t *testing.T) {
			checks := max(1, *programs/f.share)
			_ = flag.Set("rapid.checks", fmt.Sprint(checks))
			l := f.open(t)
			seen := &coverage{kinds: map[string]*tally{}, actions: map[string]int{}, errors: map[string]int{}}
			rapid.Check(t, func(rt *rapid.T) {
				if fault := l.try(drawProgram(rt), seen); fault != "" {
					rt.Fatal(fault)
				}
			})
			seen.report(t, checks)
		})
	}
}

// try runs a program and returns what is wrong with its trail.
func (l *lab) try(p program, seen *coverage) string {
	if err := l.reset(); err != nil {
		return err.Error()
	}
	l.wire.take()
	if fault := l.run(p, seen); fault != "" {
		return fault
	}
	return l.check(seen)
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
	return faults[0] + faults[1] + faults[2]
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
	return "" // the others had the better luck
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
