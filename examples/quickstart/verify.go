package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/examples/quickstart/wiki"
)

// check is one thing that must hold.
type check struct {
	name   string
	held   bool
	detail string // shown where it did not hold
}

// verify compares the database, read by plain SQL as the login that sees every tenant,
// with the file.
func verify(ctx context.Context, system *gorm.DB, want *expected) (checks []check, err error) {
	err = system.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		// The trail shows times in UTC, and so shall the tables.
		if err := tx.Exec("SET LOCAL timezone = 'UTC'").Error; err != nil {
			return err
		}
		for _, verify := range []func(*gorm.DB, *expected) ([]check, error){
			verifyCounts, verifyPages, verifyRevisions, verifyTrail, verifyChain, verifyEnds,
		} {
			list, err := verify(tx, want)
			if err != nil {
				return err
			}
			checks = append(checks, list...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("verifying: %w", err)
	}
	return checks, nil
}

func equal(what string, got, want int) check {
	return check{
		name: fmt.Sprintf("%s: %s in SQL, %s computed from the file", what, number(got), number(want)),
		held: got == want,
	}
}

func verifyCounts(tx *gorm.DB, want *expected) ([]check, error) {
	var got struct{ Tenants, Pages, Revisions, Trail int }
	err := tx.Raw(`SELECT (SELECT count(*) FROM tenants) AS tenants, (SELECT count(*) FROM pages) AS pages,
		(SELECT count(*) FROM revisions) AS revisions, (SELECT count(*) FROM audit_logs) AS trail`).Scan(&got).Error
	return []check{
		equal("tenants", got.Tenants, len(want.tenants)),
		equal("pages", got.Pages, len(want.pages)),
		equal("revisions", got.Revisions, want.edits),
		equal("audit rows", got.Trail, sum(want.trail)),
	}, err
}

func sum[K comparable](counts map[K]int) (total int) {
	for _, n := range counts {
		total += n
	}
	return total
}

func verifyPages(tx *gorm.DB, want *expected) ([]check, error) {
	var rows []wiki.Page
	if err := tx.Raw("SELECT * FROM pages").Scan(&rows).Error; err != nil {
		return nil, err
	}
	got := map[pageKey]pageState{}
	for _, p := range rows {
		got[pageKey{p.TenantID, p.Title}] = pageState{p.Namespace, p.Length, p.Revisions, p.EditedAt.UTC()}
	}
	return []check{same("every page has the length, the number of revisions and the time of its edits", got, want.pages,
		func(a, b pageState) bool { return a == b })}, nil
}

func verifyRevisions(tx *gorm.DB, want *expected) ([]check, error) {
	var rows []struct {
		Tenant, Title, Comment string
		Delta                  int64
		Minor, Robot           bool
		EditedAt               time.Time
	}
	err := tx.Raw(`SELECT r.tenant_id AS tenant, p.title, r.comment, r.delta, r.minor, r.robot, r.edited_at
		FROM revisions r LEFT JOIN pages p ON p.id = r.page_id AND p.tenant_id = r.tenant_id ORDER BY r.id`).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	got := map[pageKey][]revisionState{}
	for _, r := range rows {
		key := pageKey{r.Tenant, r.Title}
		got[key] = append(got[key], revisionState{r.Comment, r.Delta, r.Minor, r.Robot, r.EditedAt.UTC()})
	}
	return []check{same("every page has its revisions, in the order of the file", got, want.revisions, slices.Equal)}, nil
}

// same compares two maps and says how many of the pages differ.
func same[V any](name string, got, want map[pageKey]V, equal func(a, b V) bool) check {
	keys := maps.Clone(want)
	maps.Copy(keys, got)
	different := 0
	for key := range keys {
		a, inGot := got[key]
		b, inWant := want[key]
		if !inGot || !inWant || !equal(a, b) {
			different++
		}
	}
	return check{name, different == 0, fmt.Sprintf("%s pages differ", number(different))}
}

// verifyTrail counts the audit rows of each action, and of each actor at each address.
func verifyTrail(tx *gorm.DB, want *expected) ([]check, error) {
	var rows []struct {
		Tenant, Actor, IP, Action, Resource string
		Rows                                int
	}
	err := tx.Raw(`SELECT coalesce(tenant_id, '') AS tenant, coalesce(actor_id, '') AS actor, coalesce(ip_address, '') AS ip,
		action, resource_type AS resource, count(*) AS rows FROM audit_logs GROUP BY 1, 2, 3, 4, 5`).Scan(&rows).Error
	if err != nil {
		return nil, err
	}
	got := map[trailKey]int{}
	for _, r := range rows {
		got[trailKey{r.Tenant, r.Actor, r.IP, r.Action, r.Resource}] = r.Rows
	}
	checks := perAction(got, want.trail)
	return append(checks, check{
		name: fmt.Sprintf("audit rows name tenant, actor and address: %s combinations as computed", number(len(want.trail))),
		held: maps.Equal(got, want.trail),
	}), nil
}

func perAction(got, want map[trailKey]int) (checks []check) {
	gotOf, wantOf := actions(got), actions(want)
	all := maps.Clone(wantOf)
	maps.Copy(all, gotOf)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		checks = append(checks, equal("audit rows of "+name, gotOf[name], wantOf[name]))
	}
	return checks
}

func actions(trail map[trailKey]int) map[string]int {
	counts := map[string]int{}
	for key, n := range trail {
		counts[key.resource+" "+key.action] += n
	}
	return counts
}
