package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/courtroll/courtroll/migrate"
)

// newProgress draws a bar for each step, or, where there is no terminal, prints a
// line when it begins.
func newProgress(out io.Writer) func(migrate.Progress) {
	var step string
	var bar *progressbar.ProgressBar
	file, _ := out.(*os.File)
	return func(now migrate.Progress) {
		isNew := now.Step != step
		step = now.Step
		switch {
		case !isTerminal(file) && isNew:
			fmt.Fprintf(out, "  %s\n", step)
		case isTerminal(file) && isNew:
			bar = progressbar.NewOptions64(max(now.Total, 1), progressbar.OptionSetWriter(out), progressbar.OptionSetDescription(step),
				progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionSetWidth(30), progressbar.OptionOnCompletion(func() { fmt.Fprintln(out) }))
		}
		if bar != nil {
			_ = bar.Set64(min(now.Done, now.Total))
		}
	}
}

func isTerminal(file *os.File) bool {
	if file == nil {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
