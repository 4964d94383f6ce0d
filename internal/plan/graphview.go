package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// This file draws graphs: as text, for Graphviz and for Mermaid. What is drawn
// is the reduced graph.

// labelRunes bounds the label of a step, in runes.
const labelRunes = 48

// Label gives a step in a few words: its name and what it is about.
func Label(step Step) string {
	call, e := step.Call(), step.Effects()
	var about []string
	for _, kind := range []string{"service/", "artifact/"} {
		for _, k := range slices.Concat(e.Touches, e.Writes, e.Reads) {
			if name, ok := strings.CutPrefix(string(k), kind); ok && len(about) < labelRunes && !slices.Contains(about, name) {
				about = append(about, name)
			}
		}
		if len(about) > 0 {
			break
		}
	}
	text := strings.Join(about, ", ")
	if text == "" && len(call.Args) > 0 {
		text = call.Args[0].Text
		if plain, err := strconv.Unquote(text); err == nil {
			text = plain
		}
	}
	if strings.Contains(text, referenceMark) {
		text = referencePattern().ReplaceAllString(text, "{$2}")
	}
	return cutRunes(call.Name+"("+strings.Join(strings.Fields(text), " "), labelRunes-1) + ")"
}

func cutRunes(text string, limit int) string {
	runes := []rune(text)
	if len(runes) <= limit {
		return text
	}
	return string(runes[:limit-1]) + "…"
}

// why gives the reasons of a link in a few words: ids tell nobody anything.
func (l Link) why() string {
	var out []string
	for _, why := range l.Why {
		if strings.HasPrefix(why, "value/") {
			why = "value"
		}
		if !slices.Contains(out, why) {
			out = append(out, why)
		}
	}
	return strings.Join(out, ", ")
}

// Text draws the graph as a list: each step with those that it comes after.
func (g *Graph) Text() string {
	var out strings.Builder
	digits := len(strconv.Itoa(g.Len()))
	width := 0
	labels := make([]string, g.Len())
	for i, step := range g.steps {
		labels[i] = Label(step)
		width = max(width, len([]rune(labels[i])))
	}
	for i, links := range g.Reduced() {
		line := fmt.Sprintf("%*d  %-*s", digits, i+1, width, labels[i])
		var after []string
		for _, link := range links {
			after = append(after, fmt.Sprintf("%d (%s)", link.Step+1, link.why()))
		}
		if len(after) > 0 {
			line += "  after " + strings.Join(after, ", ")
		}
		out.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	chain, _ := g.Critical(func(int) time.Duration { return 1 })
	numbers := make([]string, len(chain))
	for i, step := range chain {
		numbers[i] = strconv.Itoa(step + 1)
	}
	if len(chain) > 0 {
		fmt.Fprintf(&out, "\nThe longest chain has %d of %d: %s\n", len(chain), g.Len(), strings.Join(numbers, " → "))
	}
	return out.String()
}

// DOT draws the graph for Graphviz.
func (g *Graph) DOT() string {
	var out strings.Builder
	out.WriteString("digraph plan {\n\trankdir = LR;\n\tnode [shape = box];\n")
	for i, step := range g.steps {
		fmt.Fprintf(&out, "\ts%d [label = %s];\n", i+1, dotQuote(fmt.Sprintf("%d %s", i+1, Label(step))))
	}
	for i, links := range g.Reduced() {
		for _, link := range links {
			fmt.Fprintf(&out, "\ts%d -> s%d [label = %s];\n", link.Step+1, i+1, dotQuote(link.why()))
		}
	}
	out.WriteString("}\n")
	return out.String()
}

func dotQuote(text string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text) + `"`
}

// Mermaid draws the graph for Mermaid, as Markdown viewers show it.
func (g *Graph) Mermaid() string {
	var out strings.Builder
	out.WriteString("flowchart LR\n")
	for i, step := range g.steps {
		fmt.Fprintf(&out, "\ts%d[%s]\n", i+1, mermaidQuote(fmt.Sprintf("%d %s", i+1, Label(step))))
	}
	for i, links := range g.Reduced() {
		for _, link := range links {
			fmt.Fprintf(&out, "\ts%d -->|%s| s%d\n", link.Step+1, mermaidQuote(link.why()), i+1)
		}
	}
	return out.String()
}

func mermaidQuote(text string) string {
	return `"` + strings.NewReplacer(`"`, "#quot;", "#", "#35;", "<", "#lt;", ">", "#gt;").Replace(text) + `"`
}
