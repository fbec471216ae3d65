//go:build !race

package replay

const defaultPrograms = 200
