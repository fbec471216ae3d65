package replay

import (
	"context"
	"slices"
	"strconv"
	"testing"

	"golang.org/x/sync/errgroup"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/internal/pgtest"
	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// dataRules are of the tables that real data goes into.
var dataRules = tenancy.Rules{Models: []any{&Page{}, &File{}}}

var (
	dataPlain     = pgtest.Template{Name: "data", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error { return buildData(owner, roles, false) }}
	dataProtected = pgtest.Template{Name: "data protected", BuildFor: func(owner *gorm.DB, roles pgtest.Roles) error { return buildData(owner, roles, true) }}
)

func buildData(owner *gorm.DB, roles pgtest.Roles, protect bool) error {
	m := migrate.New(owner, migrate.Config{Rules: dataRules, AppRole: roles.AppRole, SystemRole: roles.SystemRole})
	if _, err := m.Up(context.Background()); err != nil {
		return err
	}
	if err := owner.AutoMigrate(dataRules.Models...); err != nil || !protect {
		return err
	}
	_, err := m.Protect(context.Background())
	return err
}

func (f form) openData(t *testing.T) *lab {
	t.Helper()
	template := dataPlain
	if f.walls {
		template = dataProtected
	}
	l := newLab(t, template, f)
	l.install(t, dataRules)
	return l
}

// as returns a handle for one tenant and actor.
func (l *lab) as(tenant, actor string) *gorm.DB {
	return l.app.WithContext(audit.WithActor(tenancy.WithTenant(context.Background(), tenant), audit.Actor{ID: actor}))
}

// perTenant calls f for each tenant's part of the data, four at a time, each in
// its order.
func perTenant[T any](all []T, tenantOf func(T) string, f func(tenant string, part []T) error) error {
	parts := map[string][]T{}
	var tenants []string
	for _, one := range all {
		name := tenantOf(one)
		if parts[name] == nil {
			tenants = append(tenants, name)
		}
		parts[name] = append(parts[name], one)
	}
	var group errgroup.Group
	group.SetLimit(4)
	for _, name := range tenants {
		group.Go(func() error { return f(name, parts[name]) })
	}
	return group.Wait()
}

// histories reads the trail of each row, as action and changes.
func (l *lab) histories(t *testing.T) map[string][]string {
	t.Helper()
	entries, err := l.trail()
	must(t, err)
	all := map[string][]string{}
	for _, e := range entries {
		of := e.Tenant + " " + e.Key
		e.Xid = ""
		all[of] = append(all[of], e.String())
	}
	return all
}

// sameHistories compares what two ways of doing the same left behind.
func sameHistories(t *testing.T, way string, got, want map[string][]string) {
	t.Helper()
	faults := 0
	for of := range want {
		if !slices.Equal(got[of], want[of]) && faults < 3 {
			t.Errorf("%s: the history of %s is\n%q\nwant\n%q", way, of, got[of], want[of])
			faults++
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d rows have a history, want %d", way, len(got), len(want))
	}
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
