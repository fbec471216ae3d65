//go:build race

package replay

// defaultPrograms is less where the race detector slows each of them down.
const defaultPrograms = 60
