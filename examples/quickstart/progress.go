package main

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// lineEvery is the time between two lines where there is no terminal to draw a bar on.
const lineEvery = 10 * time.Second

// newProgress returns what to call after each edit, from any goroutine, and at the end.
func newProgress(out io.Writer, total int) (step, finish func()) {
	if !isTerminal(out) {
		return lines(out, total), func() {}
	}
	bar := progressbar.NewOptions(total,
		progressbar.OptionSetWriter(out), progressbar.OptionSetDescription("Loading"), progressbar.OptionSetItsString("edits"),
		progressbar.OptionShowCount(), progressbar.OptionShowIts(), progressbar.OptionSetPredictTime(true),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30), progressbar.OptionSetElapsedTime(false))
	return func() { _ = bar.Add(1) }, func() { fmt.Fprintln(out) }
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func lines(out io.Writer, total int) func() {
	var mu sync.Mutex
	done, next := 0, time.Now().Add(lineEvery)
	return func() {
		mu.Lock()
		defer mu.Unlock()
		done++
		if now := time.Now(); now.After(next) {
			next = now.Add(lineEvery)
			fmt.Fprintf(out, "  %s of %s edits\n", number(done), number(total))
		}
	}
}
