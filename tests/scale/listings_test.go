//go:build !race

package scale

import (
	"time"

	"github.com/courtroll/courtroll/audit"
)

// listing is what is read, and how.
type listing struct {
	name   string
	filter audit.Filter
	// index is the end of the name of the index to use, or those that will do. table
	// is the table as a whole.
	index string
	// most is how many entries a page may look at. Default: those of a page.
	most int
	// sorts says that few entries are found, and so may be sorted.
	sorts bool
	// walled is the index behind row-level security where that is another.
	walled string
	// values says that the plan is good only if it is made for the values, as the
	// server does by itself while it is the cheaper one.
	values bool
}

const (
	page = 60 // of 50 entries, with the one more that says whether there is another page

	slow      = 100_000 // to look at that many once is slow enough
	ofT0      = 330_000
	ofNobody  = 10_000
	ofAnyone  = entries
	ofDeletes = 35_000 // in t0
	tiny      = "t4242"
	ofAction  = 5_000 // passed by on the way to a page of an action of one in 66
)

var (
	day   = audit.Filter{From: middle.Add(-12 * time.Hour), To: middle.Add(12 * time.Hour)}
	until = audit.Filter{To: day.To}
	since = audit.Filter{From: day.From}
)

// within narrows a filter to the day.
func within(f audit.Filter) audit.Filter {
	f.From, f.To = day.From, day.To
	return f
}

// ofLarge are a tenant's who has a third of the trail.
func ofLarge(request string) []listing {
	return []listing{
		{name: "everything", index: "tenant"},
		{name: "a day", filter: day, index: "tenant"},
		{name: "until", filter: until, index: "tenant"},
		{name: "since", filter: since, index: "tenant"},
		{name: "an actor", filter: audit.Filter{ActorID: "user-0-1"}, index: "actor"},
		{name: "an actor of all tenants", filter: audit.Filter{ActorID: "robot"}, index: "actor"},
		{name: "an actor's day", filter: within(audit.Filter{ActorID: "user-0-1"}), index: "actor", most: 250, sorts: true},
		{name: "a common action", filter: audit.Filter{Action: "update"}, index: "tenant", most: 200},
		{name: "an action", filter: audit.Filter{Action: "user.login"}, index: "action"},
		{name: "a rare action", filter: audit.Filter{Action: "tenant.export"}, index: "action"},
		{name: "no action", filter: audit.Filter{Action: "none"}, index: "action"},
		{name: "an action's day", filter: within(audit.Filter{Action: "user.login"}), index: "action"},
		// The index of a resource has all of a type together, which are then sorted.
		{name: "a common type", filter: audit.Filter{ResourceType: "invoices"}, index: "tenant", most: 200},
		{name: "a rare type", filter: audit.Filter{ResourceType: "api_keys"}, index: "resource", sorts: true, most: 100},
		{name: "no type", filter: audit.Filter{ResourceType: "none"}, index: "resource", sorts: true},
		{name: "a resource", filter: audit.Filter{ResourceType: "invoices", ResourceID: "77"}, index: "resource"},
		// The operator ->> is not leakproof: behind the walls no index has it, and the
		// tenant's entries are read, by whichever index has the tenant.
		{name: "a request", filter: audit.Filter{RequestID: request}, index: "request", sorts: true, walled: "tenant table"},
		{name: "a day's request", filter: within(audit.Filter{RequestID: request}), index: "request tenant", sorts: true, most: 1_600},
		// A changed field has no index: it is looked for in what the others find.
		{name: "a common field", filter: audit.Filter{ChangedField: "status"}, index: "tenant", most: 400},
		{name: "a rare field", filter: audit.Filter{ChangedField: "iban"}, index: "tenant", most: ofT0},
		{name: "a field of a type", filter: audit.Filter{ResourceType: "invoices", ChangedField: "status"}, index: "tenant", most: 600},
		{name: "a field of a rare type", filter: audit.Filter{ResourceType: "api_keys", ChangedField: "status"}, index: "resource", sorts: true, most: 100},
		{name: "an action on a type", filter: audit.Filter{Action: "delete", ResourceType: "invoices"}, index: "action", most: 2_000},
		{name: "a rare action on a type", filter: audit.Filter{Action: "tenant.export", ResourceType: "invoices"}, index: "action"},
		// Without the values, any action is taken for rarer than any type.
		{name: "an action on a rare type", filter: audit.Filter{Action: "delete", ResourceType: "api_keys"}, index: "resource action", sorts: true, most: ofDeletes},
	}
}

// ofTiny are a tenant's who has some thirty entries: any index that finds these
// will do.
func ofTiny(request string) []listing {
	list := ofLarge(request)
	for i := range list {
		l := &list[i]
		l.index, l.most, l.sorts, l.walled = "tenant action resource actor request", 0, true, ""
	}
	return list
}

// ofSystem are the system scope's.
func ofSystem(request string) []listing {
	return []listing{
		{name: "everything", index: "across_tenants"},
		{name: "a day", filter: day, index: "across_tenants"},
		{name: "until", filter: until, index: "across_tenants"},
		{name: "since", filter: since, index: "across_tenants"},
		{name: "a tenant", filter: audit.Filter{TenantID: "t0"}, index: "tenant"},
		{name: "a tenant's rare action", filter: audit.Filter{TenantID: "t0", Action: "tenant.export"}, index: "action"},
		{name: "no tenant", filter: audit.Filter{WithoutTenant: true}, index: "system"},
		{name: "no tenant's day", filter: audit.Filter{WithoutTenant: true, From: day.From, To: day.To}, index: "system"},
		{name: "no tenant's action", filter: audit.Filter{WithoutTenant: true, Action: "user.login"}, index: "system action", most: ofNobody, sorts: true},
		{name: "an actor of a tenant", filter: audit.Filter{ActorID: "user-4242-1"}, index: "actor", sorts: true},
		{name: "an actor of many entries", filter: audit.Filter{ActorID: "user-0-1"}, index: "across_tenants", most: ofAction, values: true},
		{name: "an actor of all tenants", filter: audit.Filter{ActorID: "robot"}, index: "across_tenants", most: 1_000, values: true},
		{name: "an actor's day", filter: within(audit.Filter{ActorID: "user-4242-1"}), index: "actor across_tenants+actor", sorts: true},
		{name: "a common action", filter: audit.Filter{Action: "update"}, index: "across_tenants", most: 200},
		{name: "an action", filter: audit.Filter{Action: "user.login"}, index: "across_tenants", most: ofAction},
		{name: "a rare action", filter: audit.Filter{Action: "tenant.export"}, index: "action", most: 100, sorts: true, values: true},
		{name: "no action", filter: audit.Filter{Action: "none"}, index: "action", sorts: true, values: true},
		{name: "a common type", filter: audit.Filter{ResourceType: "invoices"}, index: "across_tenants", most: 200},
		{name: "a rare type", filter: audit.Filter{ResourceType: "api_keys"}, index: "resource", most: 100, sorts: true},
		{name: "no type", filter: audit.Filter{ResourceType: "none"}, index: "resource", sorts: true},
		{name: "a resource", filter: audit.Filter{ResourceType: "invoices", ResourceID: "77"}, index: "resource", sorts: true},
		{name: "a request", filter: audit.Filter{RequestID: request}, index: "request", sorts: true},
		{name: "a day's request", filter: within(audit.Filter{RequestID: request}), index: "request", sorts: true},
		{name: "a common field", filter: audit.Filter{ChangedField: "status"}, index: "across_tenants", most: 400},
		{name: "a rare field", filter: audit.Filter{ChangedField: "iban"}, index: "across_tenants", most: ofAnyone},
		{name: "a field of a type", filter: audit.Filter{ResourceType: "invoices", ChangedField: "status"}, index: "across_tenants", most: 600},
		{name: "a field of a rare type", filter: audit.Filter{ResourceType: "api_keys", ChangedField: "status"}, index: "resource", most: 100, sorts: true},
		{name: "an action on a type", filter: audit.Filter{Action: "delete", ResourceType: "invoices"}, index: "across_tenants", most: 3_000},
		{name: "a rare action on a type", filter: audit.Filter{Action: "tenant.export", ResourceType: "invoices"}, index: "action", most: 100, sorts: true, values: true},
		{name: "an action on a rare type", filter: audit.Filter{Action: "delete", ResourceType: "api_keys"}, index: "resource", most: 100, sorts: true, values: true},
	}
}
