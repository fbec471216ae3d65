// Doctor examines a database with migrate.Doctor and prints what undermines its
// guarantees, each finding with the SQL that ends it.
//
//	go run ./examples/doctor [-format table|json|sarif] [-baseline FILE] [-dsn DSN [-all]] [-at FILE]
//
// With -dsn, or else with DATABASE_URL, it examines that database, as that login, which
// should be the app's. It makes and changes nothing there: all is one read-only
// transaction. The models are the quickstart's. Put yours in their place, or take -all.
// A copy of it leaves out show.go, and has an error where that is called.
//
// Without either it makes a private database, as the quickstart's is, shows that nothing
// is found, breaks some guarantees by hand, prints what is found, runs the fixes, and
// shows that nothing is left.
//
// The result goes to the standard output, what it does meanwhile to the standard error.
// The exit status is 1 if an error remains that the baseline does not accept, 2 if it
// could not look, and else 0. (go run makes 1 of each: build it for a script.)
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/courtroll/courtroll/examples/quickstart/wiki"
	"github.com/courtroll/courtroll/migrate"
)

const (
	exitUndermined = 1
	exitBlind      = 2
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	status := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(status)
}

func run(ctx context.Context, args []string, getenv func(string) string, out, progress io.Writer) (status int) {
	d := &doctor{out: out, progress: progress}
	err := d.configure(args, getenv)
	var left migrate.Findings
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err == nil && d.dsn != "":
		left, err = d.examineNamed(ctx)
	case err == nil:
		left, err = d.examinePrivate(ctx, "")
	}
	switch {
	case err != nil:
		fmt.Fprintln(progress, "doctor:", err)
		return exitBlind
	case left.Err() != nil:
		return exitUndermined
	}
	return 0
}

// doctor is what the arguments ask for.
type doctor struct {
	out, progress io.Writer
	print         func(io.Writer, result) error
	baseline      migrate.Baseline
	dsn, at       string
	models        []any
}

func (d *doctor) configure(args []string, getenv func(string) string) error {
	flags := flag.NewFlagSet("doctor", flag.ContinueOnError)
	flags.SetOutput(d.progress)
	format := flags.String("format", "table", "`table`, json or sarif")
	name := flags.String("baseline", "", "accept the findings of this `file`: JSON, [{\"code\", \"object\", \"reason\"}, …]")
	flags.StringVar(&d.dsn, "dsn", getenv("DATABASE_URL"), "the database and login to examine, instead of DATABASE_URL's (a password is better there)")
	flags.StringVar(&d.at, "at", "", "the `file` of the repository at which SARIF's results are shown, for those who need one, as GitHub does")
	all := flags.Bool("all", false, "take every table with the tenant column for one of the app's, instead of the quickstart's models")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if d.print = formats[*format]; d.print == nil {
		return fmt.Errorf("unknown format %q: table, json or sarif", *format)
	}
	if d.models = wiki.Models(); *all {
		d.models = nil
	}
	if *name == "" {
		return nil
	}
	file, err := os.Open(*name)
	if err != nil {
		return err
	}
	defer file.Close()
	d.baseline, err = migrate.ReadBaseline(file)
	return err
}
