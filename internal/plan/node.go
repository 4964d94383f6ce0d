package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strings"
)

// This file takes a plan apart into what can be done, or left as it is, by itself.

// A Sayer is a step of which something else than the arguments of its call says
// what it does: a config that other calls have changed, the content of files.
type Sayer interface{ Says() map[string]string }

// A Composite is a step of parts that can be done apart: add_services.
type Composite interface{ Parts() []Part }

// A Part is one part of a Composite.
type Part struct {
	Key     Key // what it makes; unique among the parts
	Effects Effects
	Says    map[string]string
}

// A Forcer is a step that may ask to be done again although nothing has changed.
type Forcer interface{ Forced() bool }

// A Node is a step or, of a Composite, a part of one.
type Node struct {
	Step    int
	Part    Key // empty: all of the step
	ID      string
	About   string // what it does to what
	Effects Effects
	Says    map[string]string // texts, with references; by name
	Forced  bool

	talks []Key // services that it talks to, as far as there is little doubt
}

// Nodes takes the steps of a plan apart.
func Nodes(steps []Step) []Node {
	var nodes []Node
	for i, step := range steps {
		forced, _ := step.(Forcer)
		node := Node{Step: i, ID: string(step.Call().ID), Forced: forced != nil && forced.Forced()}
		if composite, ok := step.(Composite); ok {
			for _, part := range composite.Parts() {
				node.Part, node.Effects, node.Says = part.Key, part.Effects, part.Says
				node.ID, node.About = string(step.Call().ID)+" "+string(part.Key), "make "+string(part.Key)
				nodes = append(nodes, node)
			}
			continue
		}
		node.Effects, node.Says = step.Effects(), saysOf(step)
		node.About = about(step, node.Effects)
		nodes = append(nodes, node)
	}
	talk := newTalk()
	for i := range nodes {
		n := &nodes[i]
		n.talks = talk.sure(n.Effects)
		if n.Effects.Acts {
			n.talks = append(n.talks, talk.beyond(distinct(append(n.works(), n.talks...)), true)...)
		}
		talk.note(nodes[i].Effects)
	}
	return nodes
}

// saysOf gives what a step says: its arguments but for the description.
func saysOf(step Step) map[string]string {
	if s, ok := step.(Sayer); ok {
		return s.Says()
	}
	says := map[string]string{}
	for _, arg := range step.Call().Args {
		if arg.Name != "description" {
			says[arg.Name] = arg.Text
		}
	}
	return says
}

// about names what a step does to what. Additions have the same words whether
// they are parts of a step or not.
func about(step Step, e Effects) string {
	for _, service := range e.Addresses {
		if len(e.Addresses) == 1 && slices.Contains(e.Writes, service) {
			return "make " + string(service)
		}
	}
	words := []string{step.Call().Name}
	for _, k := range slices.Concat(e.Touches, e.Writes) {
		if !strings.HasPrefix(string(k), "value/") {
			words = append(words, string(k))
		}
	}
	return strings.Join(words, " ")
}

// creates gives the service that a node makes anew, if it makes one.
func (n *Node) creates() (Key, bool) {
	for _, service := range n.Effects.Addresses {
		if slices.Contains(n.Effects.Writes, service) {
			return service, true
		}
	}
	return "", false
}

// works lists the services that a node works on: reads, touches or changes, but
// does not make.
func (n *Node) works() []Key {
	made, _ := n.creates()
	var out []Key
	for _, k := range slices.Concat(n.Effects.Reads, n.Effects.Touches, n.Effects.Writes) {
		if isService(k) && k != made && !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

// changes reports whether a node leaves something behind in a resource.
func (n *Node) changes(k Key) bool { return slices.Contains(n.Effects.Writes, k) }

// Uses lists what decides, beside what it says, what a node does.
func (n *Node) Uses() []Key {
	uses := slices.Concat(n.works(), n.talks)
	for _, k := range n.Effects.Reads {
		if k != World {
			uses = append(uses, k)
		}
	}
	return distinct(uses)
}

// Values lists the ids of the value slots that a node fills, in order; those of
// services are known by the service.
func (n *Node) Values() []string {
	var ids []string
	for _, k := range n.Effects.Writes {
		if _, address := n.Effects.Addresses[k]; address {
			continue
		}
		if id, ok := strings.CutPrefix(string(k), "value/"); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

// Said gives the digests of what a node says, without the ids of values, and
// those ids apart: a value may be the same under another id.
func (n *Node) Said(salt string) (said map[string]string, refs []string) {
	said = make(map[string]string, len(n.Says))
	for _, name := range slices.Sorted(maps.Keys(n.Says)) {
		text := n.Says[name]
		if strings.Contains(text, referenceMark) {
			for _, m := range referencePattern().FindAllStringSubmatch(text, -1) {
				refs = append(refs, m[1])
			}
			text = referencePattern().ReplaceAllString(text, referenceMark+":$2}}")
		}
		said[name] = Digest(salt, text)
	}
	return said, refs
}

// Filled gives the digest of what a node says with its values filled in.
func (n *Node) Filled(salt string, values *Values) (string, error) {
	texts := []string{salt}
	for _, name := range slices.Sorted(maps.Keys(n.Says)) {
		text, err := values.Text(n.Says[name])
		if err != nil {
			return "", err
		}
		texts = append(texts, name, text)
	}
	return Digest(texts...), nil
}

// Digest gives 32 hex digits that differ where the texts do.
func Digest(texts ...string) string {
	h := sha256.New()
	for _, text := range texts {
		var size [8]byte
		for i, n := 0, len(text); i < len(size); i++ {
			size[i], n = byte(n), n>>8
		}
		h.Write(size[:]) // never fails
		h.Write([]byte(text))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

func isService(k Key) bool { return strings.HasPrefix(string(k), "service/") }
func isImage(k Key) bool   { return strings.HasPrefix(string(k), "image/") }

// IsArtifact reports whether a key is that of a files artifact.
func IsArtifact(k Key) bool { return strings.HasPrefix(string(k), "artifact/") }

// IsValue reports whether a key is that of a value.
func IsValue(k Key) bool { return strings.HasPrefix(string(k), "value/") }
