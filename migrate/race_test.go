//go:build race

package migrate_test

// underRace is set where the race detector is on.
const underRace = true
