// Export hands a tenant's trail of a month to an auditor: as CSV, JSONL and OCSF. The
// entries' time is the database's clock, so the month of the example is this one, up
// to now. One export is interrupted and resumed. Exit status 0 means that all held.
//
//	go run ./examples/export
//
// It uses the PostgreSQL server of DATABASE_URL, or else starts a private one.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/tenancy"
)

func main() { demo.Main("export", audit.Config{}, run, &demo.Page{}) }

const tenant, half, enough = "en.wikipedia", 400_000, 1 << 30 // bytes of a disk

func run(ctx context.Context, app *demo.App) (err error) {
	now := time.Now().UTC()
	from := time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)
	edits, err := app.LoadEdits(ctx, tenant, "de.wikipedia")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "export")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	ctx = audit.WithActor(tenancy.WithTenant(ctx, tenant), audit.Actor{ID: "auditor"})
	fmt.Fprintf(app.Out, "Month:    %s, up to now\n\n", from.Format("January 2006"))
	return deliver(ctx, app, dir, audit.Filter{From: from, To: from.AddDate(0, 1, 0)}, edits[tenant])
}

// deliver exports in each format, and once more with an interruption, and records it.
func deliver(ctx context.Context, app *demo.App, dir string, month audit.Filter, want int64) error {
	checks, sums := demo.Checks{Out: app.Out}, map[string]any{}
	for _, format := range []audit.Format{audit.CSV, audit.OCSF, audit.JSONL} {
		name := filepath.Join(dir, "trail."+string(format))
		done, err := export(ctx, app, name, enough, audit.ExportConfig{Filter: month, Format: format})
		sum, sumErr := demo.Look(app.Out, name)
		checks.That(done.Entries == want, "%s: all %d entries of %s before %s, %d bytes, sha256 %s",
			format, done.Entries, tenant, done.Until.Format(time.DateTime), done.Bytes, sum)
		if err := errors.Join(err, sumErr, checks.Err()); err != nil {
			return err
		}
		sums[string(format)] = sum
	}
	name := filepath.Join(dir, "resumed.jsonl")
	done, err := export(ctx, app, name, half, audit.ExportConfig{Filter: month})
	checks.That(errors.Is(err, demo.ErrDiskFull), "interrupted: %v at %d bytes, %d of them in whole lines", err, half, done.Bytes)
	_, err = export(ctx, app, name, enough, audit.ExportConfig{Filter: month})
	sum, sumErr := demo.Look(app.Out, name)
	checks.That(sum == sums["jsonl"], "resumed: the same bytes, sha256 %s", sum)
	if err := errors.Join(err, sumErr, checks.Err()); err != nil {
		return err
	}
	return errors.Join(audit.Record(ctx, app.DB, audit.Event{
		Action: "report.export", ResourceType: "audit_logs", ResourceID: month.From.Format("2006-01"), Data: sums,
	}), app.ShowEvents(ctx, "report.export"))
}

// export writes the month to a file, from where an earlier call was interrupted: how
// far it came lies beside the file, which is cut to that. Of a month that is not over,
// a later call appends the rest.
func export(ctx context.Context, app *demo.App, name string, disk int, config audit.ExportConfig) (done audit.Exported, err error) {
	var before audit.Exported
	text, err := os.ReadFile(name + ".position")
	if err == nil {
		err = json.Unmarshal(text, &before)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return before, err
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return before, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if err := file.Truncate(before.Bytes); err != nil {
		return before, err
	}
	config.Resume = before.Position
	config.ProgressFunc = func(now audit.Exported) error {
		fmt.Fprintf(app.Out, "      %s: %d entries, %d bytes\n", filepath.Base(name), now.Entries, now.Bytes)
		return errors.Join(file.Sync(), keep(name+".position", now))
	}
	return audit.Export(ctx, app.DB, &demo.Disk{Writer: file, Left: disk}, config)
}

// keep leaves either the old text or the new one, whatever it is interrupted by.
func keep(name string, done audit.Exported) error {
	text, err := json.Marshal(done)
	if err == nil {
		err = os.WriteFile(name+".new", text, 0o600)
	}
	if err != nil {
		return err
	}
	return os.Rename(name+".new", name)
}
