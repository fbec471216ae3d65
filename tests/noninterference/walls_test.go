package noninterference

import (
	"testing"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"
)

// removals take one wall of the database away, or log in as somebody whom no policy
// binds.
var removals = map[string]func(t *testing.T, s *shared){
	"policies": func(t *testing.T, s *shared) { t.Helper(); openAll(t, s.super) },
	"keys": func(t *testing.T, s *shared) {
		t.Helper()
		must(t, s.super.Exec(`ALTER TABLE members DROP CONSTRAINT fk_teams_members, ADD CONSTRAINT fk_teams_members FOREIGN KEY (team_id) REFERENCES teams (id)`).Error)
	},
	"login": func(t *testing.T, s *shared) {
		t.Helper()
		login, err := pgx.ParseConfig(s.SuperDSN)
		must(t, err)
		s.handles = s.form.handles(t, s.DB, login)
	},
}

// TestWalls removes a wall of the database: each time the generated programs have
// to find the hole.
func TestWalls(t *testing.T) {
	t.Parallel()
	sites := openSites(t)
	for _, c := range []struct {
		form    form
		removed string
	}{
		{policiesAlone, "policies"}, {policiesAlone, "login"}, {policiesAlone, "keys"},
		{both, "policies"}, {both, "keys"}, {pooled, "policies"}, {pooled, "keys"},
	} {
		t.Run(c.form.name+" without "+c.removed, func(t *testing.T) {
			s := c.form.open(t)
			removals[c.removed](t, s)
			generator := rapid.Custom(func(t *rapid.T) program { return drawProgram(t, c.form) })
			for n := range 500 {
				if difference := s.compare(generator.Example(n), sites, &coverage{finishers: map[string]int{}}); difference != "" {
					t.Logf("found by program %d: %s", n+1, difference)
					return
				}
			}
			t.Error("500 programs did not find the hole")
		})
	}
}
