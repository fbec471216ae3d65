package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sweepDirs stops the daemons that killed processes of this user left running,
// and removes their directories. Failures are left to the next sweep.
func sweepDirs(logFunc func(string, ...any)) {
	for _, temp := range tempDirs() {
		found, _ := filepath.Glob(filepath.Join(escapeGlob(temp), dirPrefix+"*"))
		for _, path := range found {
			if sweepDir(path) {
				logFunc("removed %s, left by a run that was killed", path)
			}
		}
	}
}

// sweepDir holds the directory's lock from the test to the removal, so of two
// sweepers one acts, and an owner that lives keeps both away.
func sweepDir(path string) bool {
	if !isMine(path) {
		return false
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer lock.Close()
	if lockFile(lock) != nil || !stopLeftovers(path) {
		return false
	}
	return os.RemoveAll(path) == nil
}

// stopLeftovers ends what a killed process ran in its directory: a postmaster,
// which notes its number itself and has children to end, or another daemon. It
// reports whether nothing is left.
func stopLeftovers(path string) bool {
	data := filepath.Join(path, dataName)
	return stopLeftover(filepath.Join(data, "postmaster.pid"), data, interrupt) &&
		stopLeftover(filepath.Join(path, pidName), path, (*os.Process).Kill)
}

// stopLeftover ends the process whose number is in a file, if it is one that has
// the directory in its arguments.
func stopLeftover(pidFile, dir string, ask func(*os.Process) error) bool {
	pid, ok := readPID(pidFile)
	if !ok || !runsIn(pid, dir) {
		return true
	}
	process, err := os.FindProcess(pid)
	if err != nil || ask(process) != nil {
		return !runsIn(pid, dir)
	}
	for deadline := time.Now().Add(stopPatience); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if !runsIn(pid, dir) {
			return true
		}
	}
	return process.Kill() == nil
}

// readPID reads a file's first line.
func readPID(path string) (int, bool) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	return pid, err == nil && pid > 1
}

// escapeGlob keeps a directory's name from being read as a pattern.
func escapeGlob(dir string) string {
	return strings.NewReplacer(`[`, `\[`, `*`, `\*`, `?`, `\?`).Replace(dir)
}
