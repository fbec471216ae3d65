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

// position is the place of an entry in the order of a reading. The zero one is
// before all entries.
type position struct {
	at time.Time
	id uuid.UUID
}

func positionOf(entry models.AuditLog) position { return position{entry.CreatedAt.UTC(), entry.ID} }

const (
	cursorVersion = 1
	positionSize  = 1 + 8 + 16
	tagSize       = 16
)

// seal makes a position a cursor of the reading: opaque, and of no use for
// another tenant, filter or purpose. Where [Config.CursorKey] is set nobody else can
// make one. Where it is not, whoever makes one reads on in what he may read anyhow:
// the tenant comes from the context alone.
func (r *reading) seal(purpose string, p position) string {
	raw := append(make([]byte, 0, positionSize+tagSize), cursorVersion)
	raw = binary.BigEndian.AppendUint64(raw, uint64(p.at.UnixMicro()))
	raw = append(raw, p.id[:]...)
	return base64.RawURLEncoding.EncodeToString(append(raw, r.tag(purpose, raw)...))
}

// open returns the position of a cursor, the zero one of an empty cursor.
func (r *reading) open(purpose, cursor string) (position, error) {
	if cursor == "" {
		return position{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) != positionSize+tagSize || raw[0] != cursorVersion {
		return position{}, ErrCursor
	}
	raw, tag := raw[:positionSize], raw[positionSize:]
	if !hmac.Equal(tag, r.tag(purpose, raw)) {
		return position{}, ErrCursor
	}
	at := time.UnixMicro(int64(binary.BigEndian.Uint64(raw[1:]))).UTC()
	return position{at, uuid.UUID(raw[9:])}, nil
}

// tag binds a position to what is read: all of the filter but its Limit, which may
// change from page to page.
func (r *reading) tag(purpose string, raw []byte) []byte {
	f, mac := r.filter, hmac.New(sha256.New, r.key)
	for _, part := range []string{
		"courtroll cursor", purpose, r.tenant, f.ActorID, f.Action, f.ResourceType, f.ResourceID, f.RequestID, f.ChangedField,
		moment(f.From), moment(f.To), strconv.FormatBool(f.WithoutTenant), strconv.FormatBool(f.OldestFirst), string(raw),
	} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return mac.Sum(nil)[:tagSize]
}

func moment(at time.Time) string {
	if at.IsZero() {
		return ""
	}
	return strconv.FormatInt(at.UnixMicro(), 10)
}
