package reading

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// TestList reads the events back: all of each tenant's, all at once, and by random
// filters, in pages of random sizes, while others write.
func TestList(t *testing.T) {
	t.Parallel()
	events := readEvents(t)
	for name, walls := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start, l := time.Now(), open(t, walls)
			l.load(t, events)
			r := &reader{lab: l, events: events, random: rand.New(rand.NewPCG(7, 7)), known: map[uuid.UUID]bool{}}
			for _, e := range events {
				r.known[e.id] = true
				if !slices.Contains(r.tenants, e.tenant) {
					r.tenants = append(r.tenants, e.tenant)
				}
			}
			defer r.write(t)()
			r.readAll(t)
			r.refuseCursors(t)
			t.Logf("%d events of %d tenants, %d lists in %d pages, %d entries written meanwhile, in %s",
				len(events), len(r.tenants), r.lists, r.pages, r.newer, time.Since(start).Round(time.Millisecond))
			if r.newer == 0 {
				t.Error("nothing was written meanwhile")
			}
		})
	}
}

type reader struct {
	*lab
	events              []event
	tenants             []string
	known               map[uuid.UUID]bool
	random              *rand.Rand
	lists, pages, newer int
}

// write records events in all tenants until it is stopped.
func (r *reader) write(t *testing.T) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for i := range 2 {
		writers.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				tenant := tenancy.WithTenant(context.WithoutCancel(ctx), r.tenants[n%len(r.tenants)])
				if err := audit.Record(tenant, r.app, audit.Event{Action: "page.read", ResourceType: "Main", ResourceID: "x"}); err != nil {
					t.Error(err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return func() { cancel(); writers.Wait() }
}

func (r *reader) readAll(t *testing.T) {
	t.Helper()
	system := tenancy.AsSystem(t.Context(), "an auditor's question")
	for _, tenant := range r.tenants {
		r.compare(t, tenancy.WithTenant(t.Context(), tenant), audit.Filter{Limit: 1000}, tenant)
	}
	r.compare(t, system, audit.Filter{Limit: 1000}, "")
	for range *filters {
		e := r.events[r.random.IntN(len(r.events))]
		filter := r.filterFor(e)
		r.compare(t, tenancy.WithTenant(t.Context(), e.tenant), filter, e.tenant)
		if r.random.IntN(2) == 0 {
			filter.TenantID = e.tenant
		}
		r.compare(t, system, filter, filter.TenantID)
	}
}

// filterFor returns a filter that an event matches, of one to three fields.
func (r *reader) filterFor(e event) (f audit.Filter) {
	for range 1 + r.random.IntN(3) {
		switch span := time.Duration(r.random.ExpFloat64() * float64(48*time.Hour)); r.random.IntN(8) {
		case 0:
			f.ActorID = e.actor
		case 1:
			f.Action = e.action
		case 2:
			f.ResourceType = e.kind
		case 3:
			f.ResourceType, f.ResourceID = e.kind, e.key
		case 4:
			f.RequestID = e.request
		case 5:
			f.ChangedField = e.field
		case 6:
			f.From = e.at.Add(-span)
		case 7:
			f.To = e.at.Add(span + 1)
		}
	}
	f.OldestFirst = r.random.IntN(2) == 0
	f.Limit = 1 + r.random.IntN(1000)
	return f
}

// compare reads a list to its end and compares it with what the data say.
func (r *reader) compare(t *testing.T, ctx context.Context, filter audit.Filter, tenant string) {
	t.Helper()
	wanted := filter
	wanted.TenantID = tenant
	var want, got []uuid.UUID
	for _, e := range r.events {
		if e.matches(wanted) {
			want = append(want, e.id)
		}
	}
	if filter.OldestFirst {
		slices.Reverse(want)
	}
	seen := map[uuid.UUID]bool{}
	for _, entry := range r.list(t, ctx, filter, tenant) {
		if seen[entry.ID] {
			t.Fatalf("%+v: an entry comes twice", filter)
		}
		seen[entry.ID] = true
		if r.known[entry.ID] {
			got = append(got, entry.ID)
		} else {
			r.newer++
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%+v, tenant %q: %d entries, want %d", filter, tenant, len(got), len(want))
	}
}

func (r *reader) list(t *testing.T, ctx context.Context, filter audit.Filter, tenant string) (entries []models.AuditLog) {
	t.Helper()
	r.lists++
	for cursor := ""; ; {
		page, err := audit.List(ctx, r.app, filter, cursor)
		must(t, err)
		r.pages++
		for _, e := range page.Entries {
			if tenant != "" && (e.TenantID == nil || *e.TenantID != tenant) {
				t.Fatalf("%+v: an entry is of another tenant", filter)
			}
		}
		entries = append(entries, page.Entries...)
		if cursor = page.Next; cursor == "" {
			return entries
		}
	}
}

// refuseCursors gives each tenant's cursor to another, and makes some up.
func (r *reader) refuseCursors(t *testing.T) {
	t.Helper()
	taken := map[string]string{}
	for _, tenant := range r.tenants {
		page, err := audit.List(tenancy.WithTenant(t.Context(), tenant), r.app, audit.Filter{Limit: 1}, "")
		must(t, err)
		taken[tenant] = page.Next
	}
	for i, tenant := range r.tenants {
		foreign := taken[r.tenants[(i+1)%len(r.tenants)]]
		if foreign == "" {
			continue // of a single entry
		}
		for _, ctx := range []context.Context{tenancy.WithTenant(t.Context(), tenant), tenancy.AsSystem(t.Context(), "an auditor's question")} {
			if page, err := audit.List(ctx, r.app, audit.Filter{Limit: 1}, foreign); !errors.Is(err, audit.ErrCursor) || len(page.Entries) > 0 {
				t.Fatalf("another tenant's cursor: %d entries, %v", len(page.Entries), err)
			}
		}
	}
	own := taken[r.tenants[0]]
	for i := range own {
		forged := []byte(own)
		forged[i] ^= 1
		if _, err := audit.List(tenancy.WithTenant(t.Context(), r.tenants[0]), r.app, audit.Filter{}, string(forged)); !errors.Is(err, audit.ErrCursor) {
			t.Fatalf("a cursor with character %d changed: %v", i, err)
		}
	}
	for _, forged := range []string{own[1:], own + "A", own + "=", fmt.Sprint(own, own)} {
		if _, err := audit.List(tenancy.WithTenant(t.Context(), r.tenants[0]), r.app, audit.Filter{}, forged); !errors.Is(err, audit.ErrCursor) {
			t.Fatalf("a cursor of another length: %v", err)
		}
	}
}
