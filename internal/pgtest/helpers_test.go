package pgtest_test

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/internal/pgtest/server"
)

type project struct {
	ID   int64
	Name string
}

var projects = pgtest.Template{Name: "projects", Build: func(owner *gorm.DB) error {
	return owner.AutoMigrate(&project{})
}}

// recorder is a test that may fail without failing the one that runs it.
type recorder struct {
	testing.TB // nil: what is not overridden here must not be called
	ctx        context.Context
	cancel     context.CancelFunc

	mu       sync.Mutex
	log      strings.Builder
	failed   bool
	cleanups []func()
}

func newRecorder() *recorder {
	ctx, cancel := context.WithCancel(context.Background())
	return &recorder{ctx: ctx, cancel: cancel}
}

// run runs a test with the recorder, its cleanups included, and returns its log.
func (r *recorder) run(test func(testing.TB)) string {
	done := make(chan struct{})
	go func() {
		defer close(done)
		test(r)
	}()
	<-done
	r.cancel()
	for _, cleanup := range slices.Backward(r.cleanups) {
		cleanup()
	}
	return r.log.String()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(&r.log, format+"\n", args...)
}

func (r *recorder) Fail() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Errorf(format string, args ...any) { r.Logf(format, args...); r.Fail() }
func (r *recorder) Fatalf(format string, args ...any) { r.Errorf(format, args...); runtime.Goexit() }
func (r *recorder) Fatal(args ...any)                 { r.Fatalf("%s", fmt.Sprint(args...)) }

// startServer starts a server for a test to name.
func startServer(t *testing.T) string {
	t.Helper()
	s, err := server.Start(t.Context(), privateServer())
	noError(t, err)
	t.Cleanup(func() { noError(t, s.Stop()) })
	return s.DSN
}

func onServer(dsn string) server.Config {
	return server.Config{Order: []server.Backend{server.DSN}, DSN: dsn, DSNVariable: "COURTROLL_TEST_DSN"}
}

// runOn is a whole run of a test binary with one test, on a named server.
func runOn(t *testing.T, dsn string, test func(testing.TB)) (log string, code int) {
	t.Helper()
	h := pgtest.NewHarness(io.Discard, onServer(dsn))
	r := newRecorder()
	code = h.Main(func() int {
		log = r.run(func(tb testing.TB) { test(harnessTB{tb, h}) })
		return 0
	})
	return log, code
}

// harnessTB hands a test its harness.
type harnessTB struct {
	testing.TB
	h pgtest.Harness
}

func newOn(tb testing.TB, template pgtest.Template) *pgtest.DB {
	return tb.(harnessTB).h.New(tb, template)
}

func scalar[T any](t testing.TB, db *gorm.DB, sql string, args ...any) T {
	t.Helper()
	var v T
	if err := db.Raw(sql, args...).Row().Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantText(t testing.TB, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is not in:\n%s", part, text)
		}
	}
}

// wantCode expects an error with that SQLSTATE.
func wantCode(t testing.TB, err error, code string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), "SQLSTATE "+code) {
		t.Errorf("got %v, want SQLSTATE %s", err, code)
	}
}
