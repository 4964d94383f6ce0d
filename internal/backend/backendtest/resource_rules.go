package backendtest

import (
	"slices"
	"strconv"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

var resourceRules = []rule{
	{"a memory limit kills, and the exit says so", []backend.Ability{backend.AbilityMemoryLimit}, func(w *world) {
		w.start("db", "eat 256 then exit 0", func(s *backend.ServiceSpec) { s.Resources.MemoryBytes = 48 << 20 })
		if exit := w.exited("db"); !exit.OOM || exit.Code != 137 {
			w.Errorf("exit is %+v", exit)
		}
	}},
	{"without a limit the same program runs", []backend.Ability{backend.AbilityMemoryLimit}, func(w *world) {
		w.start("db", "eat 256 then exit 0")
		if exit := w.exited("db"); exit.OOM || exit.Code != 0 {
			w.Errorf("exit is %+v", exit)
		}
	}},
	{"a command that a memory limit kills is told apart", []backend.Ability{backend.AbilityMemoryLimit}, func(w *world) {
		w.start("db", "wait", func(s *backend.ServiceSpec) { s.Resources.MemoryBytes = 48 << 20 })
		told := 0
		tell := func(s *backend.ExecSpec) { s.OutOfMemory = func() { told++ } }
		if code, _, _ := w.run("db", "eat 256 then exit 0", tell); code != 137 || told != 1 {
			w.Errorf("code is %d, and out of memory told %d times", code, told)
		}
		if code, _, _ := w.run("db", "exit 3", tell); code != 3 || told != 1 {
			w.Errorf("the next command: code is %d, and out of memory told %d times", code, told)
		}
	}},
	{"a processor limit limits", []backend.Ability{backend.AbilityCPULimit}, func(w *world) {
		w.start("db", "burn 2000", func(s *backend.ServiceSpec) { s.Resources.CPUMillis = 100 })
		w.exited("db")
		// 10 % of 2 s is 0.2 s, plus a period's worth at each end.
		if ms, err := strconv.Atoi(w.logged("db")[0]); err != nil || ms > 600 {
			w.Errorf("got %d ms of processor in 2 s", ms)
		}
	}},
}

var pauseRules = []rule{
	{"a paused service makes no progress, and goes on when unpaused", []backend.Ability{backend.AbilityPause}, func(w *world) {
		pauser := w.enclave.(backend.Pauser)
		w.start("db", "tick 5")
		w.waitLine("db", "tick 3")
		w.must(pauser.Pause(w.ctx, "db"))
		if s := w.inspect("db"); s.State != backend.StatePaused {
			w.Errorf("state is %q", s.State)
		}
		before := w.settled("db")
		time.Sleep(100 * time.Millisecond) // the time in which a running one would tick
		if after := len(w.logged("db")); after != before {
			w.Errorf("%d lines, then %d", before, after)
		}
		w.must(pauser.Unpause(w.ctx, "db"))
		w.eventually("going on", func() string {
			if len(w.logged("db")) <= before {
				return "no new line"
			}
			return ""
		})
		if s := w.inspect("db"); s.State != backend.StateRunning {
			w.Errorf("state is %q", s.State)
		}
	}},
	{"a paused service can be stopped", []backend.Ability{backend.AbilityPause}, func(w *world) {
		w.start("db", "out up then wait")
		w.waitLine("db", "up")
		w.must(w.enclave.(backend.Pauser).Pause(w.ctx, "db"))
		_, err := w.enclave.Stop(w.ctx, "db", bound)
		w.must(err)
		if s := w.inspect("db"); s.State != backend.StateExited {
			w.Errorf("state is %q", s.State)
		}
	}},
	{"pausing what does not run is ErrNotRunning", []backend.Ability{backend.AbilityPause}, func(w *world) {
		w.start("db", "exit 0")
		w.exited("db")
		w.wantErr(w.enclave.(backend.Pauser).Pause(w.ctx, "db"), fault.ErrNotRunning)
	}},
}

// settled gives how many lines are stored once what was under way has arrived.
func (w *world) settled(name backend.ServiceName) int {
	w.Helper()
	last := -1
	w.eventually("quiet", func() string {
		n := len(w.logged(name))
		if n == last {
			return ""
		}
		last = n
		return "still writing"
	})
	return last
}

var suspendRules = []rule{
	{"suspend stops all, resume starts what ran, with files and addresses", nil, func(w *world) {
		suspender, ok := w.enclave.(backend.Suspender)
		if !ok {
			w.Skip("no Suspender")
		}
		w.start("db", "wait")
		w.start("done", "exit 4")
		w.exited("done")
		w.run("db", "write /work/note kept")
		before := w.inspect("db").Address
		w.must(suspender.Suspend(w.ctx, bound))
		w.must(suspender.Suspend(w.ctx, bound))
		if s := w.inspect("db"); s.Running() {
			w.Errorf("suspended: %+v", s)
		}
		w.must(suspender.Resume(w.ctx))
		w.must(suspender.Resume(w.ctx))
		if s := w.inspect("db"); !s.Running() || s.Address != before {
			w.Errorf("resumed: %+v", s)
		}
		if s := w.inspect("done"); s.Running() || s.Exit.Code != 4 {
			w.Errorf("the one that had ended: %+v", s)
		}
		if _, out, _ := w.run("db", "read /work/note"); out != "kept" {
			w.Errorf("file is %q", out)
		}
	}},
	{"another process can resume what was suspended", nil, func(w *world) {
		suspender, ok := w.enclave.(backend.Suspender)
		if !ok {
			w.Skip("no Suspender")
		}
		w.start("db", "wait")
		w.must(suspender.Suspend(w.ctx, bound))
		e, err := w.Reopen(w.T).OpenEnclave(w.ctx, w.id)
		w.must(err)
		names, err := e.Services(w.ctx)
		w.must(err)
		if !slices.Equal(names, []backend.ServiceName{"db"}) {
			w.Errorf("services are %v", names)
		}
		status, err := e.Inspect(w.ctx, "db")
		w.must(err)
		if status.Running() {
			w.Errorf("opening started it: %+v", status)
		}
		w.must(e.(backend.Suspender).Resume(w.ctx))
		if status, err = e.Inspect(w.ctx, "db"); err != nil || !status.Running() {
			w.Errorf("resumed: %+v, %v", status, err)
		}
	}},
}
