package plan

import (
	"slices"
	"strings"
)

// This file finds out which services a step talks to, beside those that it
// names by an argument. A script can say so in three ways: by a reference to a
// service's address, by a service's name in a text, and by files that do either.

// talk is what is known of it at a point of a plan.
type talk struct {
	addresses map[Key]Key   // of value slots to services
	there     map[Key]bool  // services that steps so far have written
	gone      map[Key]bool  // those of them that were removed again
	files     map[Key]files // by files artifact
	carried   map[Key]files // by value and files artifact: all that its making knew, where that is known
	named     map[Key]bool  // services that any step of the plan writes or touches
	contacts  map[Key]contacts
}

// contacts are the services that a service talks to, as far as its config and the
// files that it mounts say so.
type contacts struct {
	refs  []Key // by reference
	words []Key // by name, once there is one of that name
	hosts []Key // those of words of which there is little doubt
}

// files is what is known of the content of a files artifact: what its maker
// read and said.
type files struct {
	reads []Key
	texts []string
}

func newTalk() *talk {
	return &talk{addresses: map[Key]Key{}, there: map[Key]bool{}, gone: map[Key]bool{}, files: map[Key]files{}, carried: map[Key]files{}, contacts: map[Key]contacts{}}
}

// services gives the services that a step talks to, at this point. For a service,
// one that is not there yet is none: whoever names it early must expect that. For
// a command it is: it may be there from an earlier run, or not, which makes a
// difference to what the command gives.
func (t *talk) services(e Effects) []Key {
	if e.Script {
		all := t.gather(e)
		e.Reads, e.Texts = all.reads, all.texts
	}
	return t.find(e, func(string, int, int) bool { return true })
}

// beyond gives the services that some services talk to, these to others, and so
// on: a command in an app, or a request to it, reaches the database behind it.
// sure leaves out those that may only be words.
func (t *talk) beyond(services []Key, sure bool) []Key {
	met := map[Key]bool{}
	for _, k := range services {
		met[k] = true
	}
	var found []Key
	meet := func(k Key) {
		if !met[k] && !(sure && t.gone[k]) {
			met[k] = true
			found = append(found, k)
		}
	}
	for next := slices.Clone(services); len(next) > 0; {
		before := len(found)
		for _, k := range next {
			c := t.contacts[k]
			for _, other := range c.refs {
				meet(other)
			}
			named := c.words
			if sure {
				named = c.hosts
			}
			for _, other := range named {
				if t.there[other] {
					meet(other)
				}
			}
		}
		next = found[before:]
	}
	return found
}

// stranger reports whether a step works on a service of which the plan does not
// say what it is.
func (t *talk) stranger(e Effects) bool {
	return slices.ContainsFunc(slices.Concat(e.Writes, e.Touches), func(k Key) bool {
		_, known := t.contacts[k]
		return isService(k) && !known
	})
}

// meet notes what the config of a service says of others.
func (t *talk) meet(service Key, e Effects) {
	var c contacts
	look := func(f files) {
		for _, k := range f.reads {
			if other, ok := t.addresses[k]; ok {
				c.refs = append(c.refs, other)
			}
		}
		for _, text := range f.texts {
			words(text, func(word string, from, to int) {
				c.words = append(c.words, ServiceKey(word))
				if isHost(text, from, to, true) {
					c.hosts = append(c.hosts, ServiceKey(word))
				}
			})
		}
	}
	look(files{e.Reads, e.Texts})
	for _, k := range e.Reads {
		look(t.files[k])
	}
	t.contacts[service] = contacts{distinct(c.refs), distinct(c.words), distinct(c.hosts)}
}

// sure gives those of services of which there is little doubt: the ones named
// by a reference, or where a text has the place of a host.
func (t *talk) sure(e Effects) []Key {
	found := t.find(e, func(text string, from, to int) bool { return isHost(text, from, to, !e.Acts) })
	return slices.DeleteFunc(found, func(k Key) bool { return t.gone[k] })
}

// find gives the services that a step that talks at all names, where a word of
// a text counts.
func (t *talk) find(e Effects, counts func(text string, from, to int) bool) []Key {
	if !e.Acts && !slices.ContainsFunc(e.Writes, live) {
		return nil // it only makes files that others may read
	}
	var found []Key
	look := func(f files) {
		for _, k := range f.reads {
			if service, ok := t.addresses[k]; ok {
				found = append(found, service)
			}
		}
		for _, text := range f.texts {
			words(text, func(word string, from, to int) {
				if k := ServiceKey(word); (t.there[k] || e.Acts && t.named[k]) && counts(text, from, to) {
					found = append(found, k)
				}
			})
		}
	}
	look(files{e.Reads, e.Texts})
	for _, k := range e.Reads {
		if f, ok := t.files[k]; ok {
			look(f)
		}
	}
	// A service that says its own name does not talk to another one.
	return distinct(slices.DeleteFunc(found, func(k Key) bool { return slices.Contains(e.Writes, k) }))
}

// unsure reports whether a script may use what nothing that is known of it tells:
// what it reads comes from elsewhere; or it names nothing and leaves nothing, so
// that it is there for something else, if only for the time that it takes.
func (t *talk) unsure(e Effects) bool {
	if !e.Script {
		return false
	}
	return !t.clear(e) || len(t.services(e)) == 0 && !slices.ContainsFunc(e.Writes, IsArtifact)
}

// clear reports whether it is known what all that a step reads may say.
func (t *talk) clear(e Effects) bool {
	return !slices.ContainsFunc(e.Reads, func(k Key) bool {
		if live(k) || strings.HasPrefix(string(k), "image/") {
			return false
		}
		_, address := t.addresses[k]
		_, carried := t.carried[k]
		return !address && !carried
	})
}

// gather gives what a step reads and says, with what all of that carries.
func (t *talk) gather(e Effects) files {
	all := files{slices.Clone(e.Reads), slices.Clone(e.Texts)}
	for _, k := range e.Reads {
		all.reads = append(all.reads, t.carried[k].reads...)
		all.texts = append(all.texts, t.carried[k].texts...)
	}
	slices.Sort(all.texts)
	return files{distinct(all.reads), slices.Compact(all.texts)}
}

// carry notes what is known of the values and files that a step makes.
func (t *talk) carry(e Effects) {
	known := !e.Unread && t.clear(e)
	for _, k := range e.Writes {
		if live(k) {
			continue
		}
		delete(t.carried, k)
		if _, address := e.Addresses[k]; known && !address {
			t.carried[k] = t.gather(e)
		}
	}
}

// note makes what a step does known to those after it. parts are the effects of
// its parts, where it has any.
func (t *talk) note(e Effects, parts ...Effects) {
	t.carry(e)
	for value, service := range e.Addresses {
		t.addresses[value] = service
		t.there[service] = true
	}
	for _, k := range e.Writes {
		switch {
		case isService(k):
			t.there[k], t.gone[k] = true, e.Leaves[k] == Gone
		case strings.HasPrefix(string(k), "artifact/"):
			t.files[k] = files{e.Reads, e.Texts}
		}
	}
	if len(parts) == 0 {
		parts = []Effects{e}
	}
	for _, part := range parts {
		for _, service := range part.Addresses {
			t.meet(service, part)
		}
	}
}

func distinct(keys []Key) []Key {
	slices.Sort(keys)
	return slices.Compact(keys)
}

// words calls found for each word of a text that could be a service's name,
// with its place.
func words(text string, found func(word string, from, to int)) {
	start := -1
	for i := 0; i <= len(text); i++ {
		if i < len(text) && isNameByte(text[i]) {
			if start < 0 {
				start = i
			}
			continue
		}
		if start >= 0 {
			found(text[start:i], start, i)
			start = -1
		}
	}
}

func isNameByte(c byte) bool {
	return c == '-' || c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// isHost reports whether a word of a text has the place of a host: after //, @
// or =, before a port, or, where that counts, as all of the text.
func isHost(text string, from, to int, alone bool) bool {
	before, after := text[:from], text[to:]
	switch {
	case alone && before == "" && after == "":
		return true
	case strings.HasSuffix(before, "//"), strings.HasSuffix(before, "@"), strings.HasSuffix(before, "="):
		return true
	}
	return len(after) > 1 && after[0] == ':' && after[1] >= '0' && after[1] <= '9'
}
