package demo

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
)

// ErrDiskFull is a [Disk] on which nothing more fits.
var ErrDiskFull = errors.New("the disk is full")

// Disk is a writer on which Left bytes fit. What does not fit is cut, in the middle
// of a line if need be, as a disk does it.
type Disk struct {
	io.Writer

	Left int
}

// Write implements io.Writer.
func (d *Disk) Write(p []byte) (int, error) {
	var full error
	if len(p) > d.Left {
		p, full = p[:d.Left], ErrDiskFull
	}
	n, err := d.Writer.Write(p)
	d.Left -= n
	return n, errors.Join(err, full)
}

const shownBytes = 160

// Look prints how a file begins, and returns its SHA-256.
func Look(out io.Writer, name string) (sum string, err error) {
	text, err := os.ReadFile(name)
	line, _, _ := bytes.Cut(bytes.TrimPrefix(text, []byte("\uFEFF")), []byte("\n"))
	if len(line) > shownBytes {
		line = append(bytes.ToValidUTF8(line[:shownBytes:shownBytes], nil), "…"...)
	}
	fmt.Fprintf(out, "      %s\n", line)
	hash := sha256.Sum256(text)
	return hex.EncodeToString(hash[:]), err
}
