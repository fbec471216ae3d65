//go:build !race

package scale

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// TestList_AtScale explains the very statements that List sends, without row-level
// security and then behind it, as the app's login in a tenant and as the system's.
func TestList_AtScale(t *testing.T) {
	t.Parallel()
	db := pgtest.New(t, pgtest.Template{})
	fill(t, db)
	request := findRequest(t, db)

	app := db.Open(postgres.Open(db.AppDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{})))
	form{name: "without walls", app: record(t, app), tenants: db.App, system: db.App}.test(t, request)

	m := migrate.New(db.Owner, migrate.Config{AppRole: db.AppRole, SystemRole: db.SystemRole})
	_, err := m.Protect(t.Context())
	must(t, err)
	app, system := db.Open(tenancy.Postgres(db.AppDSN), nil), db.Open(tenancy.Postgres(db.SystemDSN), nil)
	must(t, app.Use(tenancy.New(tenancy.Config{RowLevelSecurity: true, RequireConfinedRole: true, System: system})))
	system = db.Open(postgres.Open(db.SystemDSN), nil) // as it explains, no transaction binds it
	form{name: "behind walls", walls: true, app: record(t, app), tenants: db.App, system: system}.test(t, request)
}

// form is how an app is put together, and the logins that its statements run as.
type form struct {
	name                 string
	walls                bool
	app, tenants, system *gorm.DB
}

func (f form) test(t *testing.T, request string) {
	for _, group := range []struct {
		name, tenant string
		listings     []listing
	}{
		{"a large tenant", "t0", ofLarge(request)},
		{"a tiny tenant", tiny, ofTiny(request)},
		{"the system", "", ofSystem(request)},
	} {
		for _, l := range group.listings {
			t.Run(strings.Join([]string{f.name, group.name, l.name}, "/"), func(t *testing.T) { f.list(t, group.tenant, l) })
		}
	}
}

// list explains the first page and one in the middle, in both orders.
func (f form) list(t *testing.T, tenant string, l listing) {
	ctx, login := tenancy.AsSystem(t.Context(), "test"), f.system
	if tenant != "" {
		ctx, login = tenancy.WithTenant(t.Context(), tenant), f.tenants
	}
	if f.walls && l.walled != "" {
		l.index, l.most = l.walled, entries
	}
	s := connect(t, login, tenant)
	for _, oldestFirst := range []bool{false, true} {
		l.filter.OldestFirst = oldestFirst
		for _, from := range []time.Time{{}, middle} {
			l.explain(t, s, sent(t, ctx, f.app, l.filter, from))
		}
		if l.most >= slow {
			break
		}
	}
}

// explain looks at the plans of a connection's first runs, of its later ones, and
// of a server that never makes a plan for the values.
func (l listing) explain(t *testing.T, s session, made statement) {
	if made.sql == "" {
		return // there is no second page
	}
	for _, mode := range []string{"force_custom_plan", "auto", "force_generic_plan"} {
		if mode == "force_generic_plan" && l.values {
			continue
		}
		if fault := l.fault(s.explain(t, made, mode)); fault != "" {
			t.Errorf("%s: %s\n%s", mode, fault, made.sql)
		}
	}
}

func (l listing) fault(p *plan) string {
	most := max(l.most, page)
	switch {
	case !slices.Contains(strings.Fields(l.index), p.indexes()):
		return "reads " + p.indexes() + " instead of " + l.index + ":\n" + p.text
	case p.has("Sort") && !l.sorts:
		return "sorts:\n" + p.text
	case p.reads() > most || p.buffers > 2*most+100:
		return "looks at too much:\n" + p.text
	}
	return ""
}
