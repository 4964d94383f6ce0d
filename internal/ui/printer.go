package ui

import (
	"fmt"
	"io"

	"github.com/lepto-dev/lepto/internal/run"
)

// This file chooses how the events of a run are shown.

// A Printer shows the events of one run.
type Printer interface {
	// Event shows one event.
	Event(run.Event) error
	// Note tells the user something that is no event, such as that a cancel was
	// asked for.
	Note(text string)
	// Close ends the showing and leaves the terminal as it should be.
	Close() error
}

// NewPrinter gives the Printer for a terminal: a live one where lines may move,
// else plain lines.
func NewPrinter(t *Terminal, v Verbosity) Printer {
	transcript := NewTranscript(t, v)
	if t.Interactive {
		return NewLive(t, transcript)
	}
	return &plainPrinter{t: t, transcript: transcript}
}

// plainPrinter appends text and never takes any back. What only a live view
// shows is said on Err, once for each thing.
type plainPrinter struct {
	t          *Terminal
	transcript *Transcript
	preparing  map[string]bool // images
}

func (p *plainPrinter) Event(e run.Event) error {
	switch {
	case e.Image != nil && !e.Image.Done && e.Image.Total > e.Image.Bytes && !p.preparing[e.Image.Ref]:
		if p.preparing == nil {
			p.preparing = map[string]bool{}
		}
		p.preparing[e.Image.Ref] = true
		p.Note("preparing image " + e.Image.Ref)
	case e.Progress != nil && e.Step == "":
		p.Note(e.Progress.Text)
	}
	_, err := io.WriteString(p.t.Out, p.transcript.Text(e))
	return err
}

func (p *plainPrinter) Note(text string) { fmt.Fprintln(p.t.Err, p.t.ForErr(text)) }

func (p *plainPrinter) Close() error { return nil }

// NewJSONPrinter gives a Printer of one JSON document a line, exactly the
// events, on Out.
func NewJSONPrinter(t *Terminal) Printer { return &jsonPrinter{t: t} }

type jsonPrinter struct{ t *Terminal }

func (p *jsonPrinter) Event(e run.Event) error {
	line, err := e.Encode()
	if err != nil {
		return fmt.Errorf("event %d: %w", e.Seq, err)
	}
	_, err = io.WriteString(p.t.Out, p.t.ForOut(string(line))+"\n")
	return err
}

func (p *jsonPrinter) Note(text string) { fmt.Fprintln(p.t.Err, text) }

func (p *jsonPrinter) Close() error { return nil }
