package server

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// usualPlaces are where packages put the server's binaries outside of PATH.
func usualPlaces() []string {
	return []string{
		"/usr/lib/postgresql/*/bin",
		"/usr/pgsql-*/bin",
		"/opt/homebrew/opt/postgresql@*/bin",
		"/usr/local/opt/postgresql@*/bin",
		"/Applications/Postgres.app/Contents/Versions/*/bin",
	}
}

// binaries is a directory that holds initdb and postgres of one version.
type binaries struct {
	dir     string
	version string
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// findBinaries looks in dir alone, or else in PATH and then in the usual places,
// where the highest version wins.
func findBinaries(ctx context.Context, dir string) (binaries, error) {
	if dir != "" {
		b, err := inspectDir(ctx, dir)
		if err != nil {
			return b, fmt.Errorf("looking for PostgreSQL in %s ($%s): %w", dir, binVariable, err)
		}
		return b, nil
	}
	b, inPath := firstUsable(ctx, pathDirs())
	if inPath == nil {
		return b, nil
	}
	b, elsewhere := firstUsable(ctx, installedDirs())
	if elsewhere == nil {
		return b, nil
	}
	return b, errors.Join(
		fmt.Errorf("no usable initdb and postgres in PATH, %s", strings.Join(usualPlaces(), ", ")),
		ignoreNone(inPath), ignoreNone(elsewhere))
}

var errNone = errors.New("none found")

func ignoreNone(err error) error {
	if errors.Is(err, errNone) {
		return nil
	}
	return err
}

func firstUsable(ctx context.Context, dirs []string) (binaries, error) {
	var errs []error
	for _, dir := range dirs {
		b, err := inspectDir(ctx, dir)
		if err == nil {
			return b, nil
		}
		errs = append(errs, fmt.Errorf("in %s: %w", dir, err))
	}
	if len(errs) == 0 {
		return binaries{}, errNone
	}
	return binaries{}, errors.Join(errs...)
}

// pathDirs follows links, because the binaries find their libraries and their
// SQL files relative to where they really are.
func pathDirs() []string {
	var dirs []string
	for _, name := range []string{"postgres", "initdb"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if real, err := filepath.EvalSymlinks(path); err == nil && !slices.Contains(dirs, filepath.Dir(real)) {
			dirs = append(dirs, filepath.Dir(real))
		}
	}
	return dirs
}

// installedDirs lists the usual places that exist, highest version first.
func installedDirs() []string {
	var dirs []string
	for _, pattern := range usualPlaces() {
		found, _ := filepath.Glob(pattern) // the patterns are constant and valid
		dirs = append(dirs, found...)
	}
	slices.SortStableFunc(dirs, func(a, b string) int { return majorInPath(b) - majorInPath(a) })
	return dirs
}

// majorInPath is the number in ".../15/bin", ".../pgsql-15/bin" or
// ".../postgresql@15/bin"; 0 where there is none.
func majorInPath(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	digits := name[strings.LastIndexAny(name, "-@")+1:]
	major, err := strconv.Atoi(digits)
	if err != nil {
		return 0
	}
	return major
}

func inspectDir(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		b.dir = real
	}
	if _, err := exec.LookPath(b.initdb()); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.postgres(), "--version").Output()
	if err != nil {
		return b, fmt.Errorf("running postgres --version: %w", err)
	}
	fields := strings.Fields(string(out)) // postgres (PostgreSQL) 15.18 (Debian …)
	if len(fields) < 3 {
		return b, fmt.Errorf("reading postgres --version: %q", out)
	}
	b.version = fields[2]
	return b, checkVersion(b.version)
}
