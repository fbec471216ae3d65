package sqllex_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/courtroll/courtroll/internal/sqllex"
)

func TestCache(t *testing.T) {
	t.Parallel()
	var cache sqllex.Cache
	long := "SELECT " + strings.Repeat("1, ", 2000) + "1 FROM pages"
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 2000 { // more than it holds
				name := fmt.Sprintf("t%d", i%1500)
				texts := []string{"SELECT 1 FROM " + name}
				if i%500 == 0 {
					texts = append(texts, long)
				}
				for _, text := range texts {
					got, err := cache.Analyze(text)
					if err != nil || len(got.Refs) != 1 || text != long && got.Refs[0].Name != name {
						t.Errorf("%.20s: %+v, %v", text, got, err)
					}
				}
			}
		})
	}
	wg.Wait()
	first, _ := cache.Analyze("SELECT 1")
	if second, _ := cache.Analyze("SELECT 1"); first != second {
		t.Error("the same text was analysed twice")
	}
	if _, err := cache.Analyze("SELECT 'x"); err == nil {
		t.Error("no error")
	}
}
