package enclave

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file words what went wrong with a service: the cause comes first, then
// the evidence, then what to do. The codes are in docs/errors.md.

const (
	// evidenceLines is how many of the last log lines are shown.
	evidenceLines = 20
	// evidenceTime bounds the gathering of evidence.
	evidenceTime = 5 * time.Second
	// namedCauses is how many causes the first line of a batch's fault names.
	namedCauses = 3
)

// startFault is for a service that could not be started.
func (e *Enclave) startFault(ctx context.Context, handle backend.Enclave, row *serviceRow, err error) error {
	if ctx.Err() != nil {
		return e.cancelled(ctx, row.Name)
	}
	if errors.Is(err, syscall.ENOSPC) {
		f := fault.New("E0338", "no space left on the device while service %q was started", row.Name)
		f.Cause = err
		return f.WithEvidence("what failed", err.Error()).
			WithHint("see what takes the room with df -h; lepto clean and lepto image rm free what lepto holds")
	}
	f := *fault.From(err, "E0333")
	if !strings.Contains(f.Summary, row.Name) {
		f.Summary = fmt.Sprintf("service %q: %s", row.Name, f.Summary)
	}
	f.Cause = err
	f.Evidence = slices.Clone(f.Evidence)
	return f.WithEvidence("last log lines of "+row.Name, e.lastLines(ctx, handle, row.Name)...)
}

// cancelled is for a service whose start was given up.
func (e *Enclave) cancelled(ctx context.Context, name string) error {
	cause := context.Cause(ctx)
	f := fault.New("E0337", "the start of service %q was cancelled: %v", name, cause)
	f.Cause = cause
	return f
}

// waitFault is for a service that started and did not become ready. pending
// are the ports that had not opened.
func (e *Enclave) waitFault(ctx context.Context, handle backend.Enclave, row *serviceRow, pending []portWait, err error) error {
	if ctx.Err() != nil {
		return e.cancelled(ctx, row.Name)
	}
	look, cancel := context.WithTimeoutCause(ctx, evidenceTime, fault.ErrTimeout)
	defer cancel()
	status, inspected := handle.Inspect(look, backend.ServiceName(row.Name))

	var exited exitedError
	var closed closedError
	var f *fault.Fault
	switch {
	case errors.As(err, &exited):
		f = exitFault(row, exited.exit, pending)
	case inspected == nil && !status.Running() && !status.Exit.At.IsZero():
		f = exitFault(row, status.Exit, pending)
	case errors.As(err, &closed):
		f = closedFault(row, closed.wait, status.Listening)
	default:
		own := *fault.From(err, "E0334")
		if !strings.Contains(own.Summary, row.Name) {
			own.Summary = fmt.Sprintf("service %q is not ready: %s", row.Name, own.Summary)
		}
		own.Evidence = slices.Clone(own.Evidence)
		f = own.WithEvidence("ports it listens on", listeningLines(status.Listening)...)
	}
	if command := slices.Concat(status.Entrypoint, status.Cmd); len(command) > 0 {
		f = f.WithEvidence("its command", strings.Join(quoteAll(command), " "))
	}
	return f.WithEvidence("last log lines of "+row.Name, e.lastLines(look, handle, row.Name)...)
}

// quoteAll quotes what a shell would split.
func quoteAll(args []string) []string {
	return each(args, func(arg string) string {
		if arg == "" || strings.ContainsAny(arg, " \t\n\"'\\$&|;<>()*?#`") {
			return fmt.Sprintf("%q", arg)
		}
		return arg
	})
}

// exitFault is for a process that ended before its service was ready.
func exitFault(row *serviceRow, exit backend.Exit, pending []portWait) *fault.Fault {
	before := "before it was ready"
	if len(pending) == 1 {
		before = fmt.Sprintf("before port %v opened", pending[0])
	} else if len(pending) > 1 {
		before = fmt.Sprintf("before ports %s opened", list(pending))
	}
	code := fmt.Sprintf("code %d", exit.Code)
	if exit.Signal != 0 {
		code += fmt.Sprintf(" (signal %d, %s)", exit.Signal, signalName(exit.Signal))
	}
	switch {
	case exit.OOM:
		f := fault.New("E0331", "service %q was killed: out of memory", row.Name)
		if limit := row.Config.MaxMemory; limit > 0 {
			f = fault.New("E0331", "service %q was killed: out of memory (limit %d MB)", row.Name, limit).
				WithHint("give it more: ServiceConfig(max_memory = …), in megabytes")
		} else {
			f = f.WithHint("it has no limit of its own: the host has run out of memory")
		}
		return f.WithEvidence("exit", code)
	case exit.Signal != 0:
		return fault.New("E0330", "service %q was killed by signal %d (%s) %s", row.Name, exit.Signal, signalName(exit.Signal), before).
			WithEvidence("exit", code)
	}
	f := fault.New("E0330", "service %q exited with code %d %s", row.Name, exit.Code, before).WithEvidence("exit", code)
	switch exit.Code {
	case 0:
		f = f.WithHint("its command ended without an error; a service has to stay in the foreground")
	case 126, 127:
		f = f.WithHint("a shell gives code 127 for a command that it doesn't find, and 126 for one that it can't execute")
	}
	return f
}

// signalName gives "SIGKILL" for 9.
func signalName(n int) string {
	names := map[int]string{
		1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 5: "SIGTRAP", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE",
		9: "SIGKILL", 10: "SIGUSR1", 11: "SIGSEGV", 12: "SIGUSR2", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM",
		24: "SIGXCPU", 25: "SIGXFSZ", 31: "SIGSYS",
	}
	if name := names[n]; name != "" {
		return name
	}
	return fmt.Sprintf("signal %d", n)
}

// closedFault is for a port that never opened, of a process that runs on.
// listening is nil where the backend can't tell.
func closedFault(row *serviceRow, w portWait, listening []backend.Listening) *fault.Fault {
	never := fmt.Sprintf("port %v of service %q never opened in %v", w, row.Name, w.port.Wait)
	if listening == nil {
		return fault.New("E0332", "%s", never).WithHint("see its log, or give it longer: PortSpec(wait = …)")
	}
	var lines, others []string
	var same []backend.Listening
	for _, l := range sortedSockets(listening) {
		lines = append(lines, fmt.Sprintf("%s %v", l.Proto, l.Addr))
		switch {
		case l.Proto != w.port.Transport:
		case l.Addr.Port() == w.port.Number:
			same = append(same, l)
		case !slices.Contains(others, fmt.Sprint(l.Addr.Port())):
			others = append(others, fmt.Sprint(l.Addr.Port()))
		}
	}
	var f *fault.Fault
	switch {
	case len(same) > 0 && same[0].Addr.Addr().IsLoopback():
		f = fault.New("E0332", "%s; it listens on %v only, which nothing outside the service can reach", never, same[0].Addr).
			WithHint("make it listen on 0.0.0.0:%d", w.port.Number)
	case len(same) > 0 && w.port.Application == "http":
		f = fault.New("E0332", "%s; it listens on %v but does not answer an HTTP request", never, same[0].Addr).
			WithHint("if it speaks something else, name that as its application_protocol, or wait = None")
	case len(same) > 0:
		f = fault.New("E0332", "%s; it listens on %v but takes no connections", never, same[0].Addr)
	case len(others) > 0:
		f = fault.New("E0332", "%s; it listens on %s instead", never, list(others)).
			WithHint("declare that port, or make the service listen on %d", w.port.Number)
		if len(others) == 1 {
			f = f.WithHint("declare PortSpec(number = %s), or make the service listen on %d", others[0], w.port.Number)
		}
	default:
		f = fault.New("E0332", "%s; it listens on no %s port", never, strings.ToUpper(string(w.port.Transport))).
			WithHint("if it needs longer, give it longer: PortSpec(wait = …); wait = None does not wait")
	}
	return f.WithEvidence("ports it listens on", lines...)
}

func sortedSockets(all []backend.Listening) []backend.Listening {
	return slices.SortedFunc(slices.Values(all), func(a, b backend.Listening) int {
		// A wildcard address tells more than a loopback one.
		wild := func(a netip.AddrPort) int {
			if a.Addr().IsLoopback() {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Addr.Port(), b.Addr.Port()),
			cmp.Compare(wild(a.Addr), wild(b.Addr)), a.Addr.Compare(b.Addr))
	})
}

// list joins things as "a, b and c".
func list[T any](things []T) string {
	var b strings.Builder
	for i, thing := range things {
		switch {
		case i > 0 && i == len(things)-1:
			b.WriteString(" and ")
		case i > 0:
			b.WriteString(", ")
		}
		fmt.Fprint(&b, thing)
	}
	return b.String()
}

// lastLines gives the end of a service's log, as evidence: what can't be read
// is left out.
func (e *Enclave) lastLines(ctx context.Context, handle backend.Enclave, name string) []string {
	var lines []string
	for line, err := range handle.Logs(ctx, backend.ServiceName(name), backend.LogQuery{Tail: evidenceLines}) {
		if err != nil {
			break
		}
		lines = append(lines, line.Text)
	}
	return lines
}

// combine makes one error of what failed. left are failures of undoing.
func combine(failed []*addition, left []error, total int, undone bool) error {
	if len(failed) == 0 {
		return errors.Join(left...)
	}
	f := combined(failed, total)
	if len(failed) == 1 {
		only := *fault.From(failed[0].err, "E0333")
		only.Evidence = slices.Clone(only.Evidence)
		f = &only
	}
	if undone && total > 1 {
		f = f.WithEvidence("rolled back", "the new services of this batch were removed again")
	}
	var lines []string
	for _, err := range left {
		lines = append(lines, err.Error())
	}
	return f.WithEvidence("could not be undone", lines...)
}

// combined names several services that failed together.
func combined(failed []*addition, total int) *fault.Fault {
	var causes []string
	var evidence []fault.Evidence
	f := &fault.Fault{Code: "E0335"}
	for _, a := range failed {
		own := fault.From(a.err, "E0333")
		causes = append(causes, own.Summary)
		evidence = append(evidence, fault.Evidence{Title: "service " + a.row.Name, Lines: []string{own.Code + ": " + own.Summary}})
		for _, ev := range own.Evidence {
			evidence = append(evidence, fault.Evidence{Title: "service " + a.row.Name + ": " + ev.Title, Lines: ev.Lines})
		}
		f.Hint = cmp.Or(f.Hint, own.Hint)
		f.Cause = errors.Join(f.Cause, a.err)
	}
	more := ""
	if len(causes) > namedCauses {
		more = fmt.Sprintf("; and %d more", len(causes)-namedCauses)
		causes = causes[:namedCauses]
	}
	f.Summary = fmt.Sprintf("%d of %d services failed: %s%s", len(failed), total, strings.Join(causes, "; "), more)
	f.Evidence = evidence
	return f
}
