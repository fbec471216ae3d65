package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/courtroll/courtroll/audit"
)

// ErrFell is an example of which something did not hold.
var ErrFell = errors.New("something did not hold")

// Main is [Run] on the server of DATABASE_URL, or on a private one. It ends the
// program, with exit status 0 if all held.
func Main(name string, trail audit.Config, example func(context.Context, *App) error, tables ...any) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Run(ctx, Config{Name: name, URL: os.Getenv(urlVariable), Out: os.Stdout}, trail, example, tables...)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
}

// Checks prints what should hold and whether it does.
type Checks struct {
	Out  io.Writer
	fell bool
}

// That prints one check.
func (c *Checks) That(held bool, format string, args ...any) {
	c.fell = c.fell || !held
	fmt.Fprintf(c.Out, "%s  %s\n", map[bool]string{true: "held", false: "FELL"}[held], fmt.Sprintf(format, args...))
}

// Err is [ErrFell] if one did not hold.
func (c *Checks) Err() error {
	if c.fell {
		return ErrFell
	}
	return nil
}
