package walls

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// absent is the state of a book that is not there. Any other is its copies.
const absent = -1

// change is what a statement or transaction does to one book.
type change struct {
	title    string
	from, to int
}

// ledger is what a worker believes that its books are. Only the worker writes to
// them, so that it can be held against what the database says.
type ledger struct {
	settled map[string]int
	story   map[string][]string // what happened to each book, for whoever reads a failure
	open    [][]change          // nobody knows whether these were committed; each all or nothing
	refused int                 // how often the outcome was known to be nothing
	done    int                 // and how often everything
}

// outcome is what became of changes.
type outcome int

const (
	committed outcome = iota
	undone
	unknown
)

func (l *ledger) settle(o outcome, changes []change, how string) {
	for _, c := range changes {
		l.story[c.title] = append(l.story[c.title], fmt.Sprintf("%d to %d %s: %s", c.from, c.to, []string{"committed", "undone", "unknown"}[o], how))
	}
	switch o {
	case undone:
		l.refused++
		return
	case unknown:
		l.open = append(l.open, changes)
	case committed:
		l.done++
	}
	for _, c := range changes {
		if o == unknown || c.to == absent {
			delete(l.settled, c.title) // it is left alone from now on
		} else {
			l.settled[c.title] = c.to
		}
	}
}

// check holds books, by title, against the ledger and takes those out that it
// explains.
func (l *ledger) check(books map[string]Book) (faults []string) {
	for title, copies := range l.settled {
		if got, ok := books[title]; !ok || got.Copies != copies {
			faults = append(faults, fmt.Sprintf("%s: got %d copies (there: %t), want %d, after %q", title, got.Copies, ok, copies, l.story[title]))
		}
		delete(books, title)
	}
	for _, changes := range l.open {
		before, after := true, true
		for _, c := range changes {
			got := absent
			if book, ok := books[c.title]; ok {
				got = book.Copies
			}
			before, after = before && got == c.from, after && got == c.to
			delete(books, c.title)
		}
		if !before && !after {
			faults = append(faults, fmt.Sprintf("neither all nor nothing of %v", changes))
		}
	}
	return faults
}

// sure are the copies of those of the books that
// the ledger is sure of.
func (l *ledger) sure(books []Book) map[string]int {
	unsure := map[string]bool{}
	for _, changes := range l.open {
		for _, c := range changes {
			unsure[c.title] = true
		}
	}
	sure := map[string]int{}
	for _, book := range books {
		if !unsure[book.Title] {
			sure[book.Title] = book.Copies
		}
	}
	return sure
}

// pick returns up to n titles of settled books, in an order that depends on
// nothing else.
func (l *ledger) pick(n int, from int) []string {
	titles := slices.Sorted(maps.Keys(l.settled))
	if len(titles) == 0 {
		return nil
	}
	var picked []string
	for i := range min(n, len(titles)) {
		picked = append(picked, titles[(from+i)%len(titles)])
	}
	return picked
}

// byTitle reports foreign and double titles.
func byTitle(books []Book) (map[string]Book, []string) {
	var faults []string
	all := map[string]Book{}
	for _, book := range books {
		if strings.HasPrefix(book.Title, "hot") {
			continue
		}
		if tenant, _, _ := strings.Cut(book.Title, "-"); tenant != book.TenantID {
			faults = append(faults, fmt.Sprintf("%s is %s's", book.Title, book.TenantID))
		}
		if _, double := all[book.Title]; double {
			faults = append(faults, book.Title+" is there twice")
		}
		all[book.Title] = book
	}
	return all, faults
}
