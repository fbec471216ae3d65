package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"

	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/courtroll/courtroll/models"
)

// readInput returns the edits that the arguments ask for, and whether the
// database is to be kept.
func readInput(args []string, out io.Writer) (edits []edit, keep bool, err error) {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(out)
	file := flags.String("edits", "", "replay the edits of this `file` (JSON lines, plain or gzip) instead of the sample")
	flags.BoolVar(&keep, "keep", false, "keep database and roles on the server of DATABASE_URL")
	if err := flags.Parse(args); err != nil {
		return nil, false, err
	}
	if flags.NArg() > 0 {
		return nil, false, fmt.Errorf("unexpected argument %q: a file of edits is given by -edits", flags.Arg(0))
	}
	edits, err = readEdits(*file)
	return edits, keep, err
}

// handles are the two ways to the database.
type handles struct {
	owner, app *gorm.DB
}

// config silences GORM's log: what fails is shown in its place.
func config() *gorm.Config {
	return &gorm.Config{TranslateError: true, Logger: logger.Discard}
}

// close ends all connections, so that the database can be dropped. A handle may
// be missing where it could not be opened.
func (h *handles) close() {
	for _, db := range []*gorm.DB{h.owner, h.app} {
		if db == nil {
			continue
		}
		if pool, err := db.DB(); err == nil {
			_ = pool.Close()
		}
	}
}

// grant gives the app's role what it needs, and no more.
func grant(ctx context.Context, owner *gorm.DB, role string) error {
	var errs []error
	for _, grant := range []string{
		"SELECT, INSERT, UPDATE, DELETE ON pages, revisions, " + models.TenantsTable,
		"SELECT, INSERT ON " + models.AuditLogsTable,
		"USAGE ON ALL SEQUENCES IN SCHEMA public",
	} {
		errs = append(errs, owner.WithContext(ctx).Exec("GRANT "+grant+" TO "+role).Error)
	}
	return errors.Join(errs...)
}
