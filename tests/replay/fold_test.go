package replay

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// fold replays the trail, from rows that were there before: each entry has to find
// the row as the one before left it, and the last has to leave the tables as they
// are.
func fold(start map[string]rows, entries []entry, end map[string]rows) string {
	state := map[string]rows{}
	for _, t := range tables {
		state[t.name] = rows{}
		for key, r := range start[t.name] {
			state[t.name][key] = t.visible(r)
		}
	}
	last := map[string]string{} // when a resource had its last entry
	for _, e := range entries {
		of := e.Table + " " + e.Key
		if at := last[of]; at == e.At {
			return fmt.Sprintf("two entries of %s have the time %s: their order is chance", of, at)
		}
		last[of] = e.At
		if fault := state[e.Table].apply(tableNamed(e.Table), e); fault != "" {
			return fmt.Sprintf("replaying the trail: %s\n%s", fault, e)
		}
	}
	for _, t := range tables {
		if difference := t.difference(state[t.name], end[t.name]); difference != "" {
			return difference
		}
	}
	return ""
}

// visible returns a row as the trail has it. Times of update are left out: where
// nothing else changed, no entry tells of them.
func (t *table) visible(r row) row {
	out := row{}
	for column, value := range r {
		if string(value) != null && !slices.Contains(t.omitted, column) && !slices.Contains(t.auto, column) {
			out[column] = json.RawMessage(t.seen(column, string(value)))
		}
	}
	return out
}

// apply makes an entry's change to the row that it names.
func (all rows) apply(t *table, e entry) string {
	r, exists := all[e.Key]
	switch {
	case e.Action == "create" && exists:
		return "it creates a row that is there"
	case e.Action == "create":
		r = row{}
	case !exists:
		return "there is no such row"
	}
	delete(all, e.Key)
	for column, before := range e.Old {
		if !slices.Contains(t.auto, column) && string(before) != r.at(column) {
			return fmt.Sprintf("it says that %s was %s, but before it that was %s", column, before, r.at(column))
		}
	}
	r = maps.Clone(r)
	for column, after := range e.New {
		delete(r, column)
		if string(after) != null && !slices.Contains(t.auto, column) {
			r[column] = after
		}
	}
	if e.Action == "delete" {
		if len(r) > 0 {
			return fmt.Sprintf("it deletes a row but for %s", show(r))
		}
		return ""
	}
	key := t.key(r)
	if _, taken := all[key]; taken {
		return "it gives the row the key of another"
	}
	all[key] = r
	return ""
}

// difference compares what the trail gives with what is there.
func (t *table) difference(folded, real rows) string {
	for _, key := range slices.Sorted(maps.Keys(real)) {
		if r := t.visible(real[key]); !maps.EqualFunc(folded[key], r, func(a, b json.RawMessage) bool { return string(a) == string(b) }) {
			return fmt.Sprintf("the trail gives %s %s as\n%s\nit is\n%s", t.name, key, text(folded[key]), text(r))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(folded)) {
		if real[key] == nil {
			return fmt.Sprintf("the trail gives %s %s, which is not there", t.name, key)
		}
	}
	return ""
}

func text(r row) string {
	out, _ := json.Marshal(r)
	return string(out)
}
