package audittest_test

import (
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// recorder is a test that keeps what it is told, and goes on after what is fatal:
// nothing may panic then, nor fail a second time.
type recorder struct {
	testing.TB
	failures, log []string
	fatal         int
	lines         []string // the file of each failure, past the helpers
	mu            sync.Mutex
	helpers       map[string]bool
}

func (r *recorder) Helper() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.helpers == nil {
		r.helpers = map[string]bool{}
	}
	r.helpers[caller(nil)] = true
}

func (r *recorder) Log(args ...any) { r.log = append(r.log, fmt.Sprint(args...)) }

func (r *recorder) Fatal(args ...any) { r.fail(1, fmt.Sprint(args...)) }

func (r *recorder) Fatalf(format string, args ...any) { r.fail(1, fmt.Sprintf(format, args...)) }

func (r *recorder) Errorf(format string, args ...any) { r.fail(0, fmt.Sprintf(format, args...)) }

func (r *recorder) fail(fatal int, message string) {
	r.fatal += fatal
	r.failures = append(r.failures, message)
	r.lines = append(r.lines, caller(r.helpers))
}

// caller returns the function that called the recorder, or without its helpers
// the file of the line that the real testing.T would report.
func caller(helpers map[string]bool) string {
	pc := make([]uintptr, 32)
	frames := runtime.CallersFrames(pc[:runtime.Callers(1, pc)])
	for {
		frame, more := frames.Next()
		switch own := strings.Contains(frame.Function, "recorder") || strings.HasSuffix(frame.Function, ".caller"); {
		case own || helpers[frame.Function]:
		case helpers == nil:
			return frame.Function
		default:
			return filepath.Base(frame.File)
		}
		if !more {
			return ""
		}
	}
}

// check runs what fails with each of the texts, or not at all if there are none.
func check(t *testing.T, do func(tb *recorder), want ...string) {
	t.Helper()
	r := &recorder{TB: t}
	do(r)
	got := strings.Join(r.failures, "\n")
	if len(want) == 0 && got != "" {
		t.Errorf("failed with: %s", got)
	}
	if len(want) > 0 && len(r.failures) != 1 {
		t.Errorf("%d failures, want 1: %q", len(r.failures), r.failures)
	}
	for _, text := range want {
		if !strings.Contains(got, text) {
			t.Errorf("no %q in:\n%s", text, got)
		}
	}
	for _, file := range r.lines {
		if !strings.HasSuffix(file, "_test.go") {
			t.Errorf("the failure is reported in %s, want the caller's line: a t.Helper is missing", file)
		}
	}
}
