package migrate

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// VersionStatus is what is known of one version.
type VersionStatus struct {
	Version int
	Name    string
	// AppliedAt is when the version was recorded; zero if it is pending.
	AppliedAt time.Time
	// Pending versions are those that the next Up runs.
	Pending bool
	// ChecksumMismatch means that the recorded text is not this binary's: Up
	// refuses with [ErrChecksum].
	ChecksumMismatch bool
	// Unknown means that this binary does not carry the version: Up refuses
	// with [ErrUnknownVersion].
	Unknown bool
}

// Status lists this binary's versions and the recorded ones in order. It takes
// no lock and creates nothing, so it also answers before the first Up, where
// all are pending, and during one, where it shows what is committed.
func (m *Migrator) Status(ctx context.Context) ([]VersionStatus, error) {
	pool, err := m.pool()
	if err != nil {
		return nil, err
	}
	list, err := loadSources(m.files)
	if err != nil {
		return nil, err
	}
	records, err := readRecords(ctx, pool)
	if err != nil {
		return nil, err
	}
	return statusOf(list, records), nil
}

func statusOf(list []source, records map[int]record) []VersionStatus {
	status := make([]VersionStatus, 0, len(list))
	for _, s := range list {
		r, ok := records[s.Version]
		delete(records, s.Version)
		status = append(status, VersionStatus{
			Version: s.Version, Name: s.Name, AppliedAt: r.appliedAt,
			Pending: !ok, ChecksumMismatch: ok && r.checksum != s.checksum,
		})
	}
	for _, r := range records {
		status = append(status, VersionStatus{Version: r.Version, Name: r.Name, AppliedAt: r.appliedAt, Unknown: true})
	}
	slices.SortFunc(status, func(a, b VersionStatus) int { return cmp.Compare(a.Version, b.Version) })
	return status
}
