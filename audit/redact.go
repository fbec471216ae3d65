package audit

import (
	"crypto/sha256"
	"errors"
	"slices"

	"github.com/courtroll/courtroll/internal/plan"
)

// minKey is the least length of [Config.HashKey] in bytes: that of the hash, as
// RFC 2104 has it.
const minKey = sha256.Size

var errNoHashKey = errors.New(`a column is tagged audit:"hash", and Config.HashKey is empty`)

// checkKey returns an error where values are to be hashed, and there is no key.
func (p *Plugin) checkKey(s source) error {
	if len(p.config.HashKey) > 0 || s.table == nil {
		return nil
	}
	if slices.ContainsFunc(s.table.Columns, func(c plan.Column) bool { return c.Treatment == plan.Hash }) {
		return errNoHashKey
	}
	return nil
}

// padded returns the two keys with which HMAC-SHA256 hashes (RFC 2104), so that
// SQL, which can do no more than hash, makes the same of them.
func padded(key []byte) (inner, outer []byte) {
	if len(key) > sha256.BlockSize {
		sum := sha256.Sum256(key)
		key = sum[:]
	}
	inner, outer = make([]byte, sha256.BlockSize), make([]byte, sha256.BlockSize)
	copy(inner, key)
	copy(outer, key)
	for i := range sha256.BlockSize {
		inner[i] ^= 0x36
		outer[i] ^= 0x5c
	}
	return inner, outer
}
