//go:build race

package tests

// underRace is set where the race detector is on.
const underRace = true
