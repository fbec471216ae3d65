package pgtest

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gorm.io/gorm"
)

// Template is a database that tests get copies of. Copying takes a fraction of
// the time that building takes.
//
// Name identifies it within the test binary: the Build of the first Template of
// that name that is asked for runs, once, and tests that ask meanwhile wait for
// it. Build gets the owner's handle to an empty database and must not keep it.
// If it fails, so does every test that asks.
//
// A template never outlives its binary: its name has a random part, and it is
// dropped at the end. None can therefore be stale, whatever Build reads.
type Template struct {
	Name  string
	Build func(owner *gorm.DB) error

	// BuildFor is Build for one that needs the names of the roles.
	BuildFor func(owner *gorm.DB, roles Roles) error
}

// Roles are the names of the roles of all databases of a run.
type Roles struct{ OwnerRole, AppRole, SystemRole string }

func (h *harness) roles() Roles {
	return Roles{OwnerRole: h.owner.name, AppRole: h.app.name, SystemRole: h.system.name}
}

func (t Template) validate() error {
	if (t.Name == "") != (t.Build == nil && t.BuildFor == nil) {
		return errors.New("pgtest: a Template has a Name and a Build, or neither")
	}
	return nil
}

// template returns the name of the template's database, complete.
func (h *harness) template(ctx context.Context, t Template) (string, error) {
	if err := t.validate(); err != nil {
		return "", err
	}
	h.mu.Lock()
	build, ok := h.templates[t.Name]
	if !ok {
		build = sync.OnceValues(func() (string, error) { return h.buildTemplate(ctx, t) })
		h.templates[t.Name] = build
	}
	h.mu.Unlock()
	return build()
}

func (h *harness) buildTemplate(ctx context.Context, t Template) (string, error) {
	switch {
	case t.BuildFor != nil:
		t.Build = func(owner *gorm.DB) error { return t.BuildFor(owner, h.roles()) }
	case t.Build == nil:
		return h.buildEmpty(ctx)
	}
	empty, err := h.template(ctx, Template{})
	if err != nil {
		return "", err
	}
	name := h.newName("t")
	err = errors.Join(h.createDatabase(ctx, name, empty), h.build(ctx, name, t.Build))
	if err != nil {
		return "", errors.Join(fmt.Errorf("pgtest: building template %q: %w", t.Name, err), h.dropDatabase(ctx, name))
	}
	return name, h.seal(ctx, name)
}

func (h *harness) build(ctx context.Context, name string, build func(*gorm.DB) error) error {
	owner, err := h.open(h.owner, name)
	if err != nil {
		return err
	}
	return errors.Join(build(owner.WithContext(ctx)), closeHandle(owner))
}

// buildEmpty makes what all others are copied from: no tables, but the grants.
// It comes from template0, since template1 may hold anything. What it grants by
// default reaches the tables that tests make as owner. Schema public is closed
// to the app for making tables, and PUBLIC keeps what PostgreSQL gives it on a
// database: to connect, and to make temporary tables.
func (h *harness) buildEmpty(ctx context.Context) (string, error) {
	name := h.newName("t")
	if err := h.createDatabase(ctx, name, "template0"); err != nil {
		return "", err
	}
	if err := h.grant(ctx, name); err != nil {
		return "", fmt.Errorf("pgtest: granting in the empty template: %w", err)
	}
	return name, h.seal(ctx, name)
}

func (h *harness) grant(ctx context.Context, name string) error {
	db, err := h.openSuper(name)
	if err != nil {
		return err
	}
	defaults := fmt.Sprintf(`ALTER DEFAULT PRIVILEGES FOR ROLE %s GRANT `, h.owner.name)
	for _, stmt := range []string{
		fmt.Sprintf(`ALTER SCHEMA public OWNER TO %s`, h.owner.name),
		`REVOKE CREATE ON SCHEMA public FROM PUBLIC`,
		fmt.Sprintf(`GRANT USAGE ON SCHEMA public TO %s`, h.app.name),
		fmt.Sprintf(`%s SELECT, INSERT, UPDATE, DELETE ON TABLES TO %s`, defaults, h.app.name),
		fmt.Sprintf(`%s USAGE, SELECT ON SEQUENCES TO %s`, defaults, h.app.name),
		fmt.Sprintf(`%s EXECUTE ON FUNCTIONS TO %s`, defaults, h.app.name),
	} {
		if err := db.WithContext(ctx).Exec(stmt).Error; err != nil {
			return errors.Join(err, closeHandle(db))
		}
	}
	return closeHandle(db)
}

func (h *harness) createDatabase(ctx context.Context, name, template string) error {
	err := h.exec(ctx, fmt.Sprintf(`CREATE DATABASE %s TEMPLATE %s OWNER %s STRATEGY file_copy`, name, template, h.owner.name))
	if err != nil {
		return fmt.Errorf("pgtest: creating database %s: %w", name, err)
	}
	return nil
}

// seal closes a complete template to connections, because a database can be
// copied only while nobody is in it. Connections that Build leaked end here.
func (h *harness) seal(ctx context.Context, name string) error {
	err := h.exec(ctx, fmt.Sprintf(`ALTER DATABASE %s ALLOW_CONNECTIONS false`, name))
	if err != nil {
		return fmt.Errorf("pgtest: sealing template %s: %w", name, err)
	}
	_, err = h.admin.ExecContext(ctx, `SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1`, name)
	return err
}
