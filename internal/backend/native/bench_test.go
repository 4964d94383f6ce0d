package native

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/backendtest"
)

// benched is a backend with the suite's image.
func benched(b *testing.B) *Backend {
	b.Helper()
	level := slog.LevelError
	if os.Getenv("LEPTO_TRACE") != "" {
		level = LevelTrace
	}
	be, err := Open(b.Context(), Config{Home: b.TempDir(), Launcher: testLauncher(), Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { be.Close() })
	f, err := os.Open(backendtest.ProbeImages(b))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := be.LoadImages(b.Context(), f); err != nil {
		b.Fatal(err)
	}
	return be
}

func serving(name string) backend.ServiceSpec {
	return backend.ServiceSpec{
		Name: backend.ServiceName(name), UUID: fmt.Sprintf("%032x", time.Now().UnixNano()), Image: backendtest.ProbeRef,
		Cmd:     []string{"probe", "serve", "tcp/8080", "then", "wait"},
		Publish: []backend.Publish{{ID: "http", Port: 8080, Proto: backend.TCP}},
	}
}

// startServing starts services side by side and waits for their ports.
func startServing(ctx context.Context, e backend.Enclave, n int) error {
	errs := make([]error, n)
	var work sync.WaitGroup
	for i := range n {
		work.Go(func() {
			name := fmt.Sprintf("svc-%d", i)
			if errs[i] = e.Start(ctx, serving(name)); errs[i] != nil {
				return
			}
			for range 10000 {
				c, err := e.Dial(ctx, backend.ServiceName(name), backend.TCP, 8080)
				if errs[i] = err; err == nil {
					c.Close()
					return
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	work.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// BenchmarkEnclave makes an enclave with n services, waits until their ports
// are open, and destroys it; the metrics are of these two halves.
func BenchmarkEnclave(b *testing.B) {
	be := benched(b)
	for _, n := range []int{1, 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var up, down time.Duration
			for i := 0; b.Loop(); i++ {
				began := time.Now()
				id := backend.EnclaveID(fmt.Sprintf("%032x", time.Now().UnixNano())[16:] + fmt.Sprintf("%016x", i))
				e, err := be.CreateEnclave(b.Context(), backend.EnclaveSpec{ID: id})
				if err == nil {
					err = startServing(b.Context(), e, n)
				}
				if err != nil {
					b.Fatal(err)
				}
				up += time.Since(began)
				began = time.Now()
				if err := e.Destroy(b.Context()); err != nil {
					b.Fatal(err)
				}
				down += time.Since(began)
			}
			b.ReportMetric(float64(up.Milliseconds())/float64(b.N), "ms-up/op")
			b.ReportMetric(float64(down.Milliseconds())/float64(b.N), "ms-down/op")
		})
	}
}

func BenchmarkService(b *testing.B) {
	be := benched(b)
	e, err := be.CreateEnclave(b.Context(), backend.EnclaveSpec{ID: backend.EnclaveID(fmt.Sprintf("%032x", time.Now().UnixNano()))})
	if err != nil {
		b.Fatal(err)
	}
	defer e.Destroy(context.Background())
	if err := startServing(b.Context(), e, 1); err != nil {
		b.Fatal(err)
	}
	b.Run("exec", func(b *testing.B) {
		for b.Loop() {
			if code, err := e.Exec(b.Context(), "svc-0", backend.ExecSpec{Args: []string{"probe", "exit", "0"}}); err != nil || code != 0 {
				b.Fatal(code, err)
			}
		}
	})
	b.Run("inspect", func(b *testing.B) {
		for b.Loop() {
			if _, err := e.Inspect(b.Context(), "svc-0"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("start-remove", func(b *testing.B) {
		for b.Loop() {
			if err := e.Start(b.Context(), serving("other")); err != nil {
				b.Fatal(err)
			}
			if err := e.Remove(b.Context(), "other"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
