package tests

import (
	"errors"
	"strings"
	"testing"

	"gorm.io/gorm"

	"github.com/courtroll/courtroll/tenancy"
)

// matrixPool holds databases for paths that leave the tables as they are.
type matrixPool struct{ unprotected, protected chan *matrixDB }

func newMatrixPool(t *testing.T) *matrixPool {
	t.Helper()
	p := &matrixPool{make(chan *matrixDB, 3), make(chan *matrixDB, 3)}
	for range cap(p.protected) {
		p.unprotected <- newMatrixDB(t, matrixSchema)
		p.protected <- newMatrixDB(t, matrixProtected)
	}
	return p
}

// plain returns a database without walls for a path.
func (p *matrixPool) plain(t *testing.T, tc matrixCase) (m *matrixDB, release func()) {
	t.Helper()
	if tc.ddl == "" {
		m = <-p.unprotected
		return m, func() { p.unprotected <- m }
	}
	m = newMatrixDB(t, matrixSchema)
	must(t, m.Owner.Exec(tc.ddl).Error)
	return m, func() {}
}

// walled returns one that was protected after the path's DDL, as after AutoMigrate.
func (p *matrixPool) walled(t *testing.T, tc matrixCase) (m *matrixDB, release func()) {
	t.Helper()
	if tc.ddl == "" {
		m = <-p.protected
		return m, func() { p.protected <- m }
	}
	return newWalled(t, tc), func() {}
}

func newWalled(t *testing.T, tc matrixCase) *matrixDB {
	t.Helper()
	if tc.ddl == "" {
		return newMatrixDB(t, matrixProtected)
	}
	m := newMatrixDB(t, matrixSchema)
	must(t, m.Owner.Exec(tc.ddl).Error)
	must(t, protect(m.Owner, m.Roles, matrixRules))
	return m
}

// actWalled runs a path on a handle that serves all paths of the database: to
// prove its tables for each would take longest of all.
func (m *matrixDB) actWalled(t *testing.T, tc matrixCase) observed {
	t.Helper()
	if m.walled == nil {
		m.walled, m.wire = m.open(t, allWalls)
	}
	m.wire.sent = nil
	return m.actOn(t, tc, m.walled.WithContext(tenancy.WithTenant(t.Context(), "hal")), m.wire)
}

// decideWall says which wall behind the plugin stops a run that got past it: the
// keys, if they do without the policies.
func decideWall(t *testing.T, tc matrixCase) string {
	t.Helper()
	m := newWalled(t, tc)
	for _, table := range matrixTables {
		must(t, m.super.Exec("ALTER TABLE "+table+" NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY").Error)
	}
	m.reset(t, bothTenants)
	switch {
	case !m.prepare(tc):
		return keys // the reference that the run follows cannot be stored
	case m.act(t, tc, pluginAlone).leaks():
		return policies
	}
	return keys
}

// prepare reports whether what a path needs could be stored.
func (m *matrixDB) prepare(tc matrixCase) bool {
	return tc.before == "" || m.super.Exec(tc.before).Error == nil
}

const runs = "runs"

// decideWalled runs a path behind all three walls, as hal beside acme, and says what
// came out. It has to be what hal gets alone, with the plugin alone; nil stands for a
// path that did not run there, and runs as hal alone behind the walls.
func decideWalled(t *testing.T, tc matrixCase, pool *matrixPool, alone *observed) string {
	t.Helper()
	m, release := pool.walled(t, tc)
	defer release()
	m.reset(t, bothTenants)
	if !m.prepare(tc) {
		return keys
	}
	o := m.actWalled(t, tc)
	_, own := o.created()
	if o.leaks() || !own || o.err != nil && strings.Contains(o.err.Error(), "acme") {
		t.Errorf("behind all walls it leaks: %s, %v; rows %v, were %v", o.result, o.err, o.after, o.before)
	}
	if name := o.walledRefusal(t); name != "" {
		if !o.unchanged("") {
			t.Errorf("behind all walls it is refused too late: %v", o.err)
		}
		return "refused: " + name
	}
	if alone == nil {
		m.reset(t, halAlone)
		hal := m.actWalled(t, tc)
		alone = &hal
	}
	if o.result != alone.result || !isAnswer(o.err) || !isAnswer(alone.err) {
		t.Errorf("behind all walls it differs from hal alone: %s, %v; %s, %v", o.result, o.err, alone.result, alone.err)
	}
	return runs
}

// walledRefusal is refusal with the errors of the database's walls.
func (o observed) walledRefusal(t *testing.T) string {
	t.Helper()
	var denied interface{ SQLState() string }
	switch name, _ := o.refusal(t); {
	case name != "":
		return name
	case errors.Is(o.err, gorm.ErrForeignKeyViolated):
		return "gorm.ErrForeignKeyViolated"
	case errors.As(o.err, &denied) && denied.SQLState() == "42501":
		return policies
	}
	return ""
}

// isAnswer reports whether a run came to its end.
func isAnswer(err error) bool { return err == nil || errors.Is(err, gorm.ErrRecordNotFound) }
