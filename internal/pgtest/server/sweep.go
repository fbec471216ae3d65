package server

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sweepDirs stops the servers that killed processes of this user left running,
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
	if lockFile(lock) != nil || !stopLeftover(filepath.Join(path, dataName)) {
		return false
	}
	return os.RemoveAll(path) == nil
}

// stopLeftover ends the postmaster of a data directory, if one runs, and reports
// whether none is left.
func stopLeftover(data string) bool {
	pid, ok := postmasterPID(data)
	if !ok || !runsIn(pid, data) {
		return true
	}
	process, err := os.FindProcess(pid)
	if err != nil || interrupt(process) != nil {
		return !runsIn(pid, data)
	}
	for deadline := time.Now().Add(stopPatience); time.Now().Before(deadline); time.Sleep(pollInterval) {
		if !runsIn(pid, data) {
			return true
		}
	}
	return process.Kill() == nil
}

// postmasterPID reads the first line of postmaster.pid.
func postmasterPID(data string) (int, bool) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
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
