// Package sqllex reads PostgreSQL statements far enough to say which tables
// they name and where: a lexer and a scan of its tokens, no grammar. What it
// cannot read is an error, so that a caller that guards data can refuse.
//
// It assumes standard_conforming_strings = on, the server's default since 9.1.
package sqllex

import (
	"errors"
	"strings"
)

// Kind is the kind of a [Token].
type Kind uint8

const (
	// Word is an unquoted identifier or keyword; Text is folded to lower case.
	Word Kind = iota
	// Name is an identifier that is no keyword: a quoted one, of which Text is
	// without its quotes, or one after a dot.
	Name
	// Literal is a string, a number or a bit string; Text is empty.
	Literal
	// Param is a parameter; Text is its number, without the dollar sign.
	Param
	// Symbol is one character of punctuation or of an operator.
	Symbol
)

// Token is one lexical unit. Comments and white space yield none.
type Token struct {
	Kind  Kind
	Text  string
	Pos   int // byte offset of its first character
	Depth int // how many parentheses and brackets are open around it; one of these has the depth outside of it
}

// Is reports whether the token is the keyword word, in lower case.
func (t Token) Is(word string) bool { return t.Kind == Word && t.Text == word }

// IsSymbol reports whether the token is the character c.
func (t Token) IsSymbol(c byte) bool { return t.Kind == Symbol && t.Text[0] == c }

// IsName reports whether the token can name a table or a column.
func (t Token) IsName() bool { return t.Kind == Word || t.Kind == Name }

// Errors of [Scan] and [Analyze].
var (
	ErrUnterminated = errors.New("a quotation or a comment does not end")
	ErrUnbalanced   = errors.New("parentheses or brackets are unbalanced")
	ErrUnreadable   = errors.New("the text is written in a way that is not read here")
	ErrSeveral      = errors.New("the text is of several statements: send them one by one")
)

// Scan splits sql into tokens. Parentheses and brackets must be balanced.
func Scan(sql string) ([]Token, error) {
	s := scanner{sql: sql, tokens: make([]Token, 0, len(sql)/4+4)}
	if err := s.run(); err != nil {
		return nil, err
	}
	return s.tokens, nil
}

// Count returns how many tokens [Scan] would find, and its error.
func Count(sql string) (int, error) {
	s := scanner{sql: sql, counting: true}
	err := s.run()
	return s.count, err
}

type scanner struct {
	sql      string
	pos      int
	open     []byte // what closes the parentheses and brackets that are open
	tokens   []Token
	counting bool // tokens are counted, not kept
	count    int
	afterDot bool
}

func (s *scanner) run() error {
	for s.pos < len(s.sql) {
		if err := s.next(); err != nil {
			return err
		}
	}
	if len(s.open) != 0 {
		return ErrUnbalanced
	}
	return nil
}

func (s *scanner) next() error {
	c := s.sql[s.pos]
	switch {
	case isSpace(c):
		s.pos++
		return nil
	case s.at("--"):
		s.skipLine()
		return nil
	case s.at("/*"):
		return s.skipBlock()
	case c == '\'':
		return s.quoted('\'', Literal, false)
	case c == '"':
		return s.quoted('"', Name, false)
	case c == '$':
		return s.dollar()
	case isDigit(c):
		s.number()
		return nil
	case isWordStart(c):
		return s.word()
	default:
		return s.symbol()
	}
}

func (s *scanner) at(prefix string) bool { return strings.HasPrefix(s.sql[s.pos:], prefix) }

func (s *scanner) add(kind Kind, text string, start int) {
	if kind == Word && s.afterDot {
		kind = Name
	}
	s.afterDot = kind == Symbol && text == "."
	if s.counting {
		s.count++
		return
	}
	s.tokens = append(s.tokens, Token{Kind: kind, Text: text, Pos: start, Depth: len(s.open)})
}

func (s *scanner) skipLine() {
	if end := strings.IndexAny(s.sql[s.pos:], "\n\r"); end >= 0 {
		s.pos += end + 1
		return
	}
	s.pos = len(s.sql)
}

// skipBlock skips a block comment; PostgreSQL nests them.
func (s *scanner) skipBlock() error {
	level := 0
	for s.pos < len(s.sql) {
		switch {
		case s.at("/*"):
			level++
			s.pos += 2
		case s.at("*/"):
			level--
			s.pos += 2
		default:
			s.pos++
		}
		if level == 0 {
			return nil
		}
	}
	return ErrUnterminated
}

// quoted reads from an opening quote to its closing one; a doubled quote, and
// in an escape string a backslash, does not close it.
func (s *scanner) quoted(quote byte, kind Kind, escapes bool) error {
	start, doubled := s.pos, false
	for s.pos++; s.pos < len(s.sql); s.pos++ {
		switch c := s.sql[s.pos]; {
		case escapes && c == '\\':
			s.pos++
		case c != quote:
		case s.pos+1 < len(s.sql) && s.sql[s.pos+1] == quote:
			doubled = true
			s.pos++
		default:
			s.pos++
			s.add(kind, s.unquote(kind, start, doubled), start)
			if escapes && s.continued() {
				return ErrUnreadable
			}
			return nil
		}
	}
	return ErrUnterminated
}

// continued reports whether another quotation follows after nothing but white
// space and comments: after a newline it would go on with the first one, and an
// escape string would go on reading backslashes.
func (s *scanner) continued() bool {
	ahead := scanner{sql: s.sql, pos: s.pos}
	for ahead.pos < len(ahead.sql) {
		switch {
		case isSpace(ahead.sql[ahead.pos]):
			ahead.pos++
		case ahead.at("--"):
			ahead.skipLine()
		case ahead.at("/*"):
			if ahead.skipBlock() != nil {
				return true
			}
		default:
			return ahead.at("'")
		}
	}
	return false
}

func (s *scanner) unquote(kind Kind, start int, doubled bool) string {
	if kind != Name {
		return ""
	}
	name := s.sql[start+1 : s.pos-1]
	if doubled {
		name = strings.ReplaceAll(name, `""`, `"`)
	}
	return name
}

// dollar reads a parameter ($1) or a dollar-quoted string ($$…$$, $tag$…$tag$).
func (s *scanner) dollar() error {
	start, end := s.pos, s.pos+1
	for end < len(s.sql) && isDigit(s.sql[end]) {
		end++
	}
	if end > start+1 {
		s.pos = end
		s.add(Param, s.sql[start+1:end], start)
		return nil
	}
	for end < len(s.sql) && isWordPart(s.sql[end]) && s.sql[end] != '$' {
		end++
	}
	if end >= len(s.sql) || s.sql[end] != '$' {
		return ErrUnreadable
	}
	tag := s.sql[start : end+1]
	closing := strings.Index(s.sql[end+1:], tag)
	if closing < 0 {
		return ErrUnterminated
	}
	s.pos = end + 1 + closing + len(tag)
	s.add(Literal, "", start)
	return nil
}

func (s *scanner) number() {
	start := s.pos
	for s.pos < len(s.sql) && (isWordPart(s.sql[s.pos]) || s.sql[s.pos] == '.') {
		s.pos++
	}
	s.add(Literal, "", start)
}

func (s *scanner) word() error {
	start := s.pos
	for s.pos < len(s.sql) && isWordPart(s.sql[s.pos]) {
		s.pos++
	}
	text := fold(s.sql[start:s.pos])
	if s.pos < len(s.sql) {
		switch next := s.sql[s.pos]; {
		case next == '\'' && (text == "e" || text == "b" || text == "x" || text == "n"):
			return s.quoted('\'', Literal, text == "e")
		case text == "u" && s.at("&'"):
			s.pos++
			return s.quoted('\'', Literal, false) // no backslash hides a quote in it
		case text == "u" && s.at(`&"`):
			return ErrUnreadable // a Unicode escape can spell any name
		}
	}
	s.add(Word, text, start)
	return nil
}

func (s *scanner) symbol() error {
	c := s.sql[s.pos]
	if c == ')' || c == ']' {
		last := len(s.open) - 1
		if last < 0 || s.open[last] != c {
			return ErrUnbalanced
		}
		s.open = s.open[:last]
	}
	s.add(Symbol, s.sql[s.pos:s.pos+1], s.pos)
	switch c {
	case '(':
		s.open = append(s.open, ')')
	case '[':
		s.open = append(s.open, ']')
	}
	s.pos++
	return nil
}

// fold writes a name in lower case as the server does in UTF-8: no letters but ASCII's.
func fold(name string) string {
	return strings.Map(func(c rune) rune {
		if c >= 'A' && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, name)
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }
func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isWordStart(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
func isWordPart(c byte) bool { return isWordStart(c) || isDigit(c) || c == '$' }
