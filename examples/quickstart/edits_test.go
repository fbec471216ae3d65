package main

import (
	"compress/gzip"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/courtroll/courtroll/audit"
)

// TestSample: the sample has what the README of its folder promises.
func TestSample(t *testing.T) {
	t.Parallel()
	edits, err := readEdits("")
	noError(t, err)
	want := expect(edits)
	tenantsOf := map[string]map[string]bool{}
	anonymous, beyondASCII, often := 0, 0, 0
	for _, e := range edits {
		if e.actor().ID == "" {
			anonymous++
		}
		if strings.ContainsFunc(e.Page, func(r rune) bool { return r > unicode.MaxASCII }) {
			beyondASCII++
		}
		if tenantsOf[e.Page] == nil {
			tenantsOf[e.Page] = map[string]bool{}
		}
		tenantsOf[e.Page][e.tenant()] = true
	}
	for _, page := range want.pages {
		if page.revisions >= 5 {
			often++
		}
	}
	shared := 0
	for _, ids := range tenantsOf {
		if len(ids) > 1 {
			shared++
		}
	}
	for what, n := range map[string][2]int{
		"edits": {len(edits), 2000}, "tenants": {len(want.tenants), 50}, "anonymous edits": {anonymous, 300},
		"titles beyond ASCII": {beyondASCII, 300}, "pages with five edits or more": {often, 150}, "titles of several tenants": {shared, 96},
	} {
		if n[0] < n[1] {
			t.Errorf("%s: %d, want %d or more", what, n[0], n[1])
		}
	}
}

func TestReadEdits(t *testing.T) {
	t.Parallel()
	const line = `{"time":"2015-09-12T00:00:00Z","channel":"#en.wikipedia","page":"P","user":"U","delta":-3,"isMinor":true}` + "\n"

	t.Run("plain", func(t *testing.T) {
		t.Parallel()
		edits, err := readEdits(write(t, line+line))
		noError(t, err)
		if len(edits) != 2 || edits[1].number != 2 || edits[1].Delta != -3 || !edits[1].IsMinor || edits[1].tenant() != "en.wikipedia" {
			t.Errorf("got %+v", edits)
		}
	})

	t.Run("gzip, whatever its name", func(t *testing.T) {
		t.Parallel()
		name := filepath.Join(t.TempDir(), "edits")
		file, err := os.Create(name)
		noError(t, err)
		packed := gzip.NewWriter(file)
		_, err = packed.Write([]byte(line))
		noError(t, err)
		noError(t, packed.Close())
		noError(t, file.Close())
		edits, err := readEdits(name)
		if err != nil || len(edits) != 1 {
			t.Errorf("got %d edits, %v", len(edits), err)
		}
	})

	for name, test := range map[string]struct{ text, want string }{
		"empty":       {"", "it holds no edit"},
		"cut off":     {line + line[:20], "reading edit 2 of"},
		"no JSON":     {line + "]", "invalid character"},
		"no page":     {strings.ReplaceAll(line, `"P"`, `" "`), "page is missing"},
		"no user":     {strings.ReplaceAll(line, `"U"`, `""`), "user is missing"},
		"no tenant":   {strings.ReplaceAll(line, `en.wikipedia`, ``), "channel is missing"},
		"no time":     {strings.ReplaceAll(line, `"time"`, `"at"`), "time is missing"},
		"not an edit": {`{"error": "no such file"}`, "reading edit 1 of"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := readEdits(write(t, test.text)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestActor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		edit edit
		want audit.Actor
	}{
		{edit{User: "Escla"}, audit.Actor{ID: "Escla"}},
		{edit{User: "PereBot", IsRobot: true}, audit.Actor{ID: "PereBot", Kind: audit.Service}},
		{edit{User: "60.225.66.142"}, audit.Actor{IP: netip.MustParseAddr("60.225.66.142")}},
		{edit{User: "2804:7F2:80:513D:0:0:0:2"}, audit.Actor{IP: netip.MustParseAddr("2804:7f2:80:513d::2")}},
		{edit{User: "127.0.0.1.example"}, audit.Actor{ID: "127.0.0.1.example"}},
	} {
		if got := test.edit.actor(); got != test.want {
			t.Errorf("%s: got %+v", test.edit.User, got)
		}
	}
}

// TestQueues: each edit is in one queue, and those of a page are in the same, in order.
func TestQueues(t *testing.T) {
	t.Parallel()
	edits, err := readEdits("")
	noError(t, err)
	var numbers []int
	last, queueOf := map[pageKey]int{}, map[pageKey]int{}
	for i, queue := range queues(edits) {
		for _, e := range queue {
			key := pageKey{e.tenant(), e.Page}
			if before, seen := queueOf[key]; seen && before != i || e.number <= last[key] {
				t.Errorf("edit %d is out of order", e.number)
			}
			queueOf[key], last[key] = i, e.number
			numbers = append(numbers, e.number)
		}
	}
	slices.Sort(numbers)
	if len(slices.Compact(numbers)) != len(edits) {
		t.Errorf("got %d edits, want %d", len(numbers), len(edits))
	}
}
