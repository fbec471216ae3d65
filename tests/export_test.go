package tests

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"gorm.io/driver/postgres"
	"gorm.io/gorm"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/models"
	"github.com/courtroll/courtroll/tenancy"
)

// export returns the entries that an export writes, and how far it came.
func (b *bundle) export(t *testing.T, ctx context.Context, config audit.ExportConfig) ([]models.AuditLog, audit.Exported) {
	t.Helper()
	var out bytes.Buffer
	done, err := audit.Export(ctx, b.app, &out, config)
	must(t, err)
	written := int64(out.Len())
	entries := readJSONL(t, &out)
	if fresh := config.Resume == ""; fresh && (done.Bytes != written || done.Entries != int64(len(entries))) {
		t.Errorf("%d entries and %d bytes are reported, %d and %d were written", done.Entries, done.Bytes, len(entries), written)
	}
	return entries, done
}

func readJSONL(t *testing.T, r io.Reader) (entries []models.AuditLog) {
	t.Helper()
	for decoder := json.NewDecoder(r); ; {
		var e models.AuditLog
		err := decoder.Decode(&e)
		if errors.Is(err, io.EOF) {
			return entries
		}
		must(t, err)
		entries = append(entries, e)
	}
}

func actions(entries []models.AuditLog) (list []string) {
	for _, e := range entries {
		list = append(list, e.Action)
	}
	return list
}

// note records an event of that action.
func (b *bundle) note(t *testing.T, ctx context.Context, action string) {
	t.Helper()
	must(t, audit.Record(ctx, b.app, audit.Event{Action: action, ResourceType: "x"}))
}

func TestExport_RoundTrip(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "1", Name: "<ü\u2028\">"}).Error)
	must(t, b.as(b.hal).Model(&Author{ID: 1}).Update("name", "x").Error)
	must(t, b.as(b.acme).Create(&Author{ID: 2, Email: "2"}).Error)
	b.note(t, b.hal, "user.login")

	entries, done := b.export(t, b.hal, audit.ExportConfig{})
	page, err := audit.List(b.hal, b.app, audit.Filter{OldestFirst: true}, "")
	must(t, err)
	if len(entries) != 3 || len(page.Entries) != 3 {
		t.Fatalf("%d entries are exported, %d listed, want 3", len(entries), len(page.Entries))
	}
	for i, e := range entries {
		want := page.Entries[i]
		if fmt.Sprint(deref(e.ActorID), deref(e.TenantID), e.Action, e.ResourceType, deref(e.ResourceID), deref(e.IPAddress), e.ID) !=
			fmt.Sprint(deref(want.ActorID), deref(want.TenantID), want.Action, want.ResourceType, deref(want.ResourceID), deref(want.IPAddress), want.ID) ||
			!e.CreatedAt.Equal(want.CreatedAt) || fmt.Sprint(metadata(t, e)) != fmt.Sprint(metadata(t, want)) {
			t.Errorf("entry %d is exported as %+v, want %+v", i, e, want)
		}
	}
	if time.Since(done.Until) > time.Minute || done.Position == "" {
		t.Errorf("the export is %+v", done)
	}
	all, _ := b.export(t, b.system, audit.ExportConfig{})
	if len(all) != 5 { // and the scope itself
		t.Errorf("system scope exports %v", actions(all))
	}
	var out bytes.Buffer
	conditional := b.app.Where("action = ?", "update")
	if done, err := audit.Export(b.hal, conditional, &out, audit.ExportConfig{}); err != nil || done.Entries != 3 {
		t.Errorf("a handle with a condition exports %d entries, %v", done.Entries, err)
	}
	if page, err := audit.List(b.hal, conditional, audit.Filter{}, ""); err != nil || len(page.Entries) != 3 {
		t.Errorf("a handle with a condition lists %d entries, %v", len(page.Entries), err)
	}
	narrow, _ := b.export(t, b.hal, audit.ExportConfig{Filter: audit.Filter{Action: "update"}})
	if !slices.Equal(actions(narrow), []string{"update"}) {
		t.Errorf("the updates are %v", actions(narrow))
	}
}

// TestExport_LateCommit has a transaction that began before what is exported, and
// commits after.
func TestExport_LateCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "before.all")
	late := b.as(b.hal).Begin()
	must(t, late.Create(&Author{ID: 1, Email: "1"}).Error)
	b.note(t, b.hal, "while.open")

	first, done := b.export(t, b.hal, audit.ExportConfig{})
	if !slices.Equal(actions(first), []string{"before.all"}) {
		t.Errorf("beside an open transaction %v are exported", actions(first))
	}
	must(t, late.Commit().Error)
	second, done := b.export(t, b.hal, audit.ExportConfig{Resume: done.Position})
	if !slices.Equal(actions(second), []string{"create", "while.open"}) {
		t.Errorf("resumed, %v are exported", actions(second))
	}
	ended, cancel := context.WithCancel(b.hal)
	cancel()
	failed, err := audit.Export(ended, b.app, io.Discard, audit.ExportConfig{Resume: done.Position})
	if err == nil || failed.Position != done.Position {
		t.Errorf("after an error before the first page the position is another: %v", err)
	}
	third, again := b.export(t, b.hal, audit.ExportConfig{Resume: done.Position})
	if len(third) > 0 || again.Position != done.Position {
		t.Errorf("with nothing new %v are exported, and the position moves", actions(third))
	}
}

// TestExport_OpenReader is not held up by transactions that write no entry.
func TestExport_OpenReader(t *testing.T) {
	t.Parallel()
	b := setup(t)
	reader := b.as(b.hal).Begin()
	defer reader.Rollback()
	must(t, reader.Find(&[]Author{}).Error)
	b.note(t, b.hal, "while.open")
	if got, _ := b.export(t, b.hal, audit.ExportConfig{}); len(got) != 1 {
		t.Errorf("beside a reader %v are exported", actions(got))
	}
}

func TestExport_OCSF(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.as(b.hal).Create(&Author{ID: 1, Email: "1"}).Error)
	b.note(t, b.hal, "user.login")
	var out bytes.Buffer
	_, err := audit.Export(b.hal, b.app, &out, audit.ExportConfig{Format: audit.OCSF, Product: audit.OCSFProduct{Name: "shop"}})
	must(t, err)
	var classes []string
	for decoder := json.NewDecoder(&out); decoder.More(); {
		var event struct {
			Class    int `json:"class_uid"`
			Metadata struct {
				Product struct{ Name string }
			}
		}
		must(t, decoder.Decode(&event))
		classes = append(classes, fmt.Sprint(event.Class, " ", event.Metadata.Product.Name))
	}
	if want := []string{"3004 shop", "3002 shop"}; !slices.Equal(classes, want) {
		t.Errorf("the events are %v, want %v", classes, want)
	}
}

func TestExport_CSV(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hostile := `=HYPERLINK("http://x";"y");=1+1`
	must(t, b.as(audit.WithActor(b.hal, audit.Actor{ID: "@SUM(1)", Name: "'-1"})).Create(&Author{ID: 1, Email: "1", Name: hostile}).Error)
	var out bytes.Buffer
	_, err := audit.Export(b.hal, b.app, &out, audit.ExportConfig{Format: audit.CSV})
	must(t, err)
	text, marked := strings.CutPrefix(out.String(), "\uFEFF")
	lines, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	must(t, err)
	if len(lines) != 2 || !marked {
		t.Fatalf("the file is %q", out.String())
	}
	cells := map[string]string{}
	for i, name := range lines[0] {
		cells[name] = lines[1][i]
	}
	if cells["actor_id"] != "'@SUM(1)" || cells["actor_name"] != "''-1" || cells["action"] != "create" || cells["resource_id"] != "1" {
		t.Errorf("the cells are %q", cells)
	}
	var m audit.Metadata
	must(t, json.Unmarshal([]byte(cells["metadata"]), &m))
	var name string
	must(t, json.Unmarshal(m.Changes["name"].New, &name))
	if name != hostile || strings.Contains(cells["metadata"], ";=") || strings.Contains(cells["changes"], ";=") {
		t.Errorf("name is %q, the cells are %q", name, cells)
	}
}

func TestExport_Refuses(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "a.b")
	_, done := b.export(t, b.hal, audit.ExportConfig{})
	for name, tc := range map[string]struct {
		ctx    context.Context
		config audit.ExportConfig
		want   error
	}{
		"no tenant":      {context.Background(), audit.ExportConfig{}, tenancy.ErrNoTenant},
		"other tenant":   {b.hal, audit.ExportConfig{Filter: audit.Filter{TenantID: "acme"}}, tenancy.ErrCrossTenant},
		"position":       {b.hal, audit.ExportConfig{Resume: "x"}, audit.ErrCursor},
		"other's":        {b.acme, audit.ExportConfig{Resume: done.Position}, audit.ErrCursor},
		"other filter's": {b.hal, audit.ExportConfig{Resume: done.Position, Filter: audit.Filter{Action: "c"}}, audit.ErrCursor},
		"other format's": {b.hal, audit.ExportConfig{Resume: done.Position, Format: audit.CSV}, audit.ErrCursor},
		"dry run":        {b.hal, audit.ExportConfig{}, audit.ErrFilter},
		"format":         {b.hal, audit.ExportConfig{Format: "xml"}, nil},
	} {
		app := b.app.Session(&gorm.Session{DryRun: name == "dry run"})
		if _, err := audit.Export(tc.ctx, app, io.Discard, tc.config); err == nil || tc.want != nil && !errors.Is(err, tc.want) {
			t.Errorf("%s: %v, want %v", name, err, tc.want)
		}
	}
	if _, err := audit.List(b.hal, b.app, audit.Filter{OldestFirst: true}, done.Position); !errors.Is(err, audit.ErrCursor) {
		t.Errorf("a list goes on from an export's position: %v", err)
	}
	err := b.as(b.hal).Transaction(func(tx *gorm.DB) error {
		_, err := audit.Export(b.hal, tx, io.Discard, audit.ExportConfig{})
		return err
	})
	if err == nil {
		t.Error("an export in a transaction is not refused")
	}
}

// broken takes so many bytes.
type broken struct {
	bytes.Buffer
	left int
}

var errFull = errors.New("the disk is full")

func (w *broken) Write(p []byte) (int, error) {
	if len(p) > w.left {
		n, _ := w.Buffer.Write(p[:w.left])
		w.left = 0
		return n, errFull
	}
	w.left -= len(p)
	return w.Buffer.Write(p)
}

// TestExport_Resume cuts a file that could not be written to the end, and goes on.
func TestExport_Resume(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.Owner.Exec(`INSERT INTO audit_logs (tenant_id, action, resource_type, resource_id, created_at)
		SELECT 'hal', 'a.b', 'x', i::text, now() - interval '1 hour' + (i / 7) * interval '1 second' FROM generate_series(1, 2345) i`).Error)
	for _, format := range []audit.Format{audit.JSONL, audit.CSV} {
		var whole bytes.Buffer
		_, err := audit.Export(b.hal, b.app, &whole, audit.ExportConfig{Format: format})
		must(t, err)
		file, config := bytes.Buffer{}, audit.ExportConfig{Format: format}
		for limit := 2; ; limit = whole.Len()/2 + 100 { // at first not even the head
			w := &broken{left: limit}
			done, err := audit.Export(b.hal, b.app, w, config)
			file.Write(w.Bytes())
			file.Truncate(int(done.Bytes))
			if config.Resume = done.Position; err == nil {
				if done.Entries != 2345 {
					t.Errorf("%s: %d entries are reported in the end", format, done.Entries)
				}
				break
			}
			if !errors.Is(err, errFull) || (done.Bytes == 0) != (limit == 2) {
				t.Fatalf("%s: %v after %d bytes", format, err, done.Bytes)
			}
		}
		if !bytes.Equal(file.Bytes(), whole.Bytes()) {
			t.Errorf("%s: the resumed file has %d bytes and is another than the whole one of %d", format, file.Len(), whole.Len())
		}
	}
}

// half takes half of what it is given, and says no more of it than that.
type half struct{}

func (half) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestExport_ShortWrite(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "a.b")
	done, err := audit.Export(b.hal, b.app, half{}, audit.ExportConfig{})
	if !errors.Is(err, io.ErrShortWrite) || done.Bytes > 0 || done.Entries > 0 {
		t.Errorf("half of it written: %+v, %v", done, err)
	}
}

// TestExport_Progress is told of each page as it is written.
func TestExport_Progress(t *testing.T) {
	t.Parallel()
	b := setup(t)
	must(t, b.Owner.Exec(`INSERT INTO audit_logs (tenant_id, action, resource_type) SELECT 'hal', 'a.b', 'x' FROM generate_series(1, 1200) i`).Error)
	var out bytes.Buffer
	var told []audit.Exported
	done, err := audit.Export(b.hal, b.app, &out, audit.ExportConfig{ProgressFunc: func(p audit.Exported) error {
		if p.Bytes != int64(out.Len()) {
			t.Errorf("%d bytes are reported where %d are written", p.Bytes, out.Len())
		}
		told = append(told, p)
		return nil
	}})
	must(t, err)
	keeping := errors.New("the position could not be kept")
	stopped, err := audit.Export(b.hal, b.app, io.Discard, audit.ExportConfig{ProgressFunc: func(audit.Exported) error { return keeping }})
	if !errors.Is(err, keeping) || stopped.Entries > 500 {
		t.Errorf("where the progress is an error, %d entries are exported, %v", stopped.Entries, err)
	}
	if len(told) < 4 || told[len(told)-1] != done || done.Entries != 1200 {
		t.Errorf("told %d times, the last time %+v, the end is %+v", len(told), told[len(told)-1], done)
	}
}

// TestExport_Handles exports behind row-level security on each kind of handle, whose
// pool has no connection to spare.
func TestExport_Handles(t *testing.T) {
	t.Parallel()
	db, r := walls{all: true}.database(t, nil, nil)
	for name, dialector := range map[string]func(string) gorm.Dialector{"tenancy.Postgres": tenancy.Postgres, "postgres.Open": postgres.Open} {
		for _, prepared := range []bool{false, true} {
			app := db.Open(dialector(db.AppDSN), &gorm.Config{PrepareStmt: prepared})
			system := db.Open(dialector(db.SystemDSN), nil)
			use(t, app, tenancy.New(tenancy.Config{Rules: r, RowLevelSecurity: true, System: system}))
			use(t, app, audit.New(audit.Config{Rules: r}))
			for _, handle := range []*gorm.DB{app, system} {
				pool, err := handle.DB()
				must(t, err)
				pool.SetMaxOpenConns(1)
			}
			b := newBundle(t, db, app)
			b.note(t, b.hal, "a.b")
			for scope, ctx := range map[string]context.Context{"tenant": b.hal, "system": b.system} {
				if got, _ := b.export(t, ctx, audit.ExportConfig{}); len(got) == 0 {
					t.Errorf("%s, prepared %v, %s: nothing is exported", name, prepared, scope)
				}
			}
		}
	}
}

// TestExport_NewFile goes on in a file of its own.
func TestExport_NewFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.note(t, b.hal, "first.day")
	var first, second, nothing bytes.Buffer
	done, err := audit.Export(b.hal, b.app, &first, audit.ExportConfig{Format: audit.CSV})
	must(t, err)
	b.note(t, b.hal, "second.day")
	next := audit.ExportConfig{Format: audit.CSV, Resume: done.Position, NewFile: true}
	done, err = audit.Export(b.hal, b.app, &second, next)
	must(t, err)
	_, err = audit.Export(b.hal, b.app, &nothing, audit.ExportConfig{Format: audit.CSV, Resume: done.Position})
	must(t, err)
	head, _, _ := strings.Cut(first.String(), "\n")
	if !strings.HasPrefix(second.String(), head) || strings.Contains(second.String(), "first.day") || done.Entries != 1 || done.Bytes != int64(second.Len()) || nothing.Len() > 0 {
		t.Errorf("the second file is %q, %+v; then %q", second.String(), done, nothing.String())
	}
}
