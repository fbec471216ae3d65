package lifecycle_test

import (
	"encoding/json"

	"github.com/courtroll/courtroll/models"
)

// entryData reads an entry's data.
func entryData(entry models.AuditLog, into any) error {
	var metadata struct{ Data json.RawMessage }
	if err := json.Unmarshal(*entry.Metadata, &metadata); err != nil {
		return err
	}
	return json.Unmarshal(metadata.Data, into)
}
