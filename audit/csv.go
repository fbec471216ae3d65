package audit

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/courtroll/courtroll/models"
)

// csvColumns are what people read first, with all that the entry holds at the end.
var csvColumns = []string{
	"created_at", "tenant_id", "actor_id", "actor_name", "on_behalf_of", "action", "outcome", "resource_type", "resource_id",
	"changes", "ip_address", "request_id", "reason", "id", "metadata",
}

// byteOrderMark tells spreadsheets that the file is UTF-8.
const byteOrderMark = "\uFEFF"

const csvTime = "2006-01-02T15:04:05.000000Z07:00"

func csvHeader(w io.Writer) error {
	if _, err := io.WriteString(w, byteOrderMark); err != nil {
		return err
	}
	return writeCSV(w, csvColumns)
}

func csvLine(w io.Writer, entry models.AuditLog) error {
	m, err := ReadMetadata(entry)
	if err != nil { // another program's, and whole in the last cell
		m = Metadata{}
	}
	onBehalfOf := Person{}
	if m.OnBehalfOf != nil {
		onBehalfOf = *m.OnBehalfOf
	}
	var metadata bytes.Buffer
	if entry.Metadata != nil {
		if err := json.Compact(&metadata, *entry.Metadata); err != nil {
			return err
		}
	}
	cells := []string{
		entry.CreatedAt.UTC().Format(csvTime), text(entry.TenantID), text(entry.ActorID), m.ActorName, onBehalfOf.ID,
		entry.Action, string(m.Outcome), entry.ResourceType, text(entry.ResourceID), changesText(m.Changes),
		text(entry.IPAddress), m.RequestID, m.Reason, entry.ID.String(),
	}
	for i := range cells {
		cells[i] = safeCell(cells[i])
	}
	return writeCSV(w, append(cells, safeJSONCell(metadata.String())))
}

func writeCSV(w io.Writer, cells []string) error {
	lines := csv.NewWriter(w)
	lines.UseCRLF = true // RFC 4180
	if err := lines.Write(cells); err != nil {
		return err
	}
	lines.Flush()
	return lines.Error()
}

// changesText is the changes for a human: name: old -> new, in order of the names.
func changesText(changes map[string]Change) string {
	lines := make([]string, 0, len(changes))
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		lines = append(lines, fmt.Sprintf("%s: %s -> %s", name, changes[name].Old, changes[name].New))
	}
	return strings.Join(lines, "\n")
}

// A cell that begins with one of these is a formula to a spreadsheet, quoted or
// not (OWASP, CSV Injection). One that is set to other separators begins a cell
// behind each of those as well, for then the quotes do not hold.
var (
	formula      = regexp.MustCompile(`^[\s"']*[=+\-@＝＋－＠]|^[\t\r\n']`)
	innerFormula = regexp.MustCompile(`([` + separators + `][\s"']*)([=+\-@＝＋－＠])`)
)

const separators = ";|\t\r\n"

// safeCell keeps a spreadsheet from reading a text as a formula. Of a cell that
// begins with an apostrophe taking that one away gives the text back.
func safeCell(cell string) string {
	if strings.ContainsAny(cell, separators) {
		cell = innerFormula.ReplaceAllString(cell, `$1'$2`)
	}
	if formula.MatchString(cell) {
		return "'" + cell
	}
	return cell
}

// safeJSONCell does so for a JSON object, which stays the same to a reader of JSON:
// no separator stands outside of its strings.
func safeJSONCell(cell string) string {
	if !strings.ContainsAny(cell, separators) {
		return cell
	}
	return innerFormula.ReplaceAllStringFunc(cell, func(match string) string {
		sign := []rune(match)
		last := len(sign) - 1
		return string(sign[:last]) + fmt.Sprintf(`\u%04x`, sign[last])
	})
}

// jsonLine writes an entry as an object with the columns' names.
func jsonLine(w io.Writer, entry models.AuditLog) error {
	entry.CreatedAt = entry.CreatedAt.In(time.UTC)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(entry)
}
