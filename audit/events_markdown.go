package audit

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/google/jsonschema-go/jsonschema"
)

// markdown writes the page of types.
func markdown(types []*eventType) string {
	var page strings.Builder
	page.WriteString("# Audit events\n\n| event | version | resource | description |\n|---|---|---|---|\n")
	for _, t := range types {
		fmt.Fprintf(&page, "| [`%s`](#%s) | %d | %s | %s |\n", t.Action, anchor(t), t.Version, code(t.ResourceType), prose(t.Description))
	}
	for _, t := range types {
		writeSection(&page, t)
	}
	return page.String()
}

// anchor is of our own, for each program makes other ones of a heading.
func anchor(t *eventType) string { return fmt.Sprintf("%s-v%d", t.Action, t.Version) }

func writeSection(page *strings.Builder, t *eventType) {
	fmt.Fprintf(page, "\n<a id=\"%s\"></a>\n\n## `%s`, version %d\n\n", anchor(t), t.Action, t.Version)
	if t.Description != "" {
		fmt.Fprintf(page, "%s\n\n", prose(t.Description))
	}
	fmt.Fprintf(page, "Resource type: %s.\n\n", strings.ReplaceAll(code(t.ResourceType), `\|`, "|"))
	rows := fieldRows("", published(t.schema.Schema()))
	if len(rows) == 0 {
		page.WriteString("It has no data.\n")
		return
	}
	page.WriteString("| field | type | required | description |\n|---|---|---|---|\n" + strings.Join(rows, ""))
}

// fieldRows returns the rows of a schema's fields, and of those within them.
func fieldRows(path string, schema *jsonschema.Schema) (rows []string) {
	for _, name := range schema.PropertyOrder {
		field := schema.Properties[name]
		if field == nil {
			continue // not recorded
		}
		kind, required := describe(field), "no"
		if field.Extra[redactedKey] != nil {
			kind += "; redacted"
		}
		if slices.Contains(schema.Required, name) {
			required = "yes"
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s |\n", code(path+name), kind, required, prose(field.Description)))
		if field.Extra[redactedKey] == nil {
			rows = append(rows, fieldRows(path+name+".", field)...)
		}
	}
	if schema.Items != nil {
		rows = append(rows, fieldRows(strings.TrimSuffix(path, ".")+"[].", schema.Items)...)
	}
	if isMap(schema) {
		rows = append(rows, fieldRows(path+"*.", schema.AdditionalProperties)...)
	}
	return rows
}

// code keeps a text within its span, its line and its cell of a table.
func code(text string) string {
	return "`" + strings.NewReplacer("|", `\|`, "`", "'").Replace(line(text)) + "`"
}

// prose keeps a text from being Markdown, wherever it stands.
func prose(text string) string {
	var escaped strings.Builder
	runes := []rune(line(text) + " ")
	for i, r := range runes[:len(runes)-1] {
		if mayMark(runes[max(0, i-1)], r, runes[i+1]) {
			escaped.WriteByte('\\')
		}
		escaped.WriteRune(r)
	}
	return escaped.String()
}

// mayMark reports whether a sign of ASCII's may be Markdown: all may that are not
// known to be none where they stand, as in "log-in, or out".
func mayMark(before, r, after rune) bool {
	switch {
	case r > unicode.MaxASCII || !unicode.IsPunct(r) && !unicode.IsSymbol(r), strings.ContainsRune(`,;'"?`, r):
		return false
	case r == '-', r == '.' && after == ' ', r == ':' && after == ' ':
		return !unicode.IsLetter(before)
	}
	return true
}

// line joins the lines of a text: what stands first in one has a meaning.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }
