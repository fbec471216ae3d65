//go:build ignore

// This program makes edits.json.gz out of the whole file of Wikipedia edits:
//
//	go run make.go wikiticker.json.gz > edits.json.gz
//
// It takes whole pages, so that each page of the sample has all its edits, and
// leaves lines and their order as they are. See README.md for the rule.
package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"hash/fnv"
	"io"
	"log"
	"os"
)

const (
	manyEdits = 5   // pages with as many edits are in
	oneIn     = 115 // of the other pages, this share is in
)

// page is the part of a line that says which page was edited.
type page struct{ Channel, Page string }

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run make.go wikiticker.json.gz > edits.json.gz")
	}
	lines, err := readLines(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	if err := write(os.Stdout, lines); err != nil {
		log.Fatal(err)
	}
}

func readLines(name string) ([][]byte, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := gzip.NewReader(bufio.NewReader(file))
	if err != nil {
		return nil, err
	}
	all, err := io.ReadAll(text)
	return bytes.SplitAfter(bytes.TrimSuffix(all, []byte("\n")), []byte("\n")), err
}

func write(w io.Writer, lines [][]byte) error {
	pages := make([]page, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal(line, &pages[i]); err != nil {
			return err
		}
	}
	chosen := choose(pages)
	packed, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	for i, line := range lines {
		if chosen[pages[i]] {
			_, writeErr := packed.Write(append(bytes.TrimSuffix(line, []byte("\n")), '\n'))
			err = errors.Join(err, writeErr)
		}
	}
	return errors.Join(err, packed.Close())
}

// choose returns the pages that are in the sample.
func choose(all []page) map[page]bool {
	edits, channels := map[page]int{}, map[string]map[string]bool{}
	chosen, seen := map[page]bool{}, map[string]bool{}
	for _, p := range all {
		edits[p]++
		if channels[p.Page] == nil {
			channels[p.Page] = map[string]bool{}
		}
		channels[p.Page][p.Channel] = true
		if !seen[p.Channel] { // every Wikipedia has a page
			seen[p.Channel], chosen[p] = true, true
		}
	}
	for p, n := range edits {
		if n >= manyEdits || len(channels[p.Page]) > 1 || hash(p)%oneIn == 0 {
			chosen[p] = true
		}
	}
	return chosen
}

func hash(p page) uint32 {
	h := fnv.New32a()
	h.Write([]byte(p.Channel + "\n" + p.Page))
	return h.Sum32()
}
