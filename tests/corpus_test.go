package tests

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gorm.io/gorm"
)

// rawStatement is a block of a file in testdata/raw. It begins with a line
// "-- # what it is for"; lines "-- ! key: value" may follow, then the text:
//
//	args    its arguments as JSON: a list for ?, an object for @name
//	in      the text is a fragment: the argument of this method, in a query on jobs
//	before  a statement without plugins that makes it run, in the same transaction
//	after   a statement that takes back what a rollback leaves
//	as      super: only a superuser may run it
//	by      the one way of GORM that PostgreSQL accepts it from
//	error   the sentinel that it is refused with, where it is another one than usual
//	broken  why PostgreSQL refuses it too
type rawStatement struct {
	name, text string
	keys       map[string]string
}

// rawCorpus reads a file of testdata/raw.
func rawCorpus(t *testing.T, file string) []rawStatement {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "raw", file))
	must(t, err)
	var corpus []rawStatement
	for _, block := range strings.Split("\n"+string(text), "\n-- # ")[1:] {
		name, rest, _ := strings.Cut(block, "\n")
		s := rawStatement{name: name, keys: map[string]string{}}
		for strings.HasPrefix(rest, "-- ! ") {
			var line string
			line, rest, _ = strings.Cut(rest, "\n")
			key, value, _ := strings.Cut(strings.TrimPrefix(line, "-- ! "), ": ")
			s.keys[key] = value
		}
		s.text = strings.TrimSpace(rest)
		corpus = append(corpus, s)
	}
	return corpus
}

func (s rawStatement) args(t *testing.T) []any {
	t.Helper()
	var list []any
	var named map[string]any
	switch text := s.keys["args"]; {
	case strings.HasPrefix(text, "["):
		must(t, json.Unmarshal([]byte(text), &list))
	case text != "":
		must(t, json.Unmarshal([]byte(text), &named))
		list = []any{named}
	}
	return list
}

// rawWays are the ways of GORM that send the statement and read all rows.
func (s rawStatement) rawWays(t *testing.T) map[string]func(db *gorm.DB) error {
	args := s.args(t)
	if s.keys["in"] != "" {
		return map[string]func(db *gorm.DB) error{"Scan": func(db *gorm.DB) error {
			return s.fragment(t, db, args).Scan(&[]map[string]any{}).Error
		}}
	}
	ways := map[string]func(db *gorm.DB) error{
		"Scan": func(db *gorm.DB) error { return db.Raw(s.text, args...).Scan(&[]map[string]any{}).Error },
		"Exec": func(db *gorm.DB) error { return db.Exec(s.text, args...).Error },
	}
	if only := s.keys["by"]; only != "" {
		return map[string]func(db *gorm.DB) error{only: ways[only]}
	}
	return ways
}

func (s rawStatement) fragment(t *testing.T, db *gorm.DB, args []any) *gorm.DB {
	t.Helper()
	jobs := db.Model(&Job{})
	switch s.keys["in"] {
	case "Select":
		return jobs.Select(s.text, args...)
	case "Where":
		return jobs.Where(s.text, args...)
	case "Or":
		return jobs.Where("id = 1").Or(s.text, args...)
	case "Not":
		return jobs.Not(s.text, args...)
	case "Joins":
		return jobs.Select("1").Joins(s.text, args...)
	case "Group":
		return jobs.Select("count(*)").Group(s.text)
	case "Having":
		return jobs.Select("queue").Group("queue").Having(s.text, args...)
	case "Order":
		return jobs.Order(s.text)
	case "Distinct":
		return jobs.Distinct(s.text)
	case "Table":
		return db.Table(s.text, args...)
	}
	t.Fatalf("%s: in which method?", s.name)
	return nil
}
