// Command datastore is the quickstart's key-value store: PUT and GET on
// /keys/NAME, values kept in memory, at most 1 MiB each.
package main

import (
	"context"
	"flag"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

const maxValue = 1 << 20

type store struct {
	mu     sync.RWMutex
	values map[string][]byte
}

func main() {
	listen := flag.String("listen", ":7000", "address to serve on")
	flag.Parse()
	log.SetFlags(0)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s := &store{values: map[string][]byte{}}
	server := &http.Server{Addr: *listen, Handler: s.routes(), ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	log.Printf("datastore: listening on %s", *listen)
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		log.Fatalf("datastore: %v", err)
	}
	log.Print("datastore: stopped")
}

func (s *store) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /keys/{key}", s.get)
	mux.HandleFunc("PUT /keys/{key}", s.put)
	return mux
}

func (s *store) get(w http.ResponseWriter, r *http.Request) {
	s.mu.RLock()
	value, ok := s.values[r.PathValue("key")]
	s.mu.RUnlock()
	if !ok {
		http.Error(w, "no such key", http.StatusNotFound)
		return
	}
	_, _ = w.Write(value)
}

func (s *store) put(w http.ResponseWriter, r *http.Request) {
	value, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxValue))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	key := r.PathValue("key")
	s.mu.Lock()
	s.values[key] = value
	s.mu.Unlock()
	log.Printf("datastore: stored %q (%d bytes)", key, len(value))
	w.WriteHeader(http.StatusNoContent)
}
