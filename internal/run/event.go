package run

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/plan"
)

// This file defines the event stream: one ordered list per run, persisted and
// replayable from any offset. The wire API's run lines, the terminal, and
// -o json are renderings of it; none of them reads state to learn what happened.

// Event is one thing that happened in a run. As JSON it is one flat object: the
// fields of the event and, under the name of its kind, of its body.
type Event struct {
	Seq  uint64      `json:"seq"` // from 1, without gaps
	At   time.Time   `json:"at"`
	Kind Kind        `json:"kind"`
	Step plan.StepID `json:"step,omitempty"` // empty for the run's own events

	Started  *Started  `json:"started,omitempty"`
	Phase    *Phase    `json:"phase,omitempty"`
	Plan     *Ready    `json:"plan,omitempty"`
	Image    *Image    `json:"image,omitempty"`
	Begin    *Begin    `json:"begin,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
	Result   *Result   `json:"result,omitempty"`
	Error    *Problem  `json:"error,omitempty"`
	Warning  *Notice   `json:"warning,omitempty"`
	Fault    *Fault    `json:"fault,omitempty"`
	Done     *Done     `json:"done,omitempty"`
}

// Kind names the body of an Event.
type Kind string

// The kinds, in the order in which they come in a run.
const (
	KindStarted  Kind = "started"  // Started
	KindPhase    Kind = "phase"    // Phase
	KindPlan     Kind = "plan"     // Plan: interpretation succeeded
	KindImage    Kind = "image"    // Image: an image is being, or is, available
	KindBegin    Kind = "step"     // Begin: a step starts
	KindProgress Kind = "progress" // Progress of a step
	KindResult   Kind = "result"   // Result: a step is done
	KindError    Kind = "error"    // Error, of a step or of the run
	KindWarning  Kind = "warning"  // Warning
	KindFault    Kind = "fault"    // Fault: a scheduled fault was applied in the enclave
	KindDone     Kind = "done"     // Done: the last event
)

// Started opens a run.
type Started struct {
	RunID   string `json:"run_id"`
	Enclave string `json:"enclave"` // name
	UUID    string `json:"uuid"`
	Package string `json:"package"`
	DryRun  bool   `json:"dry_run,omitempty"`
}

// PhaseName is one of the three phases of a run.
type PhaseName string

// The phases.
const (
	Interpretation PhaseName = "interpretation"
	Validation     PhaseName = "validation"
	Execution      PhaseName = "execution"
)

// Phase tells that a phase starts.
type Phase struct {
	Name  PhaseName `json:"name"`
	Steps int       `json:"steps,omitempty"` // in the plan; 0 while unknown
}

// Ready lists the steps of the plan.
type Ready struct {
	Steps []Begin `json:"steps"`
}

// Image tells how an image is coming along.
type Image struct {
	Ref     string `json:"ref"`
	Done    bool   `json:"done"`
	Source  string `json:"source,omitempty"` // once done: cached, downloaded, built
	Bytes   int64  `json:"bytes,omitempty"`
	Total   int64  `json:"total,omitempty"`
	Warning string `json:"warning,omitempty"`
}

// Begin describes a step.
type Begin struct {
	ID          plan.StepID `json:"id"`
	Number      int         `json:"number"` // from 1
	Total       int         `json:"total"`
	Name        string      `json:"name"`
	Text        string      `json:"text"` // canonical call text
	Description string      `json:"description"`
	Args        []plan.Arg  `json:"args,omitempty"`
	At          fault.Frame `json:"at"`
	Skipped     bool        `json:"skipped,omitempty"`
	Change      *Change     `json:"change,omitempty"` // in a dry run for an enclave
}

// Change is what a run does about a step that earlier runs may have done.
type Change struct {
	Status  plan.Status `json:"status"` // keep, update, recreate, new
	Reasons []string    `json:"reasons,omitempty"`
	// Sure: it does not depend on what earlier steps of the run give.
	Sure bool `json:"sure"`
}

// Progress tells what a step waits for or, in an event without step, the run.
type Progress struct {
	Text string `json:"text"`
}

// Result is what a step gave.
type Result struct {
	Text     string        `json:"text"`
	Duration time.Duration `json:"duration_ns"`
	Skipped  bool          `json:"skipped,omitempty"`
}

// Problem is an error of a run, as data.
type Problem struct {
	Phase    PhaseName        `json:"phase"`
	Code     string           `json:"code"`
	Summary  string           `json:"summary"`
	Stack    []fault.Frame    `json:"stack,omitempty"` // user frames, innermost first
	Excerpt  *Excerpt         `json:"excerpt,omitempty"`
	Evidence []fault.Evidence `json:"evidence,omitempty"`
	Hint     string           `json:"hint,omitempty"`
	Causes   []string         `json:"causes,omitempty"`
	// Service is the service or task that the problem is about, where it is
	// there to be looked into.
	Service string `json:"service,omitempty"`
	// Legacy is the text of the same error as clients of the wire API know it;
	// empty where there is no such form.
	Legacy string `json:"legacy,omitempty"`
	// Part: it was found together with the problem before it, and Legacy of the
	// first of them is the text of all.
	Part bool `json:"part,omitempty"`
}

// Excerpt is the source around the place of a Problem.
type Excerpt struct {
	File  string   `json:"file"`
	First int      `json:"first"` // line number of Lines[0]
	Lines []string `json:"lines"`
	Line  int      `json:"line"`
	Col   int      `json:"col"`
	Width int      `json:"width"` // columns to underline, at least 1
}

// Notice is a warning.
type Notice struct {
	Text string `json:"text"`
}

// Fault is a scheduled fault that was applied in the enclave during the run,
// whichever run has scheduled it.
type Fault struct {
	Text    string    `json:"text"`
	Planned time.Time `json:"planned"` // when it was to be
	Applied time.Time `json:"applied"`
	Error   string    `json:"error,omitempty"` // why it could not be
}

// Done closes a run.
type Done struct {
	OK        bool          `json:"ok"`
	Cancelled bool          `json:"cancelled,omitempty"`
	Output    string        `json:"output,omitempty"` // the run's return value, values filled in
	Duration  time.Duration `json:"duration_ns"`
	Steps     int           `json:"steps"`             // executed, to their end
	Skipped   int           `json:"skipped,omitempty"` // done before, by an earlier run
	DryRun    bool          `json:"dry_run,omitempty"`
	Reason    string        `json:"reason,omitempty"` // why it was cancelled
	Parallel  *Parallel     `json:"parallel,omitempty"`
}

// Parallel tells what came of executing steps together.
type Parallel struct {
	Critical time.Duration `json:"critical_path_ns"` // what the longest chain took
	Work     time.Duration `json:"work_ns"`          // what all steps took, one by one
	Chain    []int         `json:"chain"`            // the numbers of the steps of the longest chain
}

// Encode gives the event as one line of JSON, without a line end.
func (e Event) Encode() ([]byte, error) { return json.Marshal(e) }

// Decode is the inverse of Encode.
func Decode(line []byte) (Event, error) {
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, fmt.Errorf("event: %w", err)
	}
	return e, nil
}
