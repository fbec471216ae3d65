package reading

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// TestExport exports the events, all and by random filters, to files that break
// off, and goes on behind what was written.
func TestExport(t *testing.T) {
	t.Parallel()
	events := readEvents(t)
	for name, walls := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := open(t, walls)
			l.load(t, events)
			r := &reader{lab: l, events: events, random: rand.New(rand.NewPCG(8, 8))}
			system := tenancy.AsSystem(t.Context(), "an auditor's question")
			r.compareExport(t, system, audit.Filter{To: time.Now()}, "")
			for range max(1, *filters/10) {
				e := r.events[r.random.IntN(len(r.events))]
				filter := r.filterFor(e)
				r.compareExport(t, tenancy.WithTenant(t.Context(), e.tenant), filter, e.tenant)
				if filter.To.IsZero() {
					filter.To = time.Now()
				}
				r.compareExport(t, system, filter, "")
			}
		})
	}
}

func (r *reader) compareExport(t *testing.T, ctx context.Context, filter audit.Filter, tenant string) {
	t.Helper()
	wanted := filter
	wanted.TenantID = tenant
	var want, got []uuid.UUID
	for _, e := range slices.Backward(r.events) {
		if e.matches(wanted) {
			want = append(want, e.id)
		}
	}
	known := func(id uuid.UUID) bool { return id.Version() == 5 } // the others are of the reading itself
	for decoder := json.NewDecoder(r.broken(t, ctx, filter)); ; {
		var e models.AuditLog
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if known(e.ID) {
			got = append(got, e.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v, tenant %q: %d entries are exported, want %d", filter, tenant, len(got), len(want))
	}
}

// broken exports to a file that takes no more now and then.
func (r *reader) broken(t *testing.T, ctx context.Context, filter audit.Filter) *bytes.Buffer {
	t.Helper()
	var file bytes.Buffer
	config := audit.ExportConfig{Filter: filter}
	for {
		part := &limited{left: 1<<20 + r.random.IntN(1<<22)}
		done, err := audit.Export(ctx, r.app, part, config)
		file.Write(part.Bytes())
		file.Truncate(int(done.Bytes))
		if config.Resume = done.Position; err == nil {
			return &file
		}
		if !errors.Is(err, io.ErrShortWrite) {
			t.Fatal(err)
		}
	}
}

// limited takes so many bytes.
type limited struct {
	bytes.Buffer
	left int
}

func (w *limited) Write(p []byte) (int, error) {
	n, err := w.Buffer.Write(p[:min(len(p), w.left)])
	if w.left -= n; n < len(p) {
		return n, io.ErrShortWrite
	}
	return n, err
}

// TestExport_Memory exports many entries and looks at how much memory is in use
// after each page: no more at the end than at the start.
func TestExport_Memory(t *testing.T) { //nolint:paralleltest // others would use memory meanwhile
	l := open(t, true)
	must(t, l.super.Exec(`INSERT INTO audit_logs (id, actor_id, tenant_id, action, resource_type, resource_id, metadata, created_at)
		SELECT courtroll_uuidv7(), 'u_' || i % 997, 't', 'update', 'pages', i::text,
			json_build_object('request_id', i, 'changes', json_build_object('body', json_build_object('old', repeat('a', 200), 'new', repeat('b', 200))))::jsonb,
			now() - interval '1 day' + i * interval '1 millisecond' FROM generate_series(1, ?) i`, *rows).Error)
	ctx := tenancy.WithTenant(t.Context(), "t")
	for _, format := range []audit.Format{audit.JSONL, audit.CSV, audit.OCSF} {
		var used []uint64
		start, pages := time.Now(), 0
		done, err := audit.Export(ctx, l.app, io.Discard, audit.ExportConfig{Format: format, ProgressFunc: func(audit.Exported) error {
			if pages++; pages%20 == 0 {
				used = append(used, inUse())
			}
			return nil
		}})
		must(t, err)
		half := len(used) / 2
		first, last := slices.Max(used[:half]), slices.Max(used[half:])
		t.Logf("%s: %d entries, %d MB in %s; in use %d KB at most in the first half, %d KB in the second", format,
			done.Entries, done.Bytes>>20, time.Since(start).Round(time.Millisecond), first>>10, last>>10)
		if done.Entries != int64(*rows) || last > first+1<<20 {
			t.Errorf("%s: %d entries of %d; %d bytes in use, then %d", format, done.Entries, *rows, first, last)
		}
	}
}

// inUse is what is left of the heap when the garbage is gone.
func inUse() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestExport_LargeEntries exports entries of a megabyte each, and looks at the memory
// while it does.
func TestExport_LargeEntries(t *testing.T) { //nolint:paralleltest // others would use memory meanwhile
	l := open(t, true)
	const entries, limit = 150, 60 << 20
	must(t, l.super.Exec(`INSERT INTO audit_logs (tenant_id, action, resource_type, metadata)
		SELECT 't', 'a.b', 'x', json_build_object('data', json_build_object('text', repeat('a', 1000000))) FROM generate_series(1, ?)`, entries).Error)
	runtime.GC()
	stop, most := make(chan struct{}), make(chan uint64)
	go func() {
		var m runtime.MemStats
		for peak := uint64(0); ; {
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
			select {
			case <-stop:
				most <- peak
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	done, err := audit.Export(tenancy.WithTenant(t.Context(), "t"), l.app, io.Discard, audit.ExportConfig{})
	must(t, err)
	close(stop)
	peak := <-most
	t.Logf("%d entries of %d MB, at most %d MB in use", done.Entries, done.Bytes>>20, peak>>20)
	if done.Entries != entries || peak > limit {
		t.Errorf("%d entries, %d bytes in use", done.Entries, peak)
	}
}
