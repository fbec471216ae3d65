package main

import (
	"time"

	"github.com/courtroll/courtroll/models"
)

// expected is what the database must hold, computed from the file alone.
type expected struct {
	edits     int
	tenants   []string
	perTenant map[string]int // edits
	pages     map[pageKey]pageState
	revisions map[pageKey][]revisionState // in the order of the file
	trail     map[trailKey]int            // audit rows
	busiest   pageKey                     // the page with the most edits; of several, the first
}

type pageKey struct{ tenant, title string }

type pageState struct {
	namespace         string
	length, revisions int64
	editedAt          time.Time
}

type revisionState struct {
	comment      string
	delta        int64
	minor, robot bool
	editedAt     time.Time
}

// trailKey is what audit rows are counted by: whose, who, from where, what.
// Empty stands for NULL.
type trailKey struct{ tenant, actor, ip, action, resource string }

func expect(edits []edit) *expected {
	want := &expected{
		edits: len(edits), tenants: tenants(edits), perTenant: map[string]int{},
		pages: map[pageKey]pageState{}, revisions: map[pageKey][]revisionState{}, trail: map[trailKey]int{},
	}
	want.trail[trailKey{"", setUp.ID, "", "system_scope.open", "system_scope"}]++
	for _, tenant := range want.tenants {
		want.trail[trailKey{tenant, setUp.ID, "", "create", models.TenantsTable}]++
	}
	for _, e := range edits {
		want.add(e)
	}
	for _, e := range edits {
		key := pageKey{e.tenant(), e.Page}
		if want.pages[key].revisions > want.pages[want.busiest].revisions {
			want.busiest = key
		}
	}
	return want
}

func (w *expected) add(e edit) {
	key := pageKey{e.tenant(), e.Page}
	page, exists := w.pages[key]
	action := "update"
	if !exists {
		action, page.namespace = "create", e.Namespace
	}
	page.length, page.revisions, page.editedAt = page.length+e.Delta, page.revisions+1, e.Time.UTC()
	w.pages[key] = page
	w.revisions[key] = append(w.revisions[key], revisionState{e.Comment, e.Delta, e.IsMinor, e.IsRobot, e.Time.UTC()})
	w.perTenant[key.tenant]++
	actor, ip := e.actor(), ""
	if actor.IP.IsValid() {
		ip = actor.IP.Unmap().String()
	}
	w.trail[trailKey{key.tenant, actor.ID, ip, action, "pages"}]++
	w.trail[trailKey{key.tenant, actor.ID, ip, "create", "revisions"}]++
}

// other returns the tenant with the most edits beside this one, or where there
// is none, one that the database does not know.
func (w *expected) other(tenant string) string {
	other := "stranger"
	for _, t := range w.tenants {
		if t != tenant && w.perTenant[t] > w.perTenant[other] {
			other = t
		}
	}
	return other
}
