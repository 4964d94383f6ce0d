package memory

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// service is a service of an enclave: its files, log and, while it runs, its
// processes.
type service struct {
	enclave *Enclave
	spec    backend.ServiceSpec
	image   Image
	address backend.Address
	argv    []string
	env     map[string]string
	program Program
	files   *Files
	log     *journal
	gate    *gate

	mu        sync.Mutex // below: state
	main      *process
	execs     map[*process]bool
	ports     map[portKey]*listener
	published []*published
	started   time.Time
	restarts  int
	paused    bool
	wanted    bool           // running was wanted when the enclave was suspended
	keeper    sync.WaitGroup // the goroutine that restarts it
	retire    chan struct{}  // closed when it is not to be restarted any more
}

// newService resolves what is to run, as an image's config and a spec merge.
func newService(e *Enclave, spec backend.ServiceSpec, image Image, address backend.Address) (*service, error) {
	s := &service{
		enclave: e, spec: spec, image: image, address: address,
		files: newFiles(&e.filesMu), log: newJournal(e.host.opts.Now, e.logBudget()), gate: &gate{},
		execs: map[*process]bool{}, ports: map[portKey]*listener{},
		env: map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	entrypoint, cmd := image.Entrypoint, image.Cmd
	if len(spec.Entrypoint) > 0 {
		entrypoint, cmd = spec.Entrypoint, nil
	}
	if len(spec.Cmd) > 0 {
		cmd = spec.Cmd
	}
	s.argv = slices.Concat(spec.Wrapper, entrypoint, cmd)
	maps.Copy(s.env, image.Env)
	maps.Copy(s.env, spec.Env)
	if s.spec.Hostname == "" {
		s.spec.Hostname = string(spec.Name)
	}
	if s.spec.User == "" {
		s.spec.User = image.User
	}
	if s.spec.WorkDir == "" {
		s.spec.WorkDir = image.WorkDir
	}
	if s.spec.WorkDir == "" {
		s.spec.WorkDir = "/"
	}
	return s, s.findProgram()
}

func (s *service) findProgram() error {
	if s.spec.Hold {
		s.program = pause
		return nil
	}
	if len(s.argv) == 0 && s.image.Lenient {
		s.argv = []string{"pause"}
	}
	if len(s.argv) == 0 {
		return fault.New("E0407", "start service %q: neither image %q nor the service names a command: %w", s.spec.Name, s.spec.Image, fault.ErrInvalid)
	}
	program, code := s.enclave.host.lookPath(s.files, s.argv[0])
	switch {
	case program == nil && s.image.Lenient:
		program = pause
	case program == nil && code == 126:
		return fault.New("E0402", "start service %q: %s can't be executed: %w", s.spec.Name, s.argv[0], fault.ErrInvalid)
	case program == nil:
		return fault.New("E0401", "start service %q: there is no command %q in image %q: %w", s.spec.Name, s.argv[0], s.spec.Image, fault.ErrNotFound)
	}
	s.program = program
	return nil
}

// prepareFiles makes the image's files and the mounts.
func (s *service) prepareFiles() error {
	for name, text := range s.image.Files {
		if err := s.files.WriteFile(name, []byte(text), 0o644); err != nil {
			return err
		}
	}
	for name, target := range s.image.Links {
		if err := s.files.Symlink(target, name); err != nil {
			return err
		}
	}
	for _, dir := range []string{"/tmp", "/etc", s.spec.WorkDir} {
		if err := s.files.MkdirAll(dir); err != nil {
			return err
		}
	}
	for _, m := range s.spec.Mounts {
		if err := s.mount(m); err != nil {
			return fmt.Errorf("mount %s: %w", m.Path, err)
		}
	}
	return nil
}

func (s *service) mount(m backend.Mount) error {
	s.enclave.filesMu.Lock()
	defer s.enclave.filesMu.Unlock()
	switch {
	case m.PersistentKey != "":
		return s.files.mount(m.Path, s.enclave.persistent(m.PersistentKey))
	case m.HostPath != "":
		return fault.New("E0406", "bind of host path %s: the memory backend has no host files: %w", m.HostPath, fault.ErrUnsupported)
	}
	dir := newDir()
	for _, tree := range m.Trees {
		if err := dir.loadTree(tree); err != nil {
			return err
		}
	}
	return s.files.mount(m.Path, dir)
}

// run starts the main process.
func (s *service) run() {
	out := &lineWriter{to: s.log, stream: backend.Stdout}
	errs := &lineWriter{to: s.log, stream: backend.Stderr}
	p := &Proc{
		Args: s.argv, Env: maps.Clone(s.env), Dir: s.spec.WorkDir, User: s.spec.User,
		Hostname: s.spec.Hostname, Stdin: strings.NewReader(""), Stdout: out, Stderr: errs, Files: s.files,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.started = s.enclave.host.opts.Now()
	program, holding := s.program, make(chan struct{})
	if s.spec.Hold {
		program = func(ctx context.Context, p *Proc) int { return hold(ctx, p, holding) }
	} else {
		close(holding)
	}
	s.main = start(s, program, p, func() {
		s.killExecs()
		out.flush()
		errs.flush()
	})
	<-holding
	if s.spec.RestartAlways && s.retire == nil {
		s.retire = make(chan struct{})
		retire := s.retire
		s.keeper.Go(func() { s.keep(retire) })
	}
}

// keep restarts the process when it ends, after a pause that doubles from 100 ms
// to 10 s.
func (s *service) keep(retire <-chan struct{}) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		s.mu.Lock()
		done := s.main.done
		s.mu.Unlock()
		select {
		case <-done:
		case <-retire:
			return
		}
		select {
		case <-time.After(wait):
		case <-retire:
			return
		}
		s.run()
		s.mu.Lock()
		s.restarts++
		s.mu.Unlock()
	}
}

// killExecs ends what Exec runs, as the end of a service's process does.
func (s *service) killExecs() {
	s.mu.Lock()
	running := slices.Collect(maps.Keys(s.execs))
	s.mu.Unlock()
	for _, run := range running {
		run.signal(sigKILL)
		<-run.done
	}
}

// stop ends the processes: the stop signal, and SIGKILL after grace.
func (s *service) stop(ctx context.Context, grace time.Duration) (backend.Exit, error) {
	s.mu.Lock()
	if s.retire != nil {
		close(s.retire)
		s.retire = nil
	}
	s.mu.Unlock()
	s.keeper.Wait()
	s.unpause()
	s.mu.Lock()
	main := s.main
	s.mu.Unlock()
	number := s.image.StopSignal
	if number == 0 {
		number = sigTERM
	}
	if !main.ended() {
		main.signal(number)
	}
	select {
	case <-main.done:
		return main.exit, nil
	case <-time.After(grace):
		main.signal(sigKILL)
	case <-ctx.Done():
		return backend.Exit{}, context.Cause(ctx)
	}
	select {
	case <-main.done:
		return main.exit, nil
	case <-ctx.Done():
		return backend.Exit{}, context.Cause(ctx)
	}
}

func (s *service) unpause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = false
	s.gate.open()
}

func (s *service) running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.main.ended()
}

// exec starts a command in the running service.
func (s *service) exec(spec backend.ExecSpec) (*process, error) {
	if len(spec.Args) == 0 {
		return nil, fmt.Errorf("exec in %q: no command: %w", s.spec.Name, fault.ErrInvalid)
	}
	program, code := s.enclave.host.lookPath(s.files, spec.Args[0])
	if program == nil {
		reason := map[int]string{126: "permission denied", 127: "not found"}[code]
		program = func(_ context.Context, p *Proc) int {
			fmt.Fprintf(p.Stderr, "%s: %s\n", p.Args[0], reason)
			return code
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.main.ended() || s.paused {
		return nil, fmt.Errorf("service %q: %w", s.spec.Name, fault.ErrNotRunning)
	}
	var run *process
	registered := make(chan struct{})
	run = start(s, program, s.execProc(spec), func() {
		<-registered
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.execs, run)
	})
	s.execs[run] = true
	close(registered)
	return run, nil
}

func (s *service) execProc(spec backend.ExecSpec) *Proc {
	p := &Proc{
		Args: spec.Args, Env: maps.Clone(s.env), Dir: s.spec.WorkDir, User: s.spec.User, Hostname: s.spec.Hostname,
		Stdin: spec.Stdin, Stdout: spec.Stdout, Stderr: spec.Stderr, Files: s.files,
	}
	maps.Copy(p.Env, spec.Env)
	if spec.WorkDir != "" {
		p.Dir = spec.WorkDir
	}
	if spec.User != "" {
		p.User = spec.User
	}
	if p.Stdin == nil {
		p.Stdin = strings.NewReader("")
	}
	if p.Stdout == nil {
		p.Stdout = io.Discard
	}
	if p.Stderr == nil {
		p.Stderr = io.Discard
	}
	return p
}

// delete ends all of the service.
func (s *service) delete(ctx context.Context) error {
	if _, err := s.stop(ctx, 0); err != nil {
		return err
	}
	for _, p := range s.published {
		p.close()
	}
	s.log.close()
	return nil
}

func (s *service) status() backend.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := backend.Status{
		Name: s.spec.Name, UUID: s.spec.UUID, Image: s.spec.Image, State: backend.StateRunning,
		StartedAt: s.started, Address: s.address, Env: maps.Clone(s.env), Restarts: s.restarts, Listening: []backend.Listening{},
	}
	st.Entrypoint, st.Cmd = s.image.Entrypoint, slices.Clone(s.argv)
	if len(s.spec.Entrypoint) > 0 {
		st.Entrypoint = s.spec.Entrypoint
	}
	st.Cmd = st.Cmd[min(len(s.spec.Wrapper)+len(st.Entrypoint), len(st.Cmd)):]
	switch {
	case s.main.ended():
		st.State, st.Exit = backend.StateExited, s.main.exit
	case s.paused:
		st.State = backend.StatePaused
	}
	for key, l := range s.ports {
		st.Listening = append(st.Listening, backend.Listening{Proto: key.proto, Addr: listenAddr(l)})
	}
	slices.SortFunc(st.Listening, func(a, b backend.Listening) int {
		if c := strings.Compare(string(a.Proto), string(b.Proto)); c != 0 {
			return c
		}
		return a.Addr.Compare(b.Addr)
	})
	for _, p := range s.published {
		st.Published = append(st.Published, p.Published)
	}
	return st
}
