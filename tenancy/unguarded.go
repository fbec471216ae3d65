//go:build courtroll_unguarded

package tenancy

import "os"

// Guards are the guards that this build, which no app is to use, can leave out:
// the one that the environment variable COURTROLL_REMOVED names.
var Guards = []string{"WHERE", "FROM", "SET", "VALUES", "ON CONFLICT", "stamp", "text"}

func removed(guard string) bool { return os.Getenv("COURTROLL_REMOVED") == guard }
