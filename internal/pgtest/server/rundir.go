package server

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	dirPrefix = "courtroll-pg-"
	newPrefix = "courtroll-new-" // not locked yet: sweepers do not look at it
	lockName  = "lock"
	dataName  = "data"
)

// runDir is the directory of one server. Its lock file is locked for as long as
// the process that made it lives: the kernel drops the lock with the process,
// however that ends, so a free lock means a leftover.
type runDir struct {
	path string
	lock *os.File
}

// newRunDir makes a directory that the account can reach. It is locked before it
// gets the name that sweepers look for, so that none takes it for a leftover.
func newRunDir(acct account) (*runDir, error) {
	base, err := reachableTempDir(acct)
	if err != nil {
		return nil, err
	}
	fresh, err := os.MkdirTemp(base, newPrefix)
	if err != nil {
		return nil, fmt.Errorf("making a directory: %w", err)
	}
	d, err := adoptDir(fresh)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("locking a directory: %w", err), os.RemoveAll(fresh))
	}
	return d, nil
}

func adoptDir(fresh string) (*runDir, error) {
	if err := os.Chmod(fresh, 0o711); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(fresh, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(filepath.Dir(fresh), dirPrefix+strings.TrimPrefix(filepath.Base(fresh), newPrefix))
	if err := errors.Join(lockFile(lock), os.Rename(fresh, path)); err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return &runDir{path: path, lock: lock}, nil
}

// name is unique among the servers of this machine.
func (d *runDir) name() string { return filepath.Base(d.path) }

func (d *runDir) join(name string) string { return filepath.Join(d.path, name) }

// remove deletes the directory while it is still locked, then lets go.
func (d *runDir) remove() error {
	return errors.Join(os.RemoveAll(d.path), d.lock.Close())
}

// tempDirs are the places where run directories are made and looked for.
func tempDirs() []string {
	dirs := []string{filepath.Clean(os.TempDir())}
	for _, dir := range []string{"/tmp", "/var/tmp"} {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

// reachableTempDir picks a place whose parents all let the account through; a
// private temporary directory of root's does not.
func reachableTempDir(acct account) (string, error) {
	for _, dir := range tempDirs() {
		if acct.canReach(dir) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no temporary directory that user %s can enter among %s", acct.name, strings.Join(tempDirs(), ", "))
}

func newPassword() string { return rand.Text() }
