package replay

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"gorm.io/gorm"
)

// lies are ways for a trail to be wrong about one entry. Each is false where the
// entry is not one that can be made wrong this way.
var lies = map[string]func(entries []entry, i int) ([]entry, bool){
	"lost":      func(entries []entry, i int) ([]entry, bool) { return slices.Delete(entries, i, i+1), true },
	"twice":     func(entries []entry, i int) ([]entry, bool) { return slices.Insert(entries, i, entries[i]), true },
	"action":    func(entries []entry, i int) ([]entry, bool) { entries[i].Action = "changed"; return entries, true },
	"key":       func(entries []entry, i int) ([]entry, bool) { entries[i].Key += "0"; return entries, true },
	"xid":       func(entries []entry, i int) ([]entry, bool) { entries[i].Xid = "0"; return entries, true },
	"tenant":    func(entries []entry, i int) ([]entry, bool) { entries[i].Tenant = "hal"; return entries, true },
	"old value": func(entries []entry, i int) ([]entry, bool) { return entries, falsify(entries[i].Old) },
	"new value": func(entries []entry, i int) ([]entry, bool) { return entries, falsify(entries[i].New) },
	"order": func(entries []entry, i int) ([]entry, bool) {
		for j := i + 1; j < len(entries); j++ {
			if entries[i].Table == entries[j].Table && entries[i].Key == entries[j].Key {
				entries[i], entries[j] = entries[j], entries[i]
				return entries, true
			}
		}
		return entries, false
	},
}

func falsify(r row) bool {
	for _, column := range slices.Sorted(maps.Keys(r)) {
		if string(r[column]) != null {
			r[column] = json.RawMessage(`"false"`)
			return true
		}
	}
	return false
}

// TestOracle tells lies about a trail that is true: the test has to find each one.
func TestOracle(t *testing.T) {
	t.Parallel()
	l := alone.open(t)
	db := l.app.WithContext(l.context(t.Context(), "truth"))
	must(t, db.Create(&Thing{ID: 9, TenantID: tenant, Code: "i", Text: ptr("x"), Phone: "1", APIToken: ptr("t")}).Error)
	for n := range 3 {
		must(t, db.Model(&Thing{}).Where("id IN ?", []int{1, 9}).Updates(map[string]any{"n": n + 10, "phone": "2"}).Error)
	}
	must(t, db.Delete(&Thing{}, 9).Error)
	must(t, db.Unscoped().Model(&Thing{ID: 9}).Update("deleted_at", nil).Error)
	must(t, db.Model(&Slot{}).Where("room = 'a'").Update("room", "b").Error)
	must(t, db.Model(&Owner{}).Where("1 = 1").Update("points", gorm.Expr("points + 1")).Error)
	must(t, db.Unscoped().Delete(&Thing{}, 9).Error)

	versions, err := l.shadow()
	must(t, err)
	told, err := l.trail()
	must(t, err)
	end, err := l.rows()
	must(t, err)
	if fault := compare(versions, told) + fold(l.start, told, end); fault != "" {
		t.Fatal(fault)
	}
	for name, lie := range lies {
		found, folded := 0, 0
		for i := range told {
			entries, ok := lie(copyOf(told), i)
			if !ok {
				continue
			}
			if compare(versions, entries) == "" {
				t.Errorf("%s: not found in %s", name, told[i])
			}
			found++
			if fold(l.start, entries, end) != "" {
				folded++
			}
		}
		t.Logf("%s: %d found, %d of them by replaying", name, found, folded)
		if found == 0 || folded == 0 && !slices.Contains([]string{"xid", "tenant", "action"}, name) {
			t.Errorf("%s: %d found, %d of them by replaying", name, found, folded)
		}
	}
}

func copyOf(entries []entry) []entry {
	out := slices.Clone(entries)
	for i := range out {
		out[i].Old, out[i].New = maps.Clone(out[i].Old), maps.Clone(out[i].New)
	}
	return out
}
