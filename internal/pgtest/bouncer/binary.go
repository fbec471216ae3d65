package bouncer

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// names are looked for in PATH, and where Debian puts the program, which is not
// in every user's PATH.
func names() []string { return []string{"pgbouncer", "/usr/sbin/pgbouncer"} }

var errNone = errors.New("bouncer: no pgbouncer in PATH: do\n\tapt-get install pgbouncer")

func find(names ...string) (string, error) {
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNone
}

// versionOf reads "PgBouncer 1.18.0".
func versionOf(ctx context.Context, binary string) (string, error) {
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	if err != nil {
		return "", fmt.Errorf("running %s --version: %w", binary, err)
	}
	fields := strings.Fields(string(out))
	if len(fields) < 2 {
		return "", fmt.Errorf("reading %s --version: %q", binary, out)
	}
	return fields[1], nil
}
