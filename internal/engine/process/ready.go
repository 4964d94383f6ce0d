package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file is the readiness line: one line of JSON that a starting engine
// writes to a pipe, so that nobody has to poll for it.

// ReadyVariable names the environment variable with the number of the file
// descriptor that an engine reports to.
const ReadyVariable = "LEPTO_READY_FD"

// report is the line. Ready, or the fault that kept the engine from starting.
type report struct {
	Ready    bool             `json:"ready"`
	Code     string           `json:"code,omitempty"`
	Summary  string           `json:"summary,omitempty"`
	Evidence []fault.Evidence `json:"evidence,omitempty"`
	Hint     string           `json:"hint,omitempty"`
}

// ReadyPipe gives the pipe to report to, or nil where nobody waits. It forgets
// the environment variable, and closes the pipe in processes it starts, so that
// the one who waits sees the engine's end and nobody else's.
func ReadyPipe() (io.WriteCloser, error) {
	text := os.Getenv(ReadyVariable)
	if text == "" {
		return nil, nil
	}
	if err := os.Unsetenv(ReadyVariable); err != nil {
		return nil, err
	}
	fd, err := strconv.Atoi(text)
	if err != nil || fd < 3 {
		return nil, fault.New(CodeBadSettings, "%s=%q is no file descriptor", ReadyVariable, text)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, fault.New(CodeBadSettings, "%s=%d: %w", ReadyVariable, fd, err)
	}
	return os.NewFile(uintptr(fd), "ready"), nil
}

// Report writes the line: readiness where err is nil.
func Report(w io.Writer, err error) error {
	r := report{Ready: err == nil}
	if err != nil {
		f := fault.From(err, CodeNotStarted)
		r.Code, r.Summary, r.Evidence, r.Hint = f.Code, f.Summary, f.Evidence, f.Hint
	}
	line, merr := json.Marshal(r)
	if merr != nil {
		return merr
	}
	_, werr := w.Write(append(line, '\n'))
	return werr
}

// ParseReport reads the line: nil where the engine is ready, else its *fault.Fault.
func ParseReport(line []byte) error {
	var r report
	if err := json.Unmarshal(line, &r); err != nil {
		return fault.New(CodeNotStarted, "engine's report: %w", err)
	}
	if r.Ready {
		return nil
	}
	f := &fault.Fault{Code: r.Code, Summary: r.Summary, Evidence: r.Evidence, Hint: r.Hint}
	if r.Code == CodeEngineHeld {
		f.Cause = fault.ErrExists
	}
	return f
}

// IsHeld reports whether err says that another process holds a lock.
func IsHeld(err error) bool {
	_, ok := errors.AsType[*HeldError](err)
	return ok
}

// Held is the fault of an engine that finds another one in its home.
func Held(home string, err *HeldError) *fault.Fault {
	who := "another engine"
	if err.PID > 0 {
		who = fmt.Sprintf("another engine (process %d)", err.PID)
	}
	f := &fault.Fault{Code: CodeEngineHeld, Summary: who + " runs in " + home, Cause: errors.Join(fault.ErrExists, err)}
	return f.WithHint("there is one engine per home directory: stop that one with \"lepto engine stop\", or set LEPTO_HOME")
}
