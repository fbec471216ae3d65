package durability

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var crashFor = flag.Duration("crash", 8*time.Second, "how long a server is loaded and killed")

// TestCrash kills a server again and again while two tenants write with both
// drivers. Each time the changes and the entries that are left are the same ones,
// and what a client was told to be committed is among them.
func TestCrash(t *testing.T) {
	t.Parallel()
	p := start(t)
	l := newLoad(p, 3)
	defer l.end()
	for begin, n := time.Now(), 0; time.Since(begin) < *crashFor || n < 3; n++ {
		time.Sleep(time.Duration(rand.IntN(1000)) * time.Millisecond)
		l.crash()
		l.check("a crash")
	}
	time.Sleep(500 * time.Millisecond) // they work again
	l.end()
	l.check("the end")
	l.ranAll(t)
	l.checkForgeries()
}
