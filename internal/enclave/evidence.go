package enclave

import (
	"context"
	"fmt"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// Evidence tells what is to be seen of a service after something done to it has
// failed: how it ended, if it did, where it listens, and the end of its log. What
// can't be seen is left out.
func (e *Enclave) Evidence(ctx context.Context, identifier string) []fault.Evidence {
	ctx, cancel := context.WithTimeoutCause(ctx, evidenceTime, fault.ErrTimeout)
	defer cancel()
	handle, name, err := e.locate(ctx, identifier)
	if err != nil {
		return nil
	}
	var seen fault.Fault
	status, err := handle.Inspect(ctx, name)
	switch {
	case err != nil:
	case status.Running():
		seen.WithEvidence("ports it listens on", listeningLines(status.Listening)...)
	default:
		seen.WithEvidence("exit", exitText(status.Exit))
	}
	seen.WithEvidence("last log lines of "+string(name), e.lastLines(ctx, handle, string(name))...)
	return seen.Evidence
}

func listeningLines(all []backend.Listening) []string {
	var lines []string
	for _, l := range sortedSockets(all) {
		lines = append(lines, fmt.Sprintf("%s %v", l.Proto, l.Addr))
	}
	return lines
}

// exitText gives an exit as evidence.
func exitText(exit backend.Exit) string {
	text := fmt.Sprintf("code %d", exit.Code)
	if exit.Signal != 0 {
		text += fmt.Sprintf(" (signal %d, %s)", exit.Signal, signalName(exit.Signal))
	}
	if exit.OOM {
		text += ", out of memory"
	}
	return text
}
