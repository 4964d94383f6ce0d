package main

import (
	"fmt"
	"regexp"
)

// renumbering gives ids and made-up names numbers, in the order in which they
// first appear in all texts that it is shown.
type renumbering struct {
	numbers map[string]string
	counts  [3]int
}

// The kinds of made-up text: ids of values, ids of tasks, names of artifacts.
var madeUp = regexp.MustCompile(`\b(UUID-\d+|[0-9a-f]{32})\b|\b(DASHED-UUID-\d+|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})\b|\b(mock-artifact-\d+)\b`)

var madeUpNames = [3]string{"UUID-%d", "DASHED-UUID-%d", "mock-artifact-%d"}

func (r *renumbering) text(text string) string {
	if r.numbers == nil {
		r.numbers = map[string]string{}
	}
	return madeUp.ReplaceAllStringFunc(text, func(found string) string {
		if r.numbers[found] == "" {
			m := madeUp.FindStringSubmatch(found)
			for kind := range madeUpNames {
				if m[kind+1] != "" {
					r.counts[kind]++
					r.numbers[found] = fmt.Sprintf(madeUpNames[kind], r.counts[kind])
				}
			}
		}
		return r.numbers[found]
	})
}
