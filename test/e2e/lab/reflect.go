package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
)

// This file: what recipes ask for.
//
//	/status/N    answers with the status N
//	/after/N     answers with 503 until the N-th request, then with 200
//	/json        answers with the body it is sent
//	/reflect…    tells, as JSON, how it was asked
func reflections() {
	http.HandleFunc("/status/", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/status/"))
		w.WriteHeader(code)
	})
	var mu sync.Mutex
	asked := map[string]int{}
	http.HandleFunc("/after/", func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked[r.URL.Path]++
		n := asked[r.URL.Path]
		mu.Unlock()
		if least, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/after/")); n < least {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"asked": n})
	})
	http.HandleFunc("/json", func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	http.HandleFunc("/reflect", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"method": r.Method, "uri": r.URL.RequestURI(), "body": string(body),
			"type": r.Header.Get("Content-Type"), "test": r.Header.Get("X-Test"), "host": r.Host,
		})
	})
}
