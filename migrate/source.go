package migrate

import (
	"cmp"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// folder is where the migrations are.
const folder = "sql"

//go:embed sql/*.sql
var embedded embed.FS

// source is one numbered migration as its two files hold it.
type source struct {
	Migration
	up, down string
	checksum string      // of up
	index    *indexBuild // not nil if the migration runs outside a transaction
}

// indexBuild is a migration that builds one index concurrently. Its statement
// is safe to repeat, for nothing else makes up for the missing transaction.
type indexBuild struct {
	index, table string
	unique       bool
	definition   string // from the columns' bracket on
}

// noTransaction is the first line of an index build.
const noTransaction = "-- courtroll: no transaction\n"

var (
	fileName = regexp.MustCompile(`^(\d{3})_([a-z][a-z0-9_]*)\.(up|down)\.sql$`)
	comment  = regexp.MustCompile(`(?m)^\s*--.*$`)
	build    = regexp.MustCompile(`^CREATE (UNIQUE )?INDEX CONCURRENTLY IF NOT EXISTS ([a-z0-9_]+)\s+ON ([a-z0-9_]+)\s+([^;]+);$`)
	drop     = regexp.MustCompile(`^DROP INDEX CONCURRENTLY IF EXISTS ([a-z0-9_]+);$`)
)

// loadSources reads every file of the folder sql as half of a migration and returns the
// migrations in order. They are numbered from 1 without a gap.
func loadSources(fsys fs.FS) ([]source, error) {
	entries, err := fs.ReadDir(fsys, folder)
	if err != nil {
		return nil, fmt.Errorf("migrate: reading migrations: %w", err)
	}
	byVersion := map[int]*source{}
	for _, entry := range entries {
		if err := loadFile(fsys, entry.Name(), byVersion); err != nil {
			return nil, fmt.Errorf("migrate: reading migration %s: %w", entry.Name(), err)
		}
	}
	return inOrder(byVersion)
}

func loadFile(fsys fs.FS, name string, byVersion map[int]*source) error {
	parts := fileName.FindStringSubmatch(name)
	if parts == nil {
		return fmt.Errorf("the name is not NNN_name.up.sql or NNN_name.down.sql")
	}
	text, err := readText(fsys, name)
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(parts[1])
	if err != nil {
		return err
	}
	s, ok := byVersion[version]
	if !ok {
		s = &source{Migration: Migration{Version: version, Name: parts[2]}}
		byVersion[version] = s
	}
	if s.Name != parts[2] {
		return fmt.Errorf("version %d is %s already", version, s.Name)
	}
	if parts[3] == "up" {
		s.up = text
	} else {
		s.down = text
	}
	return nil
}

// readText returns a file with line feeds as line ends: a checkout that writes
// carriage returns must not change a checksum.
func readText(fsys fs.FS, name string) (string, error) {
	raw, err := fs.ReadFile(fsys, path.Join(folder, name))
	if err != nil {
		return "", err
	}
	text := strings.ReplaceAll(string(raw), "\r\n", "\n")
	if statement(text) == "" {
		return "", fmt.Errorf("the file has no statement")
	}
	return text, nil
}

func inOrder(byVersion map[int]*source) ([]source, error) {
	list := make([]source, 0, len(byVersion))
	for _, s := range byVersion {
		if err := s.complete(); err != nil {
			return nil, fmt.Errorf("migrate: migration %03d_%s: %w", s.Version, s.Name, err)
		}
		list = append(list, *s)
	}
	slices.SortFunc(list, func(a, b source) int { return cmp.Compare(a.Version, b.Version) })
	for i, s := range list {
		if s.Version != i+1 {
			return nil, fmt.Errorf("migrate: migration %03d is missing before %03d_%s", i+1, s.Version, s.Name)
		}
	}
	return list, nil
}

// complete checks that both halves are there and fit each other, and fills
// what follows from them.
func (s *source) complete() error {
	if s.up == "" {
		return fmt.Errorf("the up half is missing")
	}
	if s.down == "" {
		return fmt.Errorf("the down half is missing")
	}
	sum := sha256.Sum256([]byte(s.up))
	s.checksum = hex.EncodeToString(sum[:])
	marked := strings.HasPrefix(s.up, noTransaction)
	if marked != strings.HasPrefix(s.down, noTransaction) {
		return fmt.Errorf("one half runs in a transaction, the other does not")
	}
	if marked {
		return s.parseIndexBuild()
	}
	return nil
}

// parseIndexBuild allows one concurrent, repeatable statement per half.
func (s *source) parseIndexBuild() error {
	up, down := build.FindStringSubmatch(statement(s.up)), drop.FindStringSubmatch(statement(s.down))
	if up == nil {
		return fmt.Errorf("outside a transaction the up half is CREATE INDEX CONCURRENTLY IF NOT EXISTS name ON table …; alone")
	}
	if down == nil || down[1] != up[2] {
		return fmt.Errorf("outside a transaction the down half is DROP INDEX CONCURRENTLY IF EXISTS %s; alone", up[2])
	}
	s.index = &indexBuild{unique: up[1] != "", index: up[2], table: up[3], definition: up[4]}
	return nil
}

// statement returns a file's text without its comment lines.
func statement(text string) string {
	return strings.TrimSpace(comment.ReplaceAllString(text, ""))
}
