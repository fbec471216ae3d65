package sqllex

import "sync"

// Cache keeps analysed statements by their text: an app sends the same few
// texts again and again. The zero value is ready. It is safe for concurrent
// use, and its statements are not to be changed but for their Conclusion.
type Cache struct {
	mu    sync.RWMutex
	texts map[string]*Statement
}

// What a cache holds at most. It is emptied when it is full: where texts vary
// without end, no choice of those to keep would help.
const (
	maxTexts = 500
	maxText  = 2048 // bytes
)

// Analyze is [Analyze] with the cache.
func (c *Cache) Analyze(text string) (*Statement, error) {
	if len(text) > maxText {
		return Analyze(text)
	}
	c.mu.RLock()
	s := c.texts[text]
	c.mu.RUnlock()
	if s != nil {
		return s, nil
	}
	s, err := Analyze(text)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.texts == nil || len(c.texts) >= maxTexts {
		c.texts = make(map[string]*Statement)
	}
	c.texts[text] = s
	return s, nil
}
