package audit

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/courtroll/courtroll/models"
)

// maxAction is what an action has at most, in bytes: it is a name, and part of indexes.
const maxAction = 200

// scopeOpen is the action of the record that a system scope leaves.
const scopeOpen = "system_scope.open"

// check finds what is wrong with an event, whatever events an app has.
func (e Event) check() error {
	if err := e.fault(); err != nil {
		return fmt.Errorf("%w: %w", ErrEvent, err)
	}
	return nil
}

func (e Event) fault() error {
	switch {
	case !isAction(e.Action):
		return errAction
	case e.Action == scopeOpen:
		return errOwnAction
	case isReserved(e.Action):
		return errReserved
	case orNil(e.ResourceType) == nil:
		return errNoResource
	case e.Outcome != "" && e.Outcome != Success && e.Outcome != Failure:
		return errOutcome
	case e.Version < 0:
		return errVersion
	}
	return nil
}

// isReserved reports whether none but package lifecycle records the action.
func isReserved(action any) bool {
	return action == models.DeleteBegunAction || action == models.DeleteAction
}

// isAction keeps events from looking like the changes of rows, whose actions are one word.
func isAction(action string) bool {
	parts := strings.Split(action, ".")
	return len(parts) > 1 && len(action) <= maxAction && !slices.ContainsFunc(parts, isNoWord)
}

func isNoWord(part string) bool {
	return part == "" || strings.ContainsFunc(part, func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '_' && r != '-'
	})
}
