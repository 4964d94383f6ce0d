package native

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest/bounds"
	"github.com/lepto-dev/lepto/internal/fault"
)

// The child of TestKilledAtRandom is this test's program with these set.
const (
	childHome = "LEPTO_TEST_CHILD_HOME"
	childID   = "LEPTO_TEST_CHILD_ENCLAVE"
)

// TestKilledAtRandom kills a process that uses the backend, again and again, at
// random moments. Whatever it had finished is there afterwards and answers;
// nothing is half there. LEPTO_STRESS sets the number of kills.
func TestKilledAtRandom(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv("LEPTO_STRESS"))
	if err != nil {
		rounds = 10
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	home := t.TempDir()
	b := openBackend(t, Config{Home: home})
	loadProbe(t, b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range rounds {
		id := newID()
		after := time.Duration(random.Int64N(int64(bounds.Wide(1500 * time.Millisecond))))
		told := runAndKill(t, home, id, after)
		if t.Failed() {
			return
		}
		t.Logf("round %d: killed after %v: %v", round, after, told)
		checkSurvivors(t, home, id, told)
	}
}

// runAndKill runs the child and kills it after a while. It gives the last thing
// that the child told of each service: "starting", "started" or "removing".
func runAndKill(t *testing.T, home string, id backend.EnclaveID, after time.Duration) map[backend.ServiceName]string {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run", "^TestChild$")
	child.Env = append(os.Environ(), childHome+"="+home, childID+"="+string(id))
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(after, func() { child.Process.Kill() })
	defer timer.Stop()
	told := map[backend.ServiceName]string{}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		what, name, _ := strings.Cut(lines.Text(), " ")
		if what == "error" {
			t.Errorf("the child: %s", lines.Text())
		}
		told[backend.ServiceName(name)] = what
	}
	child.Wait()
	return told
}

// checkSurvivors opens what the child left, and destroys it.
func checkSurvivors(t *testing.T, home string, id backend.EnclaveID, told map[backend.ServiceName]string) {
	t.Helper()
	b := openBackend(t, Config{Home: home})
	defer b.Close()
	e, err := b.OpenEnclave(t.Context(), id)
	if errors.Is(err, fault.ErrNotFound) && len(told) == 0 {
		return // it came to nothing
	}
	if err != nil {
		t.Fatal(err)
	}
	for name, what := range told {
		_, err := e.Inspect(t.Context(), name)
		switch {
		case err == nil:
			code, err := e.Exec(t.Context(), name, backend.ExecSpec{Args: []string{"probe", "exit", "3"}})
			if err != nil || code != 3 {
				t.Errorf("%s, last %s: code %d, %v", name, what, code, err)
			}
		case !errors.Is(err, fault.ErrNotFound) || what == "started":
			t.Errorf("%s, last %s: %v", name, what, err)
		default:
			if left := processesWith(b.dir(id) + "/c/" + string(name) + "\x00"); len(left) > 0 {
				t.Errorf("%s, last %s: left %q", name, what, left)
			}
		}
	}
	if err := e.Destroy(t.Context()); err != nil {
		t.Errorf("destroy: %v", err)
	}
	if left := footprint(t, b.dir(id), id); len(left) > 0 {
		t.Errorf("left on the host: %q", left)
	}
}

// TestChild is the process that is killed. Alone it does nothing.
func TestChild(t *testing.T) {
	home, id := os.Getenv(childHome), backend.EnclaveID(os.Getenv(childID))
	if home == "" {
		return
	}
	ctx := context.Background()
	b, err := Open(ctx, Config{Home: home, Launcher: testLauncher()})
	if err == nil {
		var e backend.Enclave
		if e, err = b.CreateEnclave(ctx, backend.EnclaveSpec{ID: id}); err == nil {
			err = busy(ctx, e)
		}
	}
	fmt.Println("error", err)
}

// busy starts and removes services until it is killed.
func busy(ctx context.Context, e backend.Enclave) error {
	failed := make(chan error)
	for worker := range 2 {
		go func() {
			for i := 0; ; i++ {
				name := backend.ServiceName(fmt.Sprintf("w%d-%d", worker, i))
				fmt.Println("starting", name)
				if err := e.Start(ctx, spec(name, "wait")); err != nil {
					failed <- err
				}
				fmt.Println("started", name)
				if i%2 == 1 {
					fmt.Println("removing", name)
					if err := e.Remove(ctx, name); err != nil {
						failed <- err
					}
				}
			}
		}()
	}
	go tasks(ctx, e, failed)
	return <-failed
}

// tasks has services that hold follow one another in their places; some stay.
func tasks(ctx context.Context, e backend.Enclave, failed chan<- error) {
	e.(backend.Warmer).KeepWarm()
	for i := 0; ; i++ {
		task := spec(backend.ServiceName(fmt.Sprintf("task%d", i)), "wait")
		task.Hold = true
		fmt.Println("starting", task.Name)
		if err := e.Start(ctx, task); err != nil {
			failed <- err
		}
		fmt.Println("started", task.Name)
		if i%4 == 3 {
			continue
		}
		fmt.Println("removing", task.Name)
		if err := e.Remove(ctx, task.Name); err != nil {
			failed <- err
		}
	}
}
