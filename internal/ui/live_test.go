package ui

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/run"
)

func TestProgressView(t *testing.T) {
	start := time.UnixMilli(1_000_000)
	var p Progress
	var out strings.Builder
	for i, e := range successfulRun() {
		p.Feed(e, start)
		out.WriteString(strings.Join(p.View(Style{}, start.Add(time.Duration(i)*700*time.Millisecond), 60, 5), "\n") + "\n--\n")
	}
	golden(t, "progress.txt", out.String())
}

func TestProgressShowsWhatTheRunWaitsFor(t *testing.T) {
	var p Progress
	now := time.UnixMilli(0)
	p.Feed(run.Event{Progress: &run.Progress{Text: "another run is going on"}}, now)
	if lines := p.View(Style{}, now, 80, 5); len(lines) != 1 || lines[0] != "⠋ another run is going on" {
		t.Errorf("%q", lines)
	}
	p.Feed(run.Event{Phase: &run.Phase{Name: run.Interpretation}}, now)
	if lines := p.View(Style{}, now, 80, 5); len(lines) != 1 || lines[0] != "⠋ Interpreting" {
		t.Errorf("%q", lines)
	}
}

func TestPlainPrinterSaysOnceWhatIsPrepared(t *testing.T) {
	var out, talk bytes.Buffer
	p := NewPrinter(Plain(nil, &out, &talk), Description)
	for _, e := range append(successfulRun()[:5], successfulRun()[4:]...) {
		if err := p.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if talk.String() != "preparing image redis:7\n" || out.String() != transcriptOf(Description, successfulRun()) {
		t.Errorf("stderr %q, stdout %q", talk.String(), out.String())
	}
}

func TestProgressViewFitsTheScreen(t *testing.T) {
	var p Progress
	now := time.UnixMilli(0)
	p.Feed(run.Event{Phase: &run.Phase{Name: run.Execution, Steps: 20}}, now)
	for i := range 20 {
		b := run.Begin{ID: plan3(i), Description: strings.Repeat("世", 100)}
		p.Feed(run.Event{Step: b.ID, Begin: &b}, now)
	}
	p.Note("stopping")
	for _, size := range [][2]int{{80, 10}, {20, 3}, {10, 2}, {1, 1}} {
		lines := p.View(Coloured, now, size[0], size[1])
		if len(lines) > size[1] {
			t.Errorf("%v: %d lines", size, len(lines))
		}
		for _, line := range lines {
			if Width(line) > size[0] {
				t.Errorf("%v: %d cells: %q", size, Width(line), line)
			}
		}
	}
}

func TestLiveLeavesTheTranscriptOnTheScreen(t *testing.T) {
	var screen bytes.Buffer
	term := &Terminal{Out: &screen, OutTTY: true, Interactive: true, size: func() (int, int) { return 60, 20 }}
	live := NewLive(term, NewTranscript(term, Description))
	live.Note("a note makes lines move at once")
	for _, e := range successfulRun() {
		if err := live.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := shown(screen.String()), transcriptOf(Description, successfulRun()); got != want {
		t.Errorf("screen:\n%s\nwant:\n%s", got, want)
	}
	if !strings.HasSuffix(screen.String(), showCursor) {
		t.Error("the cursor stays hidden")
	}
}

func TestLiveShowsNothingThatMovesForAShortRun(t *testing.T) {
	var screen bytes.Buffer
	term := &Terminal{Out: &screen, OutTTY: true, Interactive: true}
	live := &Live{t: term, transcript: NewTranscript(term, Description), stop: make(chan struct{})} // no tick comes
	for _, e := range successfulRun() {
		if err := live.Event(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := live.Close(); err != nil {
		t.Fatal(err)
	}
	if screen.String() != transcriptOf(Description, successfulRun()) {
		t.Errorf("%q", screen.String())
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 12_345: "12 kB", 999_600: "1.0 MB", 31_000_000: "31 MB"} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestAmount(t *testing.T) {
	if steps, bytes := Amount(3, 12), Amount(1_200_000, 31_000_000); steps != "3/12" || bytes != "1.2 MB / 31 MB" {
		t.Errorf("%q, %q", steps, bytes)
	}
}
