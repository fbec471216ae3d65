package tests

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/courtroll/courtroll/audit"
)

// account has secrets at several depths, under names of Go and of JSON.
type account struct {
	Name         string
	Password     string
	Keys         []map[string]string `json:"keys"`
	Inner        *account            `json:"inner,omitempty"`
	SessionToken *string             `json:"session_token"`
}

func nested(levels int) json.RawMessage {
	return json.RawMessage(strings.Repeat(`{"a":[`, levels) + `1` + strings.Repeat(`]}`, levels))
}

func TestEventData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, tc := range map[string]struct {
		data map[string]any
		want string
	}{
		"nothing secret":  {map[string]any{"method": "sso", "n": 1, "big": 12345678901234567, "f": 0.1, "on": true, "none": nil}, `{"method":"sso","n":1,"big":12345678901234567,"f":0.1,"on":true,"none":null}`},
		"secret":          {map[string]any{"password": "p", "apiToken": 7, "X-Api-Key": "k", "API_TOKEN": "t", "card.pin": true}, `{"password":"[redacted]","apiToken":"[redacted]","X-Api-Key":"[redacted]","API_TOKEN":"[redacted]","card.pin":"[redacted]"}`},
		"no secret given": {map[string]any{"password": nil}, `{"password":null}`},
		"in a map":        {map[string]any{"a": map[string]any{"b": []any{map[string]string{"pwd": "p", "c": "d"}}}}, `{"a":{"b":[{"pwd":"[redacted]","c":"d"}]}}`},
		"all below":       {map[string]any{"credentials": map[string]any{"user": "u", "list": []int{1}}}, `{"credentials":"[redacted]"}`},
		"in a struct": {map[string]any{"account": account{Name: "n", Password: "p", Keys: []map[string]string{{"private_key": "k"}}, Inner: &account{Name: "i", Password: "q"}}},
			`{"account":{"Name":"n","Password":"[redacted]","keys":[{"private_key":"[redacted]"}],"session_token":null,"inner":{"Name":"i","Password":"[redacted]","keys":null,"session_token":null}}}`},
		"in JSON":            {map[string]any{"body": json.RawMessage(`{"user":"u","pass\u0077ord":"p","list":[{"otp":1}]}`)}, `{"body":{"user":"u","password":"[redacted]","list":[{"otp":"[redacted]"}]}}`},
		"twice in JSON":      {map[string]any{"body": json.RawMessage(`{"password":"p","password":"q"}`)}, `{"body":{"password":"[redacted]"}}`},
		"nul":                {map[string]any{"a\x00": "b\x00c", "j": json.RawMessage(`"d\u0000e"`)}, `{"a�":"b�c","j":"d�e"}`},
		"invalid":            {map[string]any{"a\xff": "b\xffc", "j": json.RawMessage("\"d\xffe\"")}, `{"a�":"b�c","j":"d�e"}`},
		"lone surrogates":    {map[string]any{"j": json.RawMessage(`{"a\udc00":"b\ud800c","pair":"\ud83d\ude00"}`)}, `{"j":{"a�":"b�c","pair":"😀"}}`},
		"names made equal":   {map[string]any{"a\x00": 1, "a\uFFFD": 2, "a\uFFFD#2": 3}, `{"a�":1,"a�#2":2,"a�#2#3":3}`},
		"long":               {map[string]any{"a": strings.Repeat("x", 20000), "b": strings.Repeat("y", 16384)}, `{"a":"` + strings.Repeat("x", 16384) + `...[cut from 20000 bytes]","b":"` + strings.Repeat("y", 16384) + `"}`},
		"long name":          {map[string]any{strings.Repeat("x", 2000): 1}, `{"` + strings.Repeat("x", 1024) + `...[cut from 2000 bytes]":1}`},
		"numbers":            {map[string]any{"j": json.RawMessage(`[1e400000,-1e-400000,1e99999999999999999999,1E+2,-0.5,` + strings.Repeat("1", 500) + `]`)}, `{"j":["1e400000","-1e-400000","1e99999999999999999999",1E+2,-0.5,"` + strings.Repeat("1", 500) + `"]}`},
		"deep":               {map[string]any{"j": nested(4000)}, `{"j":` + strings.Repeat(`{"a":[`, 31) + `{"a":"...[cut at depth 64]"}` + strings.Repeat(`]}`, 31) + `}`},
		"as deep as allowed": {map[string]any{"j": nested(31)}, `{"j":` + string(nested(31)) + `}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			must(t, audit.Record(b.hal, b.app, audit.Event{Action: "a.b", ResourceType: "c", ResourceID: name, Data: tc.data}))
			var stored string
			must(t, b.super.Raw("SELECT metadata->'data' FROM audit_logs WHERE resource_id = ?", name).Scan(&stored).Error)
			if got, want := canonical(t, stored), canonical(t, tc.want); got != want {
				t.Errorf("%s\nwant %s", got, want)
			}
		})
	}
}

// canonical writes equal JSON equally. go-cmp takes exponential time where it is deep.
func canonical(t *testing.T, text string) string {
	t.Helper()
	var value any
	must(t, json.Unmarshal([]byte(text), &value))
	out, err := json.Marshal(value)
	must(t, err)
	return string(out)
}

// TestEventData_Commits: there is no JSON that keeps an event from being recorded,
// and none that brings a secret into the trail.
func TestEventData_Commits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const secret = "hunter2"
	scalar := rapid.SampledFrom([]string{
		`null`, `true`, `0`, `-0`, `1e308`, `1e-500`, `9e999999`, `1.5E+70`, `""`, `"\u0000"`, `"\ud800"`, `"\udfff\ud800"`, "\"\xff\xc0\"", `"é\u2028"`, `"#2"`,
	})
	name := rapid.SampledFrom([]string{`"a"`, `"a\u0000"`, `"\ud800"`, `""`, "\"a\xff\"", `"a\ufffd"`, `"a\ufffd#2"`})
	secrets := rapid.SampledFrom([]string{`"password"`, `"\u0070assword"`, `"apiKey"`, `"api-key"`, `"TOKEN"`, `"refresh token"`, `"client.secret"`})
	var value func(rt *rapid.T, depth int) string
	value = func(rt *rapid.T, depth int) string {
		kind := 0
		if depth > 0 {
			kind = rapid.IntRange(0, 2).Draw(rt, "kind")
		}
		parts := make([]string, rapid.IntRange(0, 3).Draw(rt, "size"))
		switch kind {
		case 1:
			for i := range parts {
				parts[i] = value(rt, depth-1)
			}
			return "[" + strings.Join(parts, ",") + "]"
		case 2:
			for i := range parts {
				parts[i] = name.Draw(rt, "name") + ":" + value(rt, depth-1)
			}
			hidden := secrets.Draw(rt, "secret") + `:{"x":["` + secret + `"]}`
			return "{" + strings.Join(append([]string{hidden}, parts...), ",") + "}"
		}
		return scalar.Draw(rt, "scalar")
	}
	number := 0
	rapid.Check(t, func(rt *rapid.T) {
		data := value(rt, 4)
		number++
		id := fmt.Sprint(number)
		err := audit.Record(b.hal, b.app, audit.Event{Action: "a.b", ResourceType: "c", ResourceID: id, Data: map[string]any{"j": json.RawMessage(data)}})
		if err != nil {
			rt.Fatalf("%s: %v", data, err)
		}
		var stored string
		if err := b.super.Raw("SELECT metadata::text FROM audit_logs WHERE resource_id = ?", id).Scan(&stored).Error; err != nil || stored == "" {
			rt.Fatalf("%s: stored %q, %v", data, stored, err)
		}
		if strings.Contains(stored, secret) {
			rt.Fatalf("%s: the trail has the secret: %s", data, stored)
		}
	})
}

// TestEvent_UnsafeTexts: nor do the event's own texts.
func TestEvent_UnsafeTexts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	login := audit.Event{Action: "user.login", ResourceType: "users\xff", Outcome: audit.Failure}
	for _, id := range []string{"a\x00b", strings.Repeat("é", 4000)} {
		login.ResourceID = id
		must(t, audit.Record(b.hal, b.app, login))
	}
	entries := b.trail(t)
	if e := entries[0]; e.ResourceType != "users\uFFFD" || deref(e.ResourceID) != "a\uFFFDb" {
		t.Errorf("%s %s", e.ResourceType, deref(e.ResourceID))
	}
	if got, want := deref(entries[1].ResourceID), strings.Repeat("é", 512)+"...[cut from 8000 bytes]"; got != want {
		t.Errorf("resource %s", got)
	}
}
