package tests

import "testing"

// A table whose model is known is recorded by it, however it is reached.
func TestAudit_TableByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hal := b.as(b.hal)
	must(t, hal.Table("authors").Create(map[string]any{"id": 1, "email": "e", "name": "n"}).Error)
	must(t, hal.Table("authors AS a").Where("a.id = 1").Updates(map[string]any{"name": "x"}).Error)
	type view struct{ Name, TenantID string }
	must(t, hal.Model(&view{}).Table("authors").Where("id = 1").UpdateColumn("name", "y").Error)
	must(t, hal.Table("authors").Where("id = 1").Delete(nil).Error)
	b.wantTrail(t,
		`create authors 1: email null→"e", id null→1, name null→"n", tenant_id null→"hal"`,
		`update authors 1: name "n"→"x"`,
		`update authors 1: name "x"→"y"`,
		`delete authors 1: email "e"→null, id 1→null, name "y"→null, tenant_id "hal"→null`)
}
