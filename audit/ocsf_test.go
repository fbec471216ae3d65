package audit_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/courtroll/courtroll/audit"
)

func TestOCSF(t *testing.T) {
	t.Parallel()
	schema := ocsfSchema(t)
	for name, e := range ocsfCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line, err := audit.OCSFLine(e, ocsfShop)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(decoded(t, line)); err != nil {
				t.Errorf("%s\n%v", line, err)
			}
			if bytes.ContainsAny(line, "\r\n") {
				t.Errorf("%q is not one line", line)
			}
			for _, loss := range lost(t, e, line) {
				t.Errorf("%s\nis without %s", line, loss)
			}
		})
	}
}

// TestOCSF_Lines shows the lines of the kinds of entries there are.
func TestOCSF_Lines(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"create", "update", "delete", "restore", "event", "failed login", "logon of a session", "nothing", "other types"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			line, err := audit.OCSFLine(ocsfCases[name], ocsfShop)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := json.Indent(&text, line, "", "  "); err != nil {
				t.Fatal(err)
			}
			compare(t, filepath.Join("testdata", "ocsf", strings.ReplaceAll(name, " ", "_")+".json"), text.String()+"\n")
		})
	}
}

func TestOCSF_Activities(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]string{
		"create": "Entity Management: Create", "update": "Entity Management: Update", "delete": "Entity Management: Delete",
		"soft_delete": "Entity Management: Delete", "restore": "Entity Management: Other",
		"invoice.read": "Entity Management: Read", "user.suspend": "Entity Management: Suspend", "invoice.approve": "Entity Management: Other",
		"user.login": "Authentication: Logon", "login": "Authentication: Logon", "a.b.log_in": "Authentication: Logon", "USER.SignIn": "Authentication: Logon",
		"user.sign-out": "Authentication: Logoff", "session.logoff": "Authentication: Logoff", "token.authenticate": "Authentication: Other",
		"login.create": "Entity Management: Create", "user.login_page": "Entity Management: Other", "": "Entity Management: Other", "user.": "Entity Management: Other",
	} {
		line, err := audit.OCSFLine(ocsfEntry(action, "user", ""), ocsfShop)
		if err != nil {
			t.Fatal(err)
		}
		if got := decoded(t, line)["type_name"]; got != want {
			t.Errorf("%q is %v, not %s", action, got, want)
		}
	}
}

func TestOCSF_Users(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"login": "u1 Ann", "failed login": "ann@example.org ", "login of another": "u2 ", "login by password": "u1 ",
		"login of nobody": " unknown", "login of something": "42 ", "logon of a session": "u1 Ann", "session of nobody": " unknown", "logout": "u1 ",
	} {
		line, err := audit.OCSFLine(ocsfCases[name], ocsfShop)
		if err != nil {
			t.Fatal(err)
		}
		var got struct{ User struct{ UID, Name string } }
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatal(err)
		}
		if got := got.User.UID + " " + got.User.Name; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestOCSF_Product(t *testing.T) {
	t.Parallel()
	for want, product := range map[string]audit.OCSFProduct{
		`{"name":"courtroll","vendor_name":"courtroll"}`:                  {},
		`{"name":"shop","vendor_name":"shop"}`:                            {Name: "shop"},
		`{"name":"shop","vendor_name":"Shop & Co","version":"2.1"}`:       ocsfShop,
		`{"name":"courtroll","vendor_name":"courtroll","version":"2\n1"}`: {Version: "2\n1"},
	} {
		line, err := audit.OCSFLine(ocsfEntry("user.login", "user", ""), product)
		if err != nil {
			t.Fatal(err)
		}
		if err := ocsfSchema(t).Validate(decoded(t, line)); err != nil {
			t.Error(err)
		}
		if !bytes.Contains(line, []byte(want)) {
			t.Errorf("%s\nis without %s", line, want)
		}
	}
}

// TestOCSF_Schema makes sure that the schema in testdata finds faults at all.
func TestOCSF_Schema(t *testing.T) {
	t.Parallel()
	schema := ocsfSchema(t)
	for fault, edit := range map[string]struct{ of, old, new string }{
		"an attribute that no class has":        {"update", `"time":`, `"foo": 1, "time":`},
		"another class's attribute":             {"failed login", `"time":`, `"comment": "c", "time":`},
		"an attribute that the object has not":  {"update", `"type_id":99`, `"type_id":99,"kind":"x"`},
		"one that metadata has not":             {"update", `"uid":"0198f`, `"id":"0198f`},
		"a required attribute is missing":       {"update", `"severity_id":1,`, ``},
		"no entity":                             {"update", `"entity":`, `"entity_result":`},
		"no user":                               {"login", `"user":{"uid":"u1","name":"Ann","type":"User","type_id":1},"service"`, `"service"`},
		"no service":                            {"login", `"service":{"name":"shop","version":"2.1"},`, ``},
		"an entity without name":                {"update", `"uid":"42",`, ``},
		"a user without name":                   {"update", `"uid":"u1","name":"Ann",`, ``},
		"a text for a number":                   {"update", `"status_id":1`, `"status_id":"1"`},
		"another enumeration's value":           {"update", `"severity_id":1`, `"severity_id":7`},
		"the type of another activity":          {"update", `"type_uid":300403`, `"type_uid":300404`},
		"the name of another activity":          {"update", `"activity_name":"Update"`, `"activity_name":"Delete"`},
		"another version":                       {"update", `"version":"1.7.0"`, `"version":"1.6.0"`},
		"an address that is none":               {"update", `"ip":"192.0.2.7"`, `"ip":"192.0.2.700"`},
		"a time that is no number":              {"update", `"time":`, `"time":"now","severity":"Informational","was":`},
		"data that is no object":                {"create", `"data":{`, `"data":[],"was":{`},
		"the class and the activity of another": {"failed login", `"class_uid":3002`, `"class_uid":3004`},
	} {
		line, err := audit.OCSFLine(ocsfCases[edit.of], ocsfShop)
		if err != nil {
			t.Fatal(err)
		}
		edited := strings.ReplaceAll(string(line), edit.old, edit.new)
		if edited == string(line) {
			t.Errorf("%s: %s\nis without %s", fault, line, edit.old)
		}
		if schema.Validate(decoded(t, []byte(edited))) == nil {
			t.Errorf("%s: no error", fault)
		}
	}
}

func ocsfSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	file, err := os.Open(filepath.Join("testdata", "ocsf", "ocsf-1.7.0.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource("ocsf.json", text); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("ocsf.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// decoded returns the object of a line with its numbers as they are written.
func decoded(t interface{ Fatal(args ...any) }, line []byte) (object map[string]any) {
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&object); err != nil {
		t.Fatal(err)
	}
	return object
}
