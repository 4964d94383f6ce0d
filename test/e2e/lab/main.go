// Command lab is what the end-to-end tests run inside containers: one static
// program that misbehaves on demand.
//
//	lab serve PORT…           HTTP on each port: /name, /echo?q=, /dial?addr=, /count, and those of reflect.go; UDP echo on the same ports
//	lab late TIME PORT…       sleeps before it serves
//	lab exit CODE [LINE…]     prints the lines on stderr and exits
//	lab eat MEGABYTES         allocates and touches memory, then sleeps
//	lab spin                  burns one core
//	lab tick INTERVAL         prints "tick N" for ever
//	lab sleep                 waits for a signal, and ends on SIGTERM
//	lab stubborn              ignores SIGTERM
//	lab dial ADDR             exits 0 if a TCP connection opens within a second
//	lab get URL               prints the body
//	lab fill PATH             writes to PATH until it fails, and says why
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		die(2, "usage: lab COMMAND ARGS…")
	}
	commands := map[string]func([]string){
		"serve": serve, "late": late, "exit": exit, "eat": eat, "spin": spin, "tick": tick,
		"sleep": sleep, "stubborn": stubborn, "dial": dial, "get": get, "fill": fill,
	}
	command, ok := commands[os.Args[1]]
	if !ok {
		die(2, "unknown command %q", os.Args[1])
	}
	command(os.Args[2:])
}

func die(code int, format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	os.Exit(code)
}

var count atomic.Int64

func serve(ports []string) {
	host, _ := os.Hostname()
	http.HandleFunc("/name", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, host, " ", os.Getenv("LAB")) })
	http.HandleFunc("/echo", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.FormValue("q")) })
	http.HandleFunc("/count", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, count.Add(1)) })
	http.HandleFunc("/dial", func(w http.ResponseWriter, r *http.Request) {
		if err := open(r.FormValue("addr")); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
		}
	})
	reflections()
	for _, port := range ports {
		conn, err := net.ListenPacket("udp", ":"+port)
		if err != nil {
			die(1, "%v", err)
		}
		go echoUDP(conn)
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			die(1, "%v", err)
		}
		fmt.Println("listening on", port)
		go func() { die(1, "%v", http.Serve(listener, nil)) }()
	}
	waitFor(syscall.SIGTERM)
	fmt.Println("stopped")
}

func late(args []string) {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		die(2, "%v", err)
	}
	time.Sleep(d)
	serve(args[1:])
}

func echoUDP(conn net.PacketConn) {
	buffer := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(buffer[:n], from)
	}
}

func exit(args []string) {
	for _, line := range args[1:] {
		fmt.Fprintln(os.Stderr, line)
	}
	os.Exit(number(args[0]))
}

func eat(args []string) {
	var kept [][]byte
	for range number(args[0]) {
		block := make([]byte, 1<<20)
		for i := range block {
			block[i] = byte(i)
		}
		kept = append(kept, block)
	}
	fmt.Println("ate", len(kept), "MB")
	sleep(nil)
}

func spin([]string) {
	for {
		count.Add(1)
	}
}

func tick(args []string) {
	interval, err := time.ParseDuration(args[0])
	if err != nil {
		die(2, "%v", err)
	}
	for n := 1; ; n++ {
		fmt.Println("tick", n)
		time.Sleep(interval)
	}
}

func sleep([]string) { waitFor(syscall.SIGTERM, syscall.SIGINT) }

func stubborn([]string) {
	signal.Ignore(syscall.SIGTERM)
	fmt.Println("ignoring SIGTERM")
	waitFor(syscall.SIGUSR1)
}

func dial(args []string) {
	if err := open(args[0]); err != nil {
		die(1, "%v", err)
	}
}

func open(addr string) error {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	return conn.Close()
}

func get(args []string) {
	client := http.Client{Timeout: 5 * time.Second}
	response, err := client.Get(args[0])
	if err != nil {
		die(1, "%v", err)
	}
	defer response.Body.Close()
	_, _ = io.Copy(os.Stdout, response.Body)
}

func fill(args []string) {
	file, err := os.Create(args[0])
	if err != nil {
		die(1, "%v", err)
	}
	block := make([]byte, 1<<20)
	for {
		if _, err := file.Write(block); err != nil {
			die(1, "%v", err)
		}
	}
}

func waitFor(signals ...os.Signal) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, signals...)
	<-c
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		die(2, "%v", err)
	}
	return n
}
