package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/internal/demo"
	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/migrate"
)

// examinePrivate examines a database of its own, on a private server if url is empty.
func (d *doctor) examinePrivate(ctx context.Context, url string) (left migrate.Findings, err error) {
	err = demo.Run(ctx, demo.Config{Name: "doctor", URL: url, Out: d.progress}, audit.Config{}, func(ctx context.Context, app *demo.App) (err error) {
		left, err = d.show(ctx, app)
		return err
	}, wiki.Models()...)
	return left, err
}

// injury is a guarantee that somebody breaks by hand.
type injury struct {
	code migrate.Code // as which it is found
	sql  string
}

var injuries = []injury{
	{migrate.CodeRLSNotForced, `ALTER TABLE pages NO FORCE ROW LEVEL SECURITY`},
	{migrate.CodePolicyAltered, `ALTER POLICY courtroll_floor ON revisions USING (true)`},
	{migrate.CodePolicyForeign, `CREATE POLICY backlog ON revisions USING (minor)`},
	{migrate.CodeTenantNull, `ALTER TABLE revisions ALTER COLUMN tenant_id DROP NOT NULL`},
	{migrate.CodeGrantExcess, `GRANT TRUNCATE ON pages TO PUBLIC`},
	{migrate.CodeViewDefiner, `CREATE VIEW latest AS SELECT title, edited_at FROM pages; GRANT SELECT ON latest TO PUBLIC`},
	{migrate.CodeTriggerDisabled, `ALTER TABLE audit_logs DISABLE TRIGGER courtroll_append_only`},
	{migrate.CodeNoModel, `CREATE TABLE drafts (tenant_id text, body text); GRANT SELECT ON drafts TO PUBLIC`},
}

// show breaks a sound database, prints what is found, and puts it right. It returns what
// is left.
func (d *doctor) show(ctx context.Context, app *demo.App) (migrate.Findings, error) {
	sound, err := d.examine(ctx, app.DB)
	if err != nil || len(sound.left) > 0 {
		return nil, errors.Join(err, sound.left.Err())
	}
	fmt.Fprintln(d.progress, "\nBroken by hand:")
	for _, i := range injuries {
		fmt.Fprintf(d.progress, "  %s;\n", i.sql)
		if err := app.AsOwner(ctx, i.sql); err != nil {
			return nil, err
		}
	}
	broken, err := d.examine(ctx, app.DB)
	if err != nil {
		return nil, err
	}
	for _, i := range injuries {
		if !slices.ContainsFunc(slices.Concat(broken.left, broken.accepted), func(f migrate.Finding) bool { return f.Code == i.code }) {
			return nil, fmt.Errorf("not found: %s after %s", i.code, i.sql)
		}
	}
	if err := d.print(d.out, broken); err != nil {
		return nil, err
	}
	fmt.Fprintln(d.progress, "\nRunning the fixes, as the owner of the tables")
	for _, f := range broken.left {
		if err := app.AsOwner(ctx, f.Fix); err != nil {
			return nil, fmt.Errorf("the fix of %s: %w", f, err)
		}
	}
	cured, err := d.examine(ctx, app.DB)
	return cured.left, err
}
