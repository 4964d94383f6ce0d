package ui

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lepto-dev/lepto/internal/plan"
	"github.com/lepto-dev/lepto/internal/run"
)

// This file defines what the live view shows: a state machine from events, and
// a pure function from that state and a time to lines.

// Progress is what a run is doing now.
type Progress struct {
	phase     run.PhaseName
	since     time.Time // when the phase began
	images    []imageProgress
	steps     []stepProgress // running, in order of their start
	total     int
	completed int
	waiting   string // what the run as a whole waits for
	note      string // shown below all else, such as that a cancel is under way
	finished  bool
}

type imageProgress struct {
	run.Image
	since time.Time
}

type stepProgress struct {
	run.Begin
	since time.Time
	text  string // what it waits for
}

// Feed takes an event that happened now.
func (p *Progress) Feed(e run.Event, now time.Time) {
	switch {
	case e.Phase != nil:
		p.phase, p.since, p.waiting = e.Phase.Name, now, ""
		if e.Phase.Name == run.Execution {
			p.images = nil
		}
		p.total = max(p.total, e.Phase.Steps)
	case e.Plan != nil:
		p.total = len(e.Plan.Steps)
	case e.Image != nil:
		p.image(*e.Image, now)
	case e.Begin != nil:
		p.total = max(p.total, e.Begin.Total)
		p.steps = append(p.steps, stepProgress{Begin: *e.Begin, since: now})
	case e.Progress != nil && e.Step == "":
		p.waiting = CleanLine(e.Progress.Text)
	case e.Progress != nil:
		if s := p.step(e.Step); s != nil {
			s.text = e.Progress.Text
		}
	case e.Result != nil:
		p.completed++
		p.drop(e.Step)
	case e.Error != nil:
		p.drop(e.Step)
	case e.Done != nil:
		p.finished = true
	}
}

// Note shows a line below the rest; empty takes it away.
func (p *Progress) Note(text string) { p.note = text }

func (p *Progress) image(i run.Image, now time.Time) {
	for n := range p.images {
		if p.images[n].Ref == i.Ref {
			p.images[n].Image = i
			return
		}
	}
	p.images = append(p.images, imageProgress{Image: i, since: now})
}

func (p *Progress) step(id plan.StepID) *stepProgress {
	for i := range p.steps {
		if p.steps[i].ID == id {
			return &p.steps[i]
		}
	}
	return nil
}

func (p *Progress) drop(id plan.StepID) {
	p.steps = slices.DeleteFunc(p.steps, func(s stepProgress) bool { return s.ID == id })
}

// frames of the spinner; one is shown for frameTime.
var frames = []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")

const frameTime = 100 * time.Millisecond

// View gives the lines to show, at most rows of them and none wider than cols.
func (p *Progress) View(s Style, now time.Time, cols, rows int) []string {
	if p.finished || p.phase == "" && p.waiting == "" || rows < 1 {
		return nil
	}
	spinner := s.Yellow(string(frames[int(now.UnixMilli()/frameTime.Milliseconds())%len(frames)]))
	lines := []string{spinner + " " + p.headline(now)}
	for _, i := range p.images {
		if !i.Done {
			lines = append(lines, "    "+imageLine(i.Image))
		}
	}
	for _, st := range p.steps {
		lines = append(lines, "    "+stepLine(s, st, now))
	}
	if p.note != "" {
		lines = append(fit(s, lines, rows-1), s.Yellow(p.note))
	}
	lines = fit(s, lines, rows)
	for i := range lines {
		lines[i] = Cut(lines[i], cols)
	}
	return lines
}

// fit keeps the first lines, and tells how many are not shown.
func fit(s Style, lines []string, rows int) []string {
	hidden := len(lines) - rows
	switch {
	case hidden <= 0:
		return lines
	case rows < 2:
		return lines[:max(rows, 0)]
	}
	return append(lines[:rows-1], s.Dim(fmt.Sprintf("    and %d more", hidden+1)))
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// headline says which phase this is and how far it has come.
func (p *Progress) headline(now time.Time) string {
	switch {
	case p.waiting != "":
		return p.waiting
	case p.phase == run.Interpretation:
		return "Interpreting" + elapsed(now.Sub(p.since))
	case p.phase == run.Validation && len(p.images) > 0:
		done := 0
		for _, i := range p.images {
			done += btoi(i.Done)
		}
		return fmt.Sprintf("Validating, %d of %s ready%s", done, Count(len(p.images), "image"), elapsed(now.Sub(p.since)))
	case p.phase == run.Validation:
		return "Validating" + elapsed(now.Sub(p.since))
	}
	return fmt.Sprintf("Executing %s %d/%d%s", bar(p.completed, p.total), p.completed, p.total, elapsed(now.Sub(p.since)))
}

// barCells is the length of a progress bar.
const barCells = 20

func bar(done, total int) string {
	filled := 0
	if total > 0 {
		filled = min(barCells, barCells*done/total)
	}
	return strings.Repeat("█", filled) + strings.Repeat("░", barCells-filled)
}

func imageLine(i run.Image) string {
	ref := CleanLine(i.Ref)
	switch {
	case i.Total > 0:
		return ref + "  " + Amount(i.Bytes, i.Total)
	case i.Bytes > 0:
		return fmt.Sprintf("%s  %s", ref, Bytes(i.Bytes))
	}
	return ref
}

func stepLine(s Style, st stepProgress, now time.Time) string {
	line := CleanLine(st.Description)
	if line == "" {
		line = st.Name
	}
	line += elapsed(now.Sub(st.since))
	if st.text != "" {
		line += s.Dim(": " + CleanLine(st.text))
	}
	return line
}

// elapsed is shown from the first full second.
func elapsed(d time.Duration) string {
	if d < time.Second {
		return ""
	}
	return " (" + d.Truncate(time.Second).String() + ")"
}

// manySteps is more steps than any build has, and fewer bytes than any image.
const manySteps = 2000

// Amount gives how far something of a known size has come. Downloads count
// bytes and builds count steps; the size tells them apart.
func Amount(done, total int64) string {
	if total < manySteps {
		return fmt.Sprintf("%d/%d", done, total)
	}
	return Bytes(done) + " / " + Bytes(total)
}

// Bytes gives a size with a decimal unit: 512 B, 4.2 kB, 31 MB.
func Bytes(n int64) string {
	const units = "kMGTPE"
	if n < 1000 {
		return fmt.Sprintf("%d B", max(n, 0))
	}
	value, unit := float64(n)/1000, 0
	for value >= 999.5 && unit < len(units)-1 {
		value /= 1000
		unit++
	}
	if value < 9.95 {
		return fmt.Sprintf("%.1f %cB", value, units[unit])
	}
	return fmt.Sprintf("%.0f %cB", value, units[unit])
}
