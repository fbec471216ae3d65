package main

import (
	"context"
	"fmt"
	"strings"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/migrate"
	"github.com/courtroll/courtroll/tenancy"
)

// result is one examination.
type result struct {
	left, accepted migrate.Findings
	stale          migrate.Baseline
	baseline       migrate.Baseline // says why what is accepted is
	at             string           // the file at which results are shown, empty for none
}

func (d *doctor) examine(ctx context.Context, app *gorm.DB) (result, error) {
	found, err := migrate.Doctor(ctx, app, d.models...)
	if err != nil {
		return result{}, err
	}
	r := result{baseline: d.baseline, at: d.at}
	r.left, r.accepted, r.stale = d.baseline.Apply(found)
	fmt.Fprintf(d.progress, "Found:    %d, accepted: %d\n", len(found), len(r.accepted))
	for _, entry := range r.stale {
		fmt.Fprintf(d.progress, "  stale, for it is not found any more: %s\n", printable(entry.String()))
	}
	return r, nil
}

// examineNamed examines the database that somebody named.
func (d *doctor) examineNamed(ctx context.Context) (migrate.Findings, error) {
	app, err := gorm.Open(tenancy.Postgres(d.dsn), &gorm.Config{Logger: logger.Discard})
	if err != nil {
		return nil, err
	}
	pool, err := app.DB()
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	if d.models != nil {
		names := make([]string, len(d.models))
		for i, model := range d.models {
			names[i] = strings.TrimPrefix(fmt.Sprintf("%T", model), "*")
		}
		fmt.Fprintf(d.progress, "Models:   %s: if they are not this database's, put its own in their place, or take -all\n", strings.Join(names, ", "))
	}
	r, err := d.examine(ctx, app)
	if err != nil {
		return nil, err
	}
	return r.left, d.print(d.out, r)
}
