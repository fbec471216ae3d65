package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/courtroll/courtroll/audit"
	"github.com/courtroll/courtroll/examples/quickstart/sample"
)

// edit is one line of the file.
type edit struct {
	number int // of its line, from 1

	Time      time.Time
	Channel   string // the Wikipedia, as "#en.wikipedia"
	Namespace string
	Page      string
	User      string
	Comment   string
	IsMinor   bool
	IsRobot   bool
	Delta     int64
}

func (e edit) tenant() string { return strings.TrimPrefix(e.Channel, "#") }

// slug returns "en" for "en.wikipedia".
func slug(tenant string) string { return strings.TrimSuffix(tenant, ".wikipedia") }

// actor returns who made the edit. Wikipedia names people without an account by
// their address, and lets no account have such a name. The file's own flag,
// isAnonymous, is not used: it is set for IPv4 alone.
func (e edit) actor() audit.Actor {
	if ip, err := netip.ParseAddr(e.User); err == nil {
		return audit.Actor{IP: ip}
	}
	if e.IsRobot {
		return audit.Actor{ID: e.User, Kind: audit.Service}
	}
	return audit.Actor{ID: e.User}
}

// setUp is the actor of what this program does on its own account.
var setUp = audit.Actor{ID: "quickstart", Kind: audit.System}

// tenants returns each tenant of the edits once, in the order in which they appear.
func tenants(edits []edit) []string {
	var ids []string
	seen := map[string]bool{}
	for _, e := range edits {
		if id := e.tenant(); !seen[id] {
			seen[id] = true
			ids = append(ids, id)
		}
	}
	return ids
}

// readEdits reads the file of that name, or the sample if the name is empty.
func readEdits(name string) ([]edit, error) {
	if name == "" {
		return parseEdits("the sample", bytes.NewReader(sample.Edits))
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return parseEdits(name, file)
}

func parseEdits(name string, file io.Reader) ([]edit, error) {
	text, err := unpacked(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	var edits []edit
	decoder := json.NewDecoder(text)
	for decoder.More() {
		e := edit{number: len(edits) + 1}
		err := decoder.Decode(&e)
		if err == nil {
			err = e.check()
		}
		if err != nil {
			return nil, fmt.Errorf("reading edit %d of %s: %w", e.number, name, err)
		}
		edits = append(edits, e)
	}
	// More is false at an error, too, and that error comes again.
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(edits) == 0 {
		return nil, fmt.Errorf("reading %s: it holds no edit", name)
	}
	return edits, nil
}

// unpacked goes by the content: a file may have any name.
func unpacked(file io.Reader) (io.Reader, error) {
	buffered := bufio.NewReader(file)
	if magic, _ := buffered.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return buffered, nil
	}
	return gzip.NewReader(buffered)
}

func (e edit) check() error {
	for _, field := range []struct{ name, value string }{{"channel", e.tenant()}, {"page", e.Page}, {"user", e.User}} {
		if strings.TrimSpace(field.value) == "" {
			return fmt.Errorf("%s is missing", field.name)
		}
	}
	if e.Time.IsZero() {
		return errors.New("time is missing")
	}
	return nil
}
