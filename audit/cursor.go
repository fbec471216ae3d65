package audit

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/courtroll/courtroll/models"
)

// position is the place of an entry in the order of a reading, or before all of them.
type position struct {
	at     time.Time
	id     uuid.UUID
	behind bool // an entry
}

func positionOf(entry models.AuditLog) position {
	return position{entry.CreatedAt.UTC(), entry.ID, true}
}

// mark is a position, and what an export had written when it came there.
type mark struct {
	position
	entries, bytes int64
}

const (
	atStart  = 1 // the first byte of a cursor: its version, and the kind of place
	atEntry  = 2
	markSize = 1 + 8 + 16 + 8 + 8
	tagSize  = 16
)

// seal makes a mark a cursor of the reading: opaque, and of no use for another
// tenant, filter or purpose. Where [Config.CursorKey] is set nobody else can make one.
// Where it is not, whoever makes one reads on in what he may read anyhow: the tenant
// comes from the context alone.
func (r *reading) seal(purpose string, m mark) string {
	kind := byte(atStart)
	if m.behind {
		kind = atEntry
	}
	raw := append(make([]byte, 0, markSize+tagSize), kind)
	raw = binary.BigEndian.AppendUint64(raw, uint64(m.at.UnixMicro()))
	raw = append(raw, m.id[:]...)
	raw = binary.BigEndian.AppendUint64(raw, uint64(m.entries))
	raw = binary.BigEndian.AppendUint64(raw, uint64(m.bytes))
	return base64.RawURLEncoding.EncodeToString(append(raw, r.tag(purpose, raw)...))
}

// open returns the mark of a cursor, the zero one of an empty cursor.
func (r *reading) open(purpose, cursor string) (m mark, err error) {
	if cursor == "" {
		return m, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != markSize+tagSize || raw[0] != atStart && raw[0] != atEntry || !hmac.Equal(raw[markSize:], r.tag(purpose, raw[:markSize])) {
		return m, ErrCursor
	}
	number := func(at int) int64 { return int64(binary.BigEndian.Uint64(raw[at:])) }
	return mark{position{time.UnixMicro(number(1)).UTC(), uuid.UUID(raw[9:25]), raw[0] == atEntry}, number(25), number(33)}, nil
}

// tag binds a position to what is read: all of the filter but its Limit and its
// times, which may go on from page to page. An export goes on from its beginning,
// or what came before the new one would be missing from the file.
func (r *reading) tag(purpose string, raw []byte) []byte {
	f, mac := r.filter, hmac.New(sha256.New, r.key)
	from := ""
	if purpose != listed && !f.From.IsZero() {
		from = strconv.FormatInt(f.From.UnixMicro(), 10)
	}
	for _, part := range []string{
		"courtroll cursor", purpose, r.tenant, f.ActorID, f.Action, string(f.Outcome), f.ResourceType, f.ResourceID, f.RequestID, f.ChangedField,
		from, strconv.FormatBool(f.WithoutTenant), strconv.FormatBool(f.OldestFirst), string(raw),
	} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)[:tagSize]
}
