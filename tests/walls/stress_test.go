package walls

import (
	"context"
	"flag"
	"sync"
	"testing"
	"time"
)

var stressFor = flag.Duration("stress", 4*time.Second, "how long the tests of many goroutines work")

// TestStress has a hundred goroutines of two tenants take turns on two
// connections, which somebody kills now and then.
func TestStress(t *testing.T) {
	t.Parallel()
	b := ours.setup(t)
	l := newLoad(t, b, 2, 50, true)
	// A deadlock holds both connections until it is found.
	must(t, b.super.Exec(`ALTER ROLE `+b.AppRole+` IN DATABASE `+b.Name+` SET deadlock_timeout = '30ms'`).Error)
	l.sharesBackends(2)
	killed := l.killing(20)
	l.run(*stressFor)
	if n := killed(); n == 0 {
		t.Error("nothing was killed")
	}
	l.isWell()
	l.addsUp()
	l.ranAll()
	l.kinds.onlyThese(t, expectedKinds...)
}

// killing ends one of the app's connections, whatever it does, each time that the
// workers have done so many verbs, until it is told to stop; then it says how many
// there were.
func (l *load) killing(each int) (stop func() int) {
	ctx, cancel := context.WithCancel(l.t.Context())
	var running sync.WaitGroup
	n := 0
	running.Go(func() {
		for ctx.Err() == nil {
			time.Sleep(5 * time.Millisecond)
			if l.verbsRan() < (n+1)*each {
				continue
			}
			var done []bool
			if err := l.super.Raw(`SELECT pg_terminate_backend(pid) FROM pg_stat_activity
				WHERE datname = ? AND usename = ? ORDER BY random() LIMIT 1`, l.Name, l.AppRole).Scan(&done).Error; err != nil {
				l.t.Error(err)
			}
			n += len(done)
		}
	})
	return func() int {
		cancel()
		running.Wait()
		return n
	}
}

func (l *load) verbsRan() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, ran := range l.ran {
		n += ran
	}
	return n
}
