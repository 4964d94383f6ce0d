package plan

import (
	"slices"
	"strings"
)

// This file defines future references: placeholder strings which a script gets
// at interpretation for values that only execution knows. They are ordinary
// strings to the script, which may join and format them.

// referencePattern matches one reference; its groups are the id and the field
// (starlark spec §1.11).
var referencePattern = lazily(`\{\{kurtosis:([0-9a-f]{32}):([a-zA-Z0-9-_.]+)\.runtime_value\}\}`)

// referenceMark begins every reference: a cheap test before the pattern.
const referenceMark = "{{kurtosis:"

// Reference gives the placeholder of a field of a value slot. The id is 32
// lower-case hex digits; a field with a character other than letters, digits
// and "-_." gives text that never matches as a reference.
func Reference(id, field string) string {
	return referenceMark + id + ":" + field + ".runtime_value}}"
}

// Ref is a reference found in text.
type Ref struct {
	ID    string
	Field string
}

// References lists the references in the texts, in order, without repeats.
func References(texts ...string) []Ref {
	var refs []Ref
	for _, text := range texts {
		if !strings.Contains(text, referenceMark) {
			continue
		}
		for _, m := range referencePattern().FindAllStringSubmatch(text, -1) {
			if r := (Ref{ID: m[1], Field: m[2]}); !slices.Contains(refs, r) {
				refs = append(refs, r)
			}
		}
	}
	return refs
}

// ReferenceKeys gives the value keys of the references in the texts: what a
// step that fills them in reads.
func ReferenceKeys(texts ...string) []Key {
	var keys []Key
	for _, r := range References(texts...) {
		keys = append(keys, ValueKey(r.ID))
	}
	return keys
}
