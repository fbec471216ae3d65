package replay

import (
	"encoding/csv"
	"errors"
	"fmt"
	"testing"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/courtroll/courtroll/tests/realdata"
)

// File is a file of a repository, which is its tenant.
type File struct {
	TenantID string `gorm:"primaryKey"`
	Path     string `gorm:"primaryKey"`
	Kind     string `gorm:"not null"`
	Author   string `gorm:"not null"`
	Commit   string `gorm:"not null"`
	Changes  int64  `gorm:"not null"`
}

// gitEvent is a line of the file. Its action is what it does to the files as they are.
type gitEvent struct{ tenant, author, action, kind, path, commit string }

func (e gitEvent) file() File {
	return File{TenantID: e.tenant, Path: e.path, Kind: e.kind, Author: e.author, Commit: e.commit, Changes: 1}
}

func tenantOfEvent(e gitEvent) string { return e.tenant }

// readGit returns the events, and the files that there are in the end.
func readGit(t *testing.T) (events []gitEvent, files map[string]File) {
	t.Helper()
	text, err := realdata.Open(*gitFile, realdata.SampleGit)
	must(t, err)
	lines, err := csv.NewReader(text).ReadAll()
	must(t, err)
	files = map[string]File{}
	for _, line := range lines[1:] {
		e := gitEvent{line[0], line[1], line[2], line[3], line[4], line[6]}
		of := e.tenant + " " + e.path
		before, exists := files[of]
		f := e.file()
		switch {
		case e.action == "delete" && !exists:
			continue
		case e.action == "delete":
			delete(files, of)
		case exists:
			e.action = "update"
			f.Kind, f.Changes = before.Kind, before.Changes+1
			files[of] = f
		default:
			e.action = "create"
			files[of] = f
		}
		events = append(events, e)
	}
	return events, files
}

// TestGit makes files live and die as they did, a statement for each, and a
// statement for each run of the same in a commit: replaying the trail gives the
// files that there are in the end, and both ways leave the same one.
func TestGit(t *testing.T) {
	t.Parallel()
	events, files := readGit(t)
	var want map[string][]string
	for _, way := range []struct {
		name string
		form form
		make func(l *lab, events []gitEvent) error
	}{
		{"one by one", alone, gitOneByOne}, {"runs", both, gitByRuns}, {"runs, the audit plugin alone", alone, gitByRuns},
	} {
		start := time.Now()
		l := way.form.openData(t)
		must(t, way.make(l, events))
		l.wantFiles(t, events, files)
		got := l.histories(t)
		t.Logf("%s: %d events in %s", way.name, len(events), time.Since(start).Round(time.Millisecond))
		if want == nil {
			want = got
		}
		sameHistories(t, way.name, got, want)
	}
}

// wantFiles replays the trail and compares what it gives with the file of events
// and with the table.
func (l *lab) wantFiles(t *testing.T, events []gitEvent, want map[string]File) {
	t.Helper()
	table := &table{name: "files", keys: []string{"tenant_id", "path"}}
	entries, err := l.trail()
	must(t, err)
	state := rows{}
	for _, e := range entries {
		if fault := state.apply(table, e); fault != "" {
			t.Fatalf("replaying the trail: %s\n%s", fault, e)
		}
	}
	if len(entries) != len(events) || len(state) != len(want) {
		t.Errorf("%d entries and %d files in the end, want %d and %d", len(entries), len(state), len(events), len(want))
	}
	for _, r := range state {
		of := plainText(r["tenant_id"]) + " " + plainText(r["path"])
		f := File{plainText(r["tenant_id"]), plainText(r["path"]), plainText(r["kind"]), plainText(r["author"]), plainText(r["commit"]), want[of].Changes}
		if f != want[of] || r.at("changes") != number(f.Changes) {
			t.Fatalf("the trail gives %s, want %+v", text(r), want[of])
		}
	}
	var stored []File
	must(t, l.super.Find(&stored).Error)
	for _, f := range stored {
		if f != want[f.TenantID+" "+f.Path] {
			t.Fatalf("the file is %+v, want %+v", f, want[f.TenantID+" "+f.Path])
		}
	}
	if len(stored) != len(want) {
		t.Errorf("%d files, want %d", len(stored), len(want))
	}
}

func touch(e gitEvent) map[string]any {
	return map[string]any{"author": e.author, "commit": e.commit, "changes": gorm.Expr("changes + 1")}
}

// gitOneByOne runs a transaction for each commit.
func gitOneByOne(l *lab, events []gitEvent) error {
	return perTenant(events, tenantOfEvent, func(tenant string, part []gitEvent) error {
		return eachRun(part, func(a, b gitEvent) bool { return a.commit == b.commit }, func(commit []gitEvent) error {
			return l.as(tenant, commit[0].author).Transaction(func(tx *gorm.DB) error {
				for _, e := range commit {
					if err := e.apply(tx); err != nil {
						return fmt.Errorf("%s of %s: %w", e.action, e.path, err)
					}
				}
				return nil
			})
		})
	})
}

func (e gitEvent) apply(tx *gorm.DB) error {
	f := e.file()
	switch e.action {
	case "create":
		return tx.Create(&f).Error
	case "update":
		return wantRows(tx.Model(&File{TenantID: e.tenant, Path: e.path}).Updates(touch(e)), 1)
	}
	return wantRows(tx.Delete(&File{TenantID: e.tenant, Path: e.path}), 1)
}

var errRows = errors.New("rows affected")

func wantRows(tx *gorm.DB, want int) error {
	if tx.Error == nil && tx.RowsAffected != int64(want) {
		return fmt.Errorf("%d %w, want %d", tx.RowsAffected, errRows, want)
	}
	return tx.Error
}

// gitByRuns makes what follows on each other in a commit and is alike in one statement.
func gitByRuns(l *lab, events []gitEvent) error {
	return perTenant(events, tenantOfEvent, func(tenant string, part []gitEvent) error {
		alike := func(a, b gitEvent) bool { return a.commit == b.commit && a.author == b.author && a.action == b.action }
		return eachRun(part, alike, func(run []gitEvent) error {
			db := l.as(tenant, run[0].author)
			var paths []string
			var files []File
			for _, e := range run {
				paths, files = append(paths, e.path), append(files, e.file())
			}
			switch run[0].action {
			case "create":
				return db.Clauses(clause.OnConflict{UpdateAll: true}).CreateInBatches(&files, 2000).Error
			case "update":
				return wantRows(db.Model(&File{}).Where("tenant_id = ? AND path IN ?", tenant, paths).Updates(touch(run[0])), len(run))
			}
			return wantRows(db.Where("tenant_id = ? AND path IN ?", tenant, paths).Delete(&File{}), len(run))
		})
	})
}

// eachRun calls f with each run of events that are alike, and no path twice.
func eachRun(events []gitEvent, alike func(a, b gitEvent) bool, f func(run []gitEvent) error) error {
	for len(events) > 0 {
		n, seen := 0, map[string]bool{}
		for n < len(events) && alike(events[0], events[n]) && !seen[events[n].path] {
			seen[events[n].path] = true
			n++
		}
		if err := f(events[:n]); err != nil {
			return err
		}
		events = events[n:]
	}
	return nil
}
