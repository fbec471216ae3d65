package migrate_test

import (
	"testing"
)

func TestSmoke(t *testing.T) {
	t.Parallel()
	d := setupDesk(t, false)
	done := d.capture(t)
	t.Log(done.Changed[0])
	t.Log(done.Reported, done.Drifted)
	if again := d.capture(t); len(again.Changed) > 0 {
		t.Error(again.Changed)
	}
	d.super.exec(t, `INSERT INTO folders (id, tenant_id, name) VALUES (1, 'a', 'x'), (2, 'a', 'y')`,
		`INSERT INTO sheets (id, tenant_id, code, folder_id, api_token) VALUES (1, 'a', 'c1', 1, 's')`,
		`INSERT INTO sheets (id, tenant_id, code, parent_id) VALUES (2, 'a', 'c2', 1), (3, 'a', 'c3', 2)`,
		`UPDATE sheets SET id = id + 10 WHERE id = 1`,
		`INSERT INTO sheets (id, tenant_id, code, title) VALUES (11, 'a', 'c2', 'z'), (20, 'a', 'c20', 'n') ON CONFLICT (id) DO UPDATE SET title = excluded.title`,
		`DELETE FROM folders WHERE id = 1`)
	for _, l := range d.trail(t) {
		t.Log(l)
	}
	app := d.gorm(t)
	f := Folder{Name: "g"}
	must(0, app.Create(&f).Error)
	p := Sheet{Code: "p1"}
	must(0, app.Create(&p).Error)
	c := Sheet{Code: "p2", ParentID: &p.ID}
	must(0, app.Create(&c).Error)
	must(0, app.Unscoped().Delete(&p).Error)
	for _, l := range d.trail(t) {
		t.Log(l)
	}
}
